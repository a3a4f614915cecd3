//! The documents say what is so: links lead somewhere, and the drawing of the house is that of the sources.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns all files under `directory` whose names end in `ending`.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.to_str().unwrap().ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// Returns the documents of the repository.
fn documents() -> Vec<PathBuf> {
    let mut documents = files(&root().join("docs"), ".md");
    documents.extend(
        ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "machines/README.md", "tun/README.md"]
            .map(|name| root().join(name)),
    );
    documents
}

/// Returns the text without blocks of code.
fn prose(text: &str) -> String {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Returns where the links of a document lead.
fn links(text: &str) -> Vec<String> {
    let parts = text.split("](").skip(1);
    parts.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect()
}

/// Returns the anchors of a document's headings, as they are made for the web.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let anchor = |heading: &str| {
        let kept =
            heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
        kept.replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut dead = Vec::new();
    for document in documents() {
        let text = prose(&fs::read_to_string(&document).unwrap());
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').map_or((&*link, None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let is_there = target.exists()
                && anchor.is_none_or(|anchor| anchors(&prose(&fs::read_to_string(&target).unwrap())).contains(anchor));
            if !is_there {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{dead:#?}");
}

/// Returns what each room of the library takes from others, outside of its tests.
fn imports() -> BTreeMap<String, BTreeSet<String>> {
    let source = root().join("src");
    let mut imports = BTreeMap::<_, BTreeSet<_>>::new();
    for path in files(&source, ".rs") {
        let inside = path.strip_prefix(&source).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        let is_for_tests = inside.to_str().unwrap().contains("tests") || inside.ends_with("strategies.rs");
        if room == "lib" || is_for_tests {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for rest in code.flat_map(|line| line.split("crate::").skip(1)) {
            let other: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !other.is_empty() && other != room {
                imports.entry(room.clone()).or_default().insert(other);
            }
        }
    }
    imports
}

#[test]
fn imports_run_one_way_and_are_those_of_the_drawing() {
    let mut imports = imports();
    let drawn = fs::read_to_string(root().join("docs/design.md")).unwrap();
    let (_, drawn) = drawn.split_once("<!-- imports -->\n```text\n").expect("the list begins");
    let (drawn, _) = drawn.split_once("```").expect("the list ends");
    let found: String = imports
        .iter()
        .map(|(room, others)| format!("{room} -> {}\n", others.iter().cloned().collect::<Vec<_>>().join(" ")))
        .collect();
    assert_eq!(drawn, found, "docs/design.md, and the sources");
    // Whoever takes nothing from those that are left is at the bottom of the house.
    while !imports.is_empty() {
        let left: BTreeSet<_> = imports.keys().cloned().collect();
        let before = imports.len();
        imports.retain(|_, others| !others.is_disjoint(&left));
        assert!(imports.len() < before, "a circle in {left:?}");
    }
}

/// Returns the names under all headings of a manifest that end in `dependencies`.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut is_inside = false;
    let mut names = Vec::new();
    for line in manifest.lines() {
        if let Some(heading) = line.strip_prefix('[') {
            is_inside = heading.trim_end().trim_end_matches(']').ends_with("dependencies");
        } else if is_inside && line.starts_with(|c: char| c.is_ascii_lowercase()) {
            let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
            names.push(name);
        }
    }
    names
}

#[test]
fn every_dependency_has_its_reason() {
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let (_, table) = contributing.split_once("## Dependencies").expect("the table");
    let cells = table.lines().filter_map(|row| row.strip_prefix("| ")?.split(" |").next());
    let told: BTreeSet<_> = cells.flat_map(|cell| cell.split(", ")).collect();
    let manifests = ["", "cli", "lab", "tun", "machines", "integration-tests", "fuzz"];
    let manifests = manifests.map(|member| fs::read_to_string(root().join(member).join("Cargo.toml")).unwrap());
    let used: BTreeSet<_> = manifests.iter().flat_map(|manifest| dependencies(manifest)).collect();
    let without: Vec<_> =
        used.iter().filter(|name| !name.starts_with("maybetun") && !told.contains(name.as_str())).collect();
    assert!(used.len() > 40 && without.is_empty(), "no row in CONTRIBUTING.md: {without:?}");
    let unused: Vec<_> = told
        .iter()
        .filter(|name| !["crate", "---"].contains(*name) && !name.starts_with('`') && !used.contains(**name))
        .collect();
    assert!(unused.is_empty(), "no dependency any more: {unused:?}");
}

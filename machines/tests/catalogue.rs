//! The catalogue is what its generator makes.

#[path = "../examples/generate-catalogue/generate/mod.rs"]
mod generate;

use generate::measure::Traces;
use maybetun_machines::catalogue;

#[test]
fn every_file_is_made_again_to_the_byte() {
    let recipes = generate::recipes::all();
    assert_eq!(recipes.len(), catalogue().len());
    let traces = Traces::load();
    for (recipe, entry) in recipes.iter().zip(catalogue()) {
        assert_eq!(recipe.name, entry.name());
        let text = generate::text(recipe, &traces).unwrap();
        assert!(entry.text() == text, "{}: run the generator", recipe.name);
    }
}

#[test]
fn the_readme_has_the_numbers_of_every_entry() {
    let readme = include_str!("../README.md");
    for defense in catalogue().iter().map(|entry| entry.defense()) {
        let (client, relay) = (defense.client().machines.len(), defense.relay().machines.len());
        let overhead = defense.overhead().unwrap();
        let row = format!(
            "| `{}` | {client}, {relay} | {:.2} | {:.2} | {:.0} % |",
            defense.name(),
            overhead.upload,
            overhead.download,
            overhead.delay * 100.0
        );
        assert!(readme.contains(&row), "{row}");
    }
}

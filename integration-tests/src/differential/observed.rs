//! What a tunnel has made of its host, in lines that are comparable.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// What is looked at, each in lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Observed(BTreeMap<String, Vec<String>>);

impl Observed {
    /// Reads what `side.sh` wrote.
    #[track_caller]
    pub(super) fn read(text: &str) -> Self {
        let mut sections = BTreeMap::new();
        let text = text.strip_prefix("== ").expect("a first section");
        for section in text.split("\n== ") {
            let (name, body) = section.split_once('\n').unwrap_or((section, ""));
            let lines = match name {
                "address" => addresses(body),
                "link" => link(body),
                "route" => routes(body),
                "rule4" | "rule6" => rules(body),
                "filter" => filter(body),
                "wg" => wg(body),
                _ => body.lines().map(str::to_owned).collect(),
            };
            sections.insert(name.to_owned(), lines);
        }
        Self(sections)
    }

    /// Returns the lines of what is called `name`.
    pub(super) fn lines(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Returns the MTU of the interface, in bytes; `None` if it is not there.
    pub(super) fn mtu(&self) -> Option<u32> {
        let line = self.lines("link").first()?.strip_prefix("mtu ")?;
        line.split(',').next()?.parse().ok()
    }

    /// Returns this without what is called `names`.
    pub(super) fn without(&self, names: &[&str]) -> Self {
        let mut rest = self.clone();
        rest.0.retain(|name, _| !names.contains(&name.as_str()));
        rest
    }

    /// Returns what differs in what `wg showconf` says; a port that was drawn does not count.
    pub(super) fn difference_of_wg(&self, other: &Self, has_port: bool) -> Vec<String> {
        let of = |side: &Self| {
            let lines = side.lines("wg").iter().map(|section| {
                let lines = section.split("; ").filter(|line| has_port || !line.starts_with("ListenPort"));
                lines.collect::<Vec<_>>().join("; ")
            });
            Self(BTreeMap::from([("wg".to_owned(), lines.collect())]))
        };
        of(self).difference(&of(other))
    }

    /// Returns what only one of both has.
    pub(super) fn difference(&self, other: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        let mut found = Vec::new();
        for name in names {
            let (ours, theirs) = (self.lines(name), other.lines(name));
            if ours == theirs {
                continue;
            }
            let only = |sign, these: &[String], those: &[String]| {
                these.iter().filter(|line| !those.contains(line)).map(|line| format!("{name} {sign} {line}")).collect()
            };
            let (left, right): (Vec<_>, Vec<_>) = (only('-', ours, theirs), only('+', theirs, ours));
            if left.is_empty() && right.is_empty() {
                found.push(format!("{name}: another order or number: {ours:?} and {theirs:?}"));
            }
            found.extend(left.into_iter().chain(right));
        }
        found
    }
}

#[track_caller]
fn json(text: &str) -> Vec<Value> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON: {error}: {text}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// Tells whether it is of the address that the kernel draws for a link.
fn is_drawn(address: &str) -> bool {
    address.starts_with("fe80::") && address.len() > "fe80::ffff/128".len()
}

fn addresses(body: &str) -> Vec<String> {
    let links = json(body);
    let of_link = links.iter().flat_map(|link| link["addr_info"].as_array().cloned().unwrap_or_default());
    let mut lines: Vec<String> = of_link
        .filter(|address| !is_drawn(text(address, "local")))
        .map(|address| {
            format!(
                "{}/{} scope {} broadcast {:?}{}",
                text(&address, "local"),
                address["prefixlen"],
                text(&address, "scope"),
                text(&address, "broadcast"),
                if address["secondary"] == true { " secondary" } else { "" }
            )
        })
        .collect();
    lines.sort();
    lines
}

fn link(body: &str) -> Vec<String> {
    let is_up = body.contains("UP,") || body.contains(",UP");
    let words: Vec<&str> = body.split_whitespace().collect();
    let mtu = words.windows(2).find(|pair| pair[0] == "mtu").map(|pair| pair[1]);
    mtu.map(|mtu| format!("mtu {mtu}, up {is_up}")).into_iter().collect()
}

fn routes(body: &str) -> Vec<String> {
    let mut lines: Vec<String> = json(body)
        .into_iter()
        .filter(|route| !is_drawn(text(route, "dst")))
        // The kernel's own to the addresses, which it makes a moment after them.
        .filter(|route| text(route, "table") != "local" || text(route, "protocol") != "kernel")
        .map(|mut route| {
            // Who added it; and whether its link has a carrier.
            if let Some(fields) = route.as_object_mut() {
                fields.remove("flags");
            }
            route.to_string()
        })
        .collect();
    lines.sort();
    lines
}

/// Returns the rules. Ours have a protocol number, and the mark in that of the main table too, so that no two tunnels have the
/// same one.
fn rules(body: &str) -> Vec<String> {
    let mut rules = json(body);
    for fields in rules.iter_mut().filter_map(Value::as_object_mut) {
        if fields.get("protocol").and_then(Value::as_str) != Some("109") {
            continue;
        }
        fields.remove("protocol");
        if fields.contains_key("suppress_prefixlen") {
            fields.retain(|key, _| key != "not" && key != "fwmark");
        }
    }
    rules.iter().map(Value::to_string).collect()
}

/// Returns which addresses are guarded, and which mark is carried over: the tables have other names.
fn filter(body: &str) -> Vec<String> {
    let mut lines = BTreeSet::new();
    for line in body.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some(at) = words.iter().position(|word| *word == "daddr")
            && line.contains("fib saddr type != local")
            && !is_drawn(words[at + 1])
        {
            lines.insert(format!("guards {}", words[at + 1]));
        } else if line.contains("ct mark set") {
            lines.insert(format!("marks {}", words.iter().find(|word| word.starts_with("0x")).unwrap_or(&"?")));
        }
    }
    lines.into_iter().collect()
}

/// Returns the configuration with its peers, and their allowed IPs, in order. wireguard-go forgets the zone of an endpoint.
fn wg(body: &str) -> Vec<String> {
    let sections = body.split("\n\n").map(|section| {
        let lines = section.lines().map(|line| match line.strip_prefix("AllowedIPs = ") {
            Some(list) => {
                let mut items: Vec<&str> = list.split(", ").collect();
                items.sort_unstable();
                format!("AllowedIPs = {}", items.join(", "))
            }
            None => line.replace("%up0]", "]"),
        });
        let mut lines: Vec<String> = lines.filter(|line| !line.is_empty()).collect();
        lines.sort();
        lines.join("; ")
    });
    let mut sections: Vec<String> = sections.filter(|section| !section.is_empty()).collect();
    sections.sort();
    sections
}

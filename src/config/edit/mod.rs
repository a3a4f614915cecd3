//! What makes a configuration file say something else: the lines whose meaning differs, and no other.

use std::collections::BTreeSet;

use zeroize::Zeroizing;

use super::document::{Document, Place};
use super::key::{Key, List, say_interface, say_peer};
use super::value::AllowedIps;
use super::{Config, ConfigError, Interface, Names, Peer, Tables, parse_with, value};
use crate::settings::AllowedIpChange;

/// How often a file is changed and read again: a line that goes may uncover another that stood for nothing, as a prefix that
/// a later peer lists too.
const MAX_ROUNDS: usize = 4;

/// Explains why a file was not changed.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The file is wrong as it is.
    #[error(transparent)]
    Invalid(#[from] ConfigError),
    /// The changed file would not say what it should.
    #[error("the file cannot be made to say what it should: {0}")]
    Unsayable(String),
}

/// Returns the file `text`, which may name `tables`, changed to say what `wanted` says, and wiped when dropped. Its hooks are those of the file, which
/// are not changed.
///
/// Lines stay as they are, to the byte and in their order, unless their meaning differs: then the value is replaced, with
/// the spelling of the key and the comment around it kept. Lists are sets, but for DNS: single items go and come. Peers
/// that come are added at the end; those that go take the comments right above them along. Where the file says a key of ours
/// after `#maybetun:`, new ones are said there too.
///
/// # Errors
/// When the file is wrong, or what `wanted` says cannot be said in a file.
pub fn edit(text: &[u8], wanted: &Config, tables: &Tables) -> Result<Zeroizing<Vec<u8>>, EditError> {
    let names = Names { tables, check_defense: &|_| Ok(()) };
    let mut found = parse_with(text, names)?;
    let mut edited = Zeroizing::new(text.to_vec());
    for _ in 0..MAX_ROUNDS {
        edited = changed(&edited, &found, wanted);
        // What would be read as something else is not written.
        found = parse_with(&*edited, names).map_err(|error| EditError::Unsayable(error.to_string()))?;
        if means_the_same(&found, wanted) {
            return Ok(edited);
        }
    }
    Err(EditError::Unsayable("it would be read as something else".to_owned()))
}

/// Returns the file `text`, which says what `found` says, with the lines changed whose meaning differs.
fn changed(text: &[u8], found: &Config, wanted: &Config) -> Zeroizing<Vec<u8>> {
    let mut document = Document::read(text);
    change(&mut document, Place::Interface, &of_interface(&found.interface), &of_interface(&wanted.interface));
    for peer in &found.peers {
        match wanted.peers.iter().find(|other| other.public_key == peer.public_key) {
            Some(other) => change(&mut document, Place::Peer(peer.public_key), &of_peer(peer), &of_peer(other)),
            None => document.remove_peer(peer.public_key),
        }
    }
    for peer in &wanted.peers {
        if found.peers.iter().all(|other| other.public_key != peer.public_key) {
            document.add_peer(peer.public_key, &of_peer(peer));
        }
    }
    document.into_bytes()
}

/// The keys that are said, as the documentation spells them, and their values; of lists, an entry for each item.
type Said = Vec<(&'static str, Zeroizing<String>)>;

fn of_interface(interface: &Interface) -> Said {
    let mut said = Said::new();
    say_interface(interface, |key, value| said.push((key, Zeroizing::new(value.to_string()))));
    said
}

fn of_peer(peer: &Peer) -> Said {
    let mut said = Said::new();
    say_peer(peer, |key, value| said.push((key, Zeroizing::new(value.to_string()))));
    said
}

/// Tells whether a key has a list of which single items are changed.
fn is_set(key: &str) -> bool {
    Key::find(key).is_some_and(|key| key.about().list == List::Set)
}

fn change(document: &mut Document, place: Place, found: &Said, wanted: &Said) {
    let keys: BTreeSet<_> = found.iter().map(|(key, _)| *key).collect();
    let new = wanted.iter().map(|(key, _)| *key).filter(|key| !keys.contains(key));
    // New keys in the order in which they are said.
    let mut done = BTreeSet::new();
    for key in keys.iter().copied().chain(new) {
        if !done.insert(key) {
            continue;
        }
        let [before, after] = [found, wanted].map(|said| values(said, key));
        if before == after {
            continue;
        }
        if is_set(key) {
            let gone: Vec<_> = before.iter().filter(|item| !after.contains(item)).copied().collect();
            if !gone.is_empty() {
                document
                    .remove_items(place, key, |item| canonical(key, item).is_some_and(|item| gone.contains(&&*item)));
            }
            let come: Vec<_> = after.iter().filter(|item| !before.contains(item)).copied().collect();
            if !come.is_empty() {
                document.add(place, key, &come.join(", "));
            }
        } else if let ([_], [value]) | ([], [value]) = (&before[..], &after[..]) {
            document.set(place, key, value);
        } else {
            document.remove(place, key);
            for value in after {
                document.add(place, key, value);
            }
        }
    }
}

fn values<'a>(said: &'a Said, key: &str) -> Vec<&'a str> {
    said.iter().filter(|(other, _)| *other == key).map(|(_, value)| value.as_str()).collect()
}

/// Returns an item of a set as it is compared.
fn canonical(key: &str, item: &str) -> Option<String> {
    let item: String = item.split_whitespace().collect();
    let prefix = match key {
        "Address" => value::addresses(&item).ok()?.first().copied(),
        _ => match value::allowed_ips(&item).ok()? {
            (AllowedIps::Whole, changes) => changes.first().map(|change| match *change {
                AllowedIpChange::Add(prefix) | AllowedIpChange::Remove(prefix) => prefix,
            }),
            // Items that change what stands before them are no set.
            (AllowedIps::Changes, _) => None,
        },
    };
    prefix.map(|prefix| prefix.to_string())
}

fn means_the_same(one: &Config, other: &Config) -> bool {
    let same_said = |one: &Said, other: &Said| {
        let is_said = |in_one: &Said, in_other: &Said| {
            in_one.iter().all(|(key, _)| {
                let (here, there) = (values(in_one, key), values(in_other, key));
                if is_set(key) { here.iter().all(|item| there.contains(item)) } else { here == there }
            })
        };
        is_said(one, other) && is_said(other, one)
    };
    same_said(&of_interface(&one.interface), &of_interface(&other.interface))
        && one.peers.len() == other.peers.len()
        && one.peers.iter().all(|peer| {
            let same = other.peers.iter().find(|other| other.public_key == peer.public_key);
            same.is_some_and(|other| same_said(&of_peer(peer), &of_peer(other)))
        })
}

#[cfg(test)]
mod tests;

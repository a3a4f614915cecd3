//! The peers of a running tunnel that a command is about: reading them, finding one, and changing its defense.

use std::path::Path;

use anyhow::Context as _;
use maybetun::keys::PublicKey;
use maybetun::settings::{DefenseChange, PeerAction, PeerStatus, PeerUpdate, Status, Update};
use maybetun::uapi::client::{self, ClientError};

use super::exit::{Exit, Failure, OrExit as _};
use super::{running, status};

/// Returns the state of the tunnel `name`, whose socket is in `directory`.
///
/// # Errors
/// When there is no such tunnel, or it may not be seen; the error has the exit code.
pub(crate) fn read(directory: &Path, name: &str) -> anyhow::Result<Status> {
    answered(name, client::get_in(directory, name))
}

/// Returns the change that does `change` to the defense of one peer, if that is there.
pub(crate) fn update(public_key: PublicKey, change: DefenseChange) -> Update {
    let peer = PeerUpdate { action: PeerAction::UpdateOnly, defense: Some(change), ..PeerUpdate::new(public_key) };
    Update { peers: vec![peer], ..Update::default() }
}

/// Returns the peer that is named, or all of them.
pub(crate) fn chosen<'a>(
    name: &str,
    status: &'a Status,
    key: Option<PublicKey>,
) -> anyhow::Result<Vec<&'a PeerStatus>> {
    match key {
        Some(_) => Ok(vec![only(name, status, key)?]),
        None => Ok(status.peers.iter().collect()),
    }
}

/// Returns the peer that is named, or the only one.
pub(crate) fn only<'a>(name: &str, status: &'a Status, key: Option<PublicKey>) -> anyhow::Result<&'a PeerStatus> {
    let message = match (key, &status.peers[..]) {
        (Some(key), peers) => match peers.iter().find(|peer| peer.public_key == key) {
            Some(peer) => return Ok(peer),
            None => format!("{name} has no peer {key}"),
        },
        (None, [only]) => return Ok(only),
        (None, []) => format!("{name} has no peer"),
        (None, peers) => format!("{name} has {} peers: name one by its public key", peers.len()),
    };
    Err(Failure::error(Exit::Usage, message))
}

/// Adds what the exit code needs to the answer of a tunnel.
pub(crate) fn answered<T>(name: &str, answer: Result<T, ClientError>) -> anyhow::Result<T> {
    match answer {
        Err(_) if running::has_died(name) => Err(Failure::error(Exit::NoInterface, status::died(name))),
        Err(error @ ClientError::NotRunning(_)) => Err(error).or_exit(Exit::NoInterface, format!("no tunnel {name}")),
        Err(error @ ClientError::Denied(_)) => Err(error).or_exit(Exit::Permission, format!("cannot see {name}")),
        answer => answer.with_context(|| format!("cannot reach {name}")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::exit;

    /// A tunnel with so many peers that were never heard from.
    pub(crate) fn peers(count: u8) -> Status {
        let key = |number| PublicKey::from_bytes(&[number; 32]).unwrap();
        Status {
            peers: (1..=count).map(|number| status::tests_support::silent(key(number))).collect(),
            ..Status::default()
        }
    }

    #[test]
    fn the_only_peer_needs_no_name() {
        let one = peers(1);
        assert_eq!(only("wg0", &one, None).unwrap().public_key, one.peers[0].public_key);
        for count in [0, 2] {
            let error = only("wg0", &peers(count), None).unwrap_err();
            assert_eq!(exit::of(&error), Exit::Usage, "{error}");
        }
        let two = peers(2);
        assert_eq!(only("wg0", &two, Some(two.peers[1].public_key)).unwrap(), &two.peers[1]);
        let error = only("wg0", &two, Some(PublicKey::from_bytes(&[9; 32]).unwrap())).unwrap_err();
        assert!(error.to_string().starts_with("wg0 has no peer CQkJ"), "{error}");
        assert_eq!(chosen("wg0", &two, None).unwrap().len(), 2);
    }
}

//! Changes a running device.

use std::sync::Arc;
use std::time::Instant;

use super::shared::Shared;
use super::sockets::Sockets;
use super::{ApplyError, peers};
use crate::settings::{PeerUpdate, Update};

pub(super) fn apply(shared: &Arc<Shared>, update: Update) -> Result<(), ApplyError> {
    if shared.is_stopping() {
        return Err(ApplyError::Stopped);
    }
    let _turn = shared.applying.lock();
    // What can fail comes first.
    let now = Instant::now();
    check_endpoints(&update)?;
    apply_to_sockets(shared, &update)?;

    if let Some(key) = update.private_key {
        peers::set_private_key(shared, key, now);
    }
    if update.replace_peers {
        peers::remove_all(shared);
    }
    let calls = peers::change(shared, update.peers, now);
    shared.settle_peers();
    if shared.is_stopping() {
        // The device stopped meanwhile: it must not keep sockets that were opened just now.
        shared.sockets.send_replace(None);
        return Err(ApplyError::Stopped);
    }
    peers::call(shared, calls)
}

/// Opens the sockets that the settings ask for.
pub(super) fn link_up(shared: &Shared) -> Result<(), ApplyError> {
    let mut link = shared.link.lock();
    link.is_up = true;
    if shared.sockets.borrow().is_some() {
        return Ok(());
    }
    let sockets = Sockets::bind(link.port, link.fwmark, &shared.options)?;
    link.port = sockets.port();
    shared.sockets.send_replace(Some(Arc::new(sockets)));
    tracing::debug!(port = link.port, "listening");
    Ok(())
}

/// Closes the sockets; the port is kept for the next time.
pub(super) fn link_down(shared: &Shared) {
    let mut link = shared.link.lock();
    link.is_up = false;
    shared.sockets.send_replace(None);
}

fn apply_to_sockets(shared: &Shared, update: &Update) -> Result<(), ApplyError> {
    let mut link = shared.link.lock();
    let fwmark = update.fwmark.unwrap_or(link.fwmark);
    let asked_port = update.listen_port.unwrap_or(link.asked_port);
    let port = update.listen_port.unwrap_or(link.port);
    let current = shared.sockets.borrow().clone();
    let is_deaf = link.is_up && current.is_none() && update.listen_port.is_some();
    if is_deaf || (link.is_up && port != link.port) {
        let sockets = Sockets::bind(port, fwmark, &shared.options)?;
        link.port = sockets.port();
        shared.sockets.send_replace(Some(Arc::new(sockets)));
    } else {
        if let Some(sockets) = current
            && fwmark != link.fwmark
        {
            sockets.set_fwmark(fwmark).map_err(|error| {
                // One of two sockets may have taken it.
                let _ = sockets.set_fwmark(link.fwmark);
                ApplyError::Fwmark(error)
            })?;
        }
        link.port = port;
    }
    link.asked_port = asked_port;
    link.fwmark = fwmark;
    Ok(())
}

/// Makes sure that something can be sent to every endpoint of the update.
fn check_endpoints(update: &Update) -> Result<(), ApplyError> {
    let is_nowhere = |peer: &&PeerUpdate| peer.endpoint.is_some_and(|endpoint| endpoint.port() == 0);
    match update.peers.iter().find(is_nowhere) {
        Some(peer) => Err(ApplyError::Endpoint { peer: peer.public_key }),
        None => Ok(()),
    }
}

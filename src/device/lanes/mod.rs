//! A sending socket for each peer, a lane: what one peer has in flight fills no other's.
//!
//! The kernel counts what it holds unsent by socket, and takes no more when a socket's buffer is full. Datagrams for an
//! address at which nobody answers stay there for seconds. So where a device has several peers each sends by a socket of its
//! own, and so do cookie replies to strangers, who choose what address they come from.
//!
//! A lane sends from the port of the sockets that receive, and receives nothing: it is bound to the port at an address that
//! nobody may send to, a dummy, which `IP_FREEBIND` (ip(7)) allows though it is not ours. Each datagram names the address of
//! ours that it leaves from; where that is not known, the system is asked.
//!
//! Only Linux has what this needs. Elsewhere, and where the system opens no more sockets, the sockets that receive send too.

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use elsewhere as system;
#[cfg(any(target_os = "linux", target_os = "android"))]
use linux as system;
use parking_lot::RwLock;

use super::Options;
use super::sending_socket::SendingSocket;
use super::sockets::IpVersion;
use super::sources::prefixes;

/// Most lanes of a device's peers. The peers beyond share the sockets that receive.
const MAX_LANES: usize = 1_024;

/// Most bytes of send buffer that a lane asks for, of which Linux makes twice as many: what all lanes hold is bounded too.
const MAX_BUFFER: usize = 512 << 10;

/// In how many groups strangers are, by their network: one where nobody answers is in the way of its own group.
const STRANGERS: u8 = 32;

/// Bytes of send buffer for what a group of strangers is answered, of which Linux makes twice as many.
const STRANGERS_BUFFER: usize = 32 << 10;

/// When a lane is tried again where the system opened none.
const RETRY: Duration = Duration::from_secs(10);

/// Whom a lane is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// The peer with this name.
    Peer(u32),
    /// Those who sent a handshake message and proved nothing yet, one group of networks of them.
    Strangers(u8),
}

/// The lanes of one port.
#[derive(Debug)]
pub(super) struct Lanes {
    port: u16,
    buffer: usize,
    offload: bool,
    most: usize,
    /// Which strangers are in one group, nobody else knows.
    groups: RandomState,
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    fwmark: u32,
    /// At most `most`, and those of strangers.
    open: HashMap<(Lane, IpVersion), Arc<SendingSocket>>,
    opening: Opening,
}

/// Whether lanes are opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Opening {
    #[default]
    Open,
    /// The system opened none; it is asked again then.
    NotBefore(Instant),
    Over,
}

impl Opening {
    fn is_open(self, now: Instant) -> bool {
        match self {
            Self::Open => true,
            Self::NotBefore(at) => at <= now,
            Self::Over => false,
        }
    }
}

impl Lanes {
    /// Returns the lanes of a port, none of which is open.
    pub(super) fn new(port: u16, options: &Options) -> Self {
        Self {
            port,
            buffer: options.socket_buffer.min(MAX_BUFFER),
            offload: options.offload,
            most: MAX_LANES.min(system::most()),
            groups: RandomState::new(),
            state: RwLock::default(),
        }
    }

    /// Returns the lane of strangers from an address.
    pub(super) fn of_strangers(&self, address: IpAddr) -> Lane {
        let [_, network] = prefixes(address);
        let group = self.groups.hash_one(network) % u64::from(STRANGERS);
        Lane::Strangers(group as u8)
    }

    /// Tells whether the system has lanes at all.
    pub(super) fn are_known(&self) -> bool {
        self.most > 0
    }

    /// Returns the mark of what leaves.
    pub(super) fn fwmark(&self) -> u32 {
        self.state.read().fwmark
    }

    /// Returns a lane, and opens it if need be beside `receiving`, the socket that has its port; `None` if there can be none.
    pub(super) fn get(&self, lane: Lane, version: IpVersion, receiving: &SendingSocket) -> Option<Arc<SendingSocket>> {
        let now = Instant::now();
        if let Some(known) = self.known(&self.state.read(), lane, version, now) {
            return known;
        }
        let state = &mut *self.state.write();
        // Another thread may have been first.
        if let Some(known) = self.known(state, lane, version, now) {
            return known;
        }
        let buffer = match lane {
            Lane::Peer(_) => self.buffer,
            Lane::Strangers(_) => self.buffer.min(STRANGERS_BUFFER),
        };
        match system::open(self.port, version, receiving.as_udp(), buffer, state.fwmark) {
            Ok(socket) => {
                let socket = Arc::new(SendingSocket::new(socket, buffer, self.offload));
                state.open.insert((lane, version), Arc::clone(&socket));
                state.opening = Opening::Open;
                Some(socket)
            }
            Err(error) => {
                if state.opening == Opening::Open {
                    tracing::info!(%error, "peers share a socket: one that takes nothing may delay the others");
                }
                state.opening = Opening::NotBefore(now + RETRY);
                None
            }
        }
    }

    /// Returns the lane, if it is open, or none, if it is not to be opened; `None` if it is.
    fn known(&self, state: &State, lane: Lane, version: IpVersion, now: Instant) -> Option<Option<Arc<SendingSocket>>> {
        let socket = state.open.get(&(lane, version)).cloned();
        let is_room = matches!(lane, Lane::Strangers(_)) || state.open.len() < self.most;
        (socket.is_some() || !is_room || !state.opening.is_open(now)).then_some(socket)
    }

    /// Closes the lanes of a peer. What the kernel was given leaves.
    pub(super) fn close(&self, peer: u32) {
        self.retain(|lane| lane != Lane::Peer(peer));
    }

    /// Closes every lane that `is_kept` does not name.
    pub(super) fn retain(&self, is_kept: impl Fn(Lane) -> bool) {
        if !self.state.read().open.is_empty() {
            self.state.write().open.retain(|(lane, _), _| is_kept(*lane));
        }
    }

    /// Returns how many are open.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.state.read().open.len()
    }

    /// Closes all lanes, for good.
    pub(super) fn close_all(&self) {
        let mut state = self.state.write();
        state.open.clear();
        state.opening = Opening::Over;
    }

    /// Marks what leaves from now on, for policy routing; 0 takes the mark away. Only Linux marks datagrams.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    pub(super) fn set_fwmark(&self, mark: u32) -> std::io::Result<()> {
        let mut state = self.state.write();
        for socket in state.open.values() {
            socket2::SockRef::from(socket.as_udp()).set_mark(mark)?;
        }
        state.fwmark = mark;
        Ok(())
    }
}

//! The tokio driver: it moves batches between TUN, tunnels and sockets, and sleeps until the next deadline.
//!
//! [`Device::start`] starts a thread for each direction of traffic, one for deadlines, and a task that follows the TUN
//! interface: sockets are open while it is up. Everything is configured through [`Device::apply`] while it runs.
//!
//! Locks are taken in this order: the turn of an update, the turn of `network`, the registry of peers, then the right to
//! send for one, then its tunnel, then the schedule, the link, the lanes or the endpoints. Datagrams leave through one function,
//! `departing::depart`.

mod bucket;
mod configure;
mod departing;
mod endpoints;
mod handshakes;
mod inbound;
#[cfg(target_os = "linux")]
mod interface_counters;
mod kernel_queue;
mod lanes;
mod log;
mod mss;
mod network;
mod opening;
mod outbound;
mod pacer;
mod path;
mod peers;
mod registry;
mod route;
mod routing_loop;
mod schedule;
mod sending;
mod sending_socket;
mod shared;
mod sockets;
mod sources;
mod status;
mod supervise;
#[cfg(test)]
mod tests;
mod threads;
mod too_big;
mod way;
mod workers;

#[cfg(target_os = "linux")]
pub use interface_counters::interface_counters;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use maybetun_tun::Tun;
use tokio::sync::{broadcast, watch};

use crate::keys::PublicKey;
use crate::negotiation::RenewError;
use crate::settings::{Status, Update};
use crate::tunnel::Event;
use shared::Shared;

/// Bytes a second that padding to all peers of a device together may take, unless the user says otherwise: that of 16
/// peers at [their own default](crate::settings::DEFAULT_MAX_PADDING_RATE).
pub const DEFAULT_DEVICE_PADDING_RATE: u64 = 256 << 20;

/// How a device behaves, beyond what [`Update`] sets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Bytes of receive and of send buffer asked for on each UDP socket; the system's maximum bounds it. Of several peers, on
    /// Linux and Android, each has a socket of its own to send by, with 512 KiB at most. While a peer is defended, on
    /// Linux and Android, the send buffer is kept to about two milliseconds of what leaves.
    pub socket_buffer: usize,
    /// Whether UDP sockets may send and receive many datagrams of one size at once, where the system can. By default
    /// yes.
    pub offload: bool,
    /// How many sockets of each IP version receive, each on a thread of its own that serves other peers than the rest:
    /// at least 1. More than 1 only on Linux. By default [`default_queues`].
    pub queues: usize,
    /// How late deadlines may be met, so that several cost one wakeup: more saves battery, and makes defenses less
    /// exact. Zero by default.
    pub timer_slack: Duration,
    /// Bytes a second that padding to all peers together may take, counted as IP packets with all their headers: in any second
    /// at most twice as many. 0 is no limit. By default [`DEFAULT_DEVICE_PADDING_RATE`].
    pub max_padding_rate: u64,
    /// Handshake messages a second from which on the device is under load: each source has a share then, and more of it
    /// once it proved its address with a cookie. 0 is always. `None`, the default, is 100, or one for 20 peers if that is
    /// more: six times what comes when each renews its session.
    pub handshakes_per_second: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket_buffer: 4 << 20,
            offload: true,
            queues: default_queues(),
            timer_slack: Duration::ZERO,
            max_padding_rate: DEFAULT_DEVICE_PADDING_RATE,
            handshakes_per_second: None,
        }
    }
}

/// Returns how many queues keep every core busy: one for two cores, as each has a thread that sends and one that
/// receives; 1 to 16.
pub fn default_queues() -> usize {
    const MOST: usize = 16;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    (cores / 2).clamp(1, MOST)
}

/// What the tunnel of one peer tells: for apps, above all [`Event::Protection`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceEvent {
    /// The peer.
    pub peer: PublicKey,
    /// What happened.
    pub event: Event,
}

/// A running device; clones are handles to the same device.
///
/// It runs until [`stop`](Self::stop) is called or the TUN device fails, whether or not handles remain.
#[derive(Debug, Clone)]
pub struct Device {
    shared: Arc<Shared>,
    stopped: watch::Receiver<Option<StopReason>>,
}

/// Explains why an update was not applied. Nothing of it was, but for what is beside [`Renew`](Self::Renew).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// No socket could be opened on the port.
    #[error("cannot listen on UDP port {port}: {source}")]
    Bind {
        /// The port asked for.
        port: u16,
        /// What the operating system said.
        source: io::Error,
    },
    /// The mark could not be set on the sockets.
    #[error("cannot set the mark of outgoing packets (it needs CAP_NET_ADMIN): {0}")]
    Fwmark(io::Error),
    /// The endpoint of a peer has port 0, to which nothing can be sent.
    #[error("the endpoint of peer {peer} has port 0: expected 1 to 65535")]
    Endpoint {
        /// The peer.
        peer: PublicKey,
    },
    /// The defense of a peer cannot be agreed on anew. All else of the update was applied.
    #[error("the defense of peer {peer} is not renewed: {source}")]
    Renew {
        /// The peer.
        peer: PublicKey,
        /// Why.
        source: RenewError,
    },
    /// The device has stopped.
    #[error("the device has stopped")]
    Stopped,
}

/// Tells why a device stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StopReason {
    /// [`Device::stop`] was called.
    Requested,
    /// The TUN interface was deleted, or the other end of its descriptor closed.
    TunGone,
    /// Reading or writing the TUN device failed.
    TunFailed(String),
}

impl Device {
    /// Starts a device on `tun`, without keys or peers.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub fn start<T: Tun>(tun: T, options: Options) -> Self {
        let shared = Arc::new(Shared::new(options, tun.interface()));
        let stopped = supervise::spawn(tun, Arc::clone(&shared));
        Self { shared, stopped }
    }

    /// Applies `update` whole, or not at all.
    ///
    /// # Errors
    /// When a socket cannot be opened or marked, an endpoint has port 0, a defense cannot be renewed, or the device has stopped.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub fn apply(&self, update: Update) -> Result<(), ApplyError> {
        configure::apply(&self.shared, update)
    }

    /// Returns the state of the device and its peers.
    pub fn status(&self) -> Status {
        status::status(&self.shared)
    }

    /// Returns what tells of events from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<DeviceEvent> {
        self.shared.events.subscribe()
    }

    /// Says that the device is, or may be, on another network: apps call it when the system tells of another
    /// connection.
    ///
    /// Nothing that was seen on the network before is seen again. Unless the user fixed the port, the sockets are
    /// closed and others opened on another port. Every session ends, and where there was one a handshake begins at
    /// once; packets wait for it.
    pub fn network_changed(&self) {
        network::moved(&self.shared);
    }

    /// Says that addresses or routes of the system have changed, or may have: apps and commands call it when the system
    /// tells of it, as often as it does.
    ///
    /// If datagrams to a peer would leave from another address than before, on Linux also by another interface or
    /// gateway, or could not leave for a time, or the address that the peer talks to is not ours any more, the network is
    /// another for that peer, as [`network_changed`](Self::network_changed) has it: for that one alone if the port is
    /// fixed, else for all, which share the sockets. A peer whose endpoint nobody set, that of a relay, is answered from
    /// the address that it talks to as long as that is ours. If what it is sent from there, on Linux, left by the
    /// interface that has the address and would leave by another now, it is called from the address that the system gives.
    /// What has not changed is not disturbed.
    pub fn routes_changed(&self) {
        network::look_around(&self.shared);
    }

    /// Returns the MTU that the interface has, in bytes, or had before it was [lent](Self::lend_mtu) another.
    pub fn mtu(&self) -> u16 {
        self.shared.mtu()
    }

    /// Returns the MTU that the interface should have for the sake of the path to the only peer, in bytes, but not less than
    /// `least`; `None` while the path takes all. [`Event::PathTakes`] tells when to ask again.
    pub fn fitting_mtu(&self, least: u16) -> Option<u16> {
        let peer = self.shared.registry.read().only_peer().cloned()?;
        let tunnel = &peer.state.lock().tunnel;
        let takes = u16::try_from(tunnel.path_mtu().and(tunnel.largest_packet())?).ok()?;
        Some(takes.max(least)).filter(|fitting| *fitting < self.shared.mtu())
    }

    /// Says that the interface is about to be set to this MTU because the path takes no more: the tunnels go on to take what it
    /// had before, as soon as the path does. Any other MTU that it gets is what it is to have, and ends that.
    pub fn lend_mtu(&self, mtu: u16) {
        self.shared.lend_mtu(mtu);
    }

    /// Says that the interface has this MTU or is about to have it, and that it is its own: not [lent](Self::lend_mtu), even if it is
    /// the same.
    pub fn own_mtu(&self, mtu: u16) {
        self.shared.own_mtu(mtu);
    }

    /// Stops the device and waits until its tasks have ended and its sockets are closed.
    pub async fn stop(&self) {
        self.shared.stop(StopReason::Requested);
        self.stopped().await;
    }

    /// Waits until the device has stopped, for whatever reason.
    pub async fn stopped(&self) -> StopReason {
        let mut stopped = self.stopped.clone();
        match stopped.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or(StopReason::Requested),
            // The runtime that the device ran on is gone.
            Err(_) => StopReason::Requested,
        }
    }
}

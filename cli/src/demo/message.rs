//! What the demo and its hosts say to each other: one line of JSON a message, over pipes.

use std::net::{Ipv4Addr, SocketAddr};

use maybetun_lab::network::Address;
use maybetun_lab::observer::Observation;
use maybetun_lab::sighting::Ends;
use serde::{Deserialize, Serialize};

use super::browser::PageLoad;

/// What a host is told to do. Each order gets one [`Reply`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub(super) enum Order {
    /// Make a wire: `link` here, `peer_link` in the network of process `peer`.
    Wire { link: String, peer_link: String, peer: u32 },
    /// Bring an interface up with an address, and take `gateway` as the default route.
    Link { link: String, address: Address, gateway: Option<Ipv4Addr> },
    /// Pass packets on between interfaces. Answered with [`Reply::Forwarding`].
    Forward,
    /// Serve the web site.
    Serve { address: SocketAddr },
    /// Bring up maybetun. Answered with [`Reply::Listening`].
    Tunnel(TunnelOrder),
    /// Start to capture what passes on an interface.
    Observe { link: String, ends: Ends },
    /// Load the page as a browser does. Answered with [`Reply::Loaded`].
    Load { server: SocketAddr },
    /// Stop the capture. Answered with [`Reply::Observed`].
    Report,
}

/// How one end of the tunnel is to be.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TunnelOrder {
    /// Addresses of the TUN interface.
    pub(super) addresses: Vec<Address>,
    /// MTU of the TUN interface, in bytes.
    pub(super) mtu: u16,
    /// The other end's public key, in base64.
    pub(super) peer: String,
    /// Where the other end is, if this one is to call it.
    pub(super) endpoint: Option<SocketAddr>,
    /// What the other end may send, and gets.
    pub(super) allowed_ips: Vec<Address>,
    /// Networks beyond the tunnel.
    pub(super) routes: Vec<Address>,
    /// The defense to run, by its name in the catalogue.
    pub(super) defense: Option<String>,
}

/// What a host answers.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub(super) enum Reply {
    /// The host has a network and waits for orders; its public key in base64.
    Ready { public_key: String },
    /// The order was carried out.
    Done,
    /// The tunnel is up and listens on this UDP port.
    Listening { port: u16 },
    /// Whether the host passes packets on.
    Forwarding { forwarding: Forwarding },
    /// The page was loaded, every byte as it should be.
    Loaded { page: PageLoad },
    /// What the capture saw.
    Observed { observation: Observation },
    /// The order failed, and why. The host ends.
    Failed { message: String },
}

/// Whether a host passes packets on between its interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Forwarding {
    /// It does.
    On,
    /// `/proc/sys` is read-only, so that it cannot be told to.
    Refused,
}

//! A relay with clients around it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use maybetun::keys::PrivateKey;
use maybetun::settings::{DefenseChange, Role};
use maybetun::tunnel::{DatagramBatch, Tunnel, TunnelConfig};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::End;
use crate::virtual_network::{Host, Link, Network, Node, Outbox, Tap};

/// The port that every end has.
const PORT: u16 = 51_820;

/// A relay, and clients with a tunnel to it each: all on one virtual network, with other hosts inside. One client makes a pair.
///
/// Keys, session indices, delays and defenses are drawn from one seed, and so are the faults of links: the same star is the same to
/// the nanosecond. Only the bytes of handshakes and what is sealed differ, as boringtun draws ephemeral keys from the system.
///
/// ```
/// # #[cfg(feature = "virtual-time")] {
/// use std::net::SocketAddr;
/// use std::time::{Duration, Instant};
/// use maybetun::settings::{DefenseChange, EphemeralSettings, Tier};
/// use maybetun_lab::tunnels::{RELAY, Star, client, inner_client, inner_packet, inner_relay};
/// use maybetun_lab::virtual_network::{Host, Link, Outbox, Packet, Trace};
///
/// /// Asks, or answers a question with fifty large packets.
/// struct Peer;
///
/// impl Host for Peer {
///     fn receive(&mut self, question: Packet, _: Instant, out: &mut Outbox) {
///         if question.payload.len() < 1_000 {
///             (0..50).for_each(|_| out.put(inner_packet(question.to.ip(), question.from.ip(), 1_400)));
///         }
///     }
/// }
///
/// // 100 Mbit/s, 15 ms each way, and an observer beside the client.
/// let link = Link { rate: Some(12_500_000), ..Link::with_delay(Duration::from_millis(15)) };
/// let mut star = Star::new(1, Trace::beside(client(0)), &link, Peer, [Peer]);
/// star.defend(&DefenseChange::Ephemeral(EphemeralSettings { tier: Tier::Size, ..EphemeralSettings::default() }));
/// star.act(client(0), |_, _, out| out.put(inner_packet(inner_client(0), inner_relay(), 60)));
/// star.network.run_for(Duration::from_secs(2));
///
/// // What the observer has: once both ends have agreed, datagrams of one size.
/// star.network.tap.passed.clear();
/// star.act(client(0), |_, _, out| out.put(inner_packet(inner_client(0), inner_relay(), 60)));
/// star.network.run_for(Duration::from_secs(2));
/// let passed = &star.network.tap.passed;
/// assert!(passed.iter().all(|passed| passed.size == 1_420 + 32 + 28));
/// assert!(passed.iter().filter(|passed| passed.from == RELAY).count() >= 50);
/// # }
/// ```
#[derive(Debug)]
pub struct Star<I, T = ()> {
    /// The network. The relay is [`RELAY`], and the clients are [`client`]s.
    pub network: Network<End<I>, T>,
    rng: ChaCha20Rng,
}

/// The relay of a star.
pub const RELAY: Node = Node(0);

/// Returns a client of a star, from 0 on.
pub const fn client(number: usize) -> Node {
    Node(number + 1)
}

/// Returns the address of the relay inside tunnels.
pub const fn inner_relay() -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))
}

/// Returns the address of a client inside its tunnel.
///
/// # Panics
/// Panics if it is over 65,534.
pub const fn inner_client(number: usize) -> IpAddr {
    assert!(number < u16::MAX as usize, "a star has at most 65,535 clients");
    let [high, low] = (number as u16 + 1).to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, 1, high, low))
}

/// Returns an address inside tunnels as what it is.
#[cfg(feature = "workloads")]
pub(crate) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("addresses inside a star are IPv4's"),
    }
}

/// Returns where a node is outside tunnels: in networks that are for benchmarks (RFC 2544).
fn outer(node: Node) -> SocketAddr {
    let number = u16::try_from(node.0).expect("a star has at most 65,535 clients");
    let [high, low] = number.to_be_bytes();
    SocketAddr::from(([198, 18, high, low], PORT))
}

impl<I: Host, T: Tap> Star<I, T> {
    /// Returns a star without sessions. `link` is each direction between a client and the relay; others are set by
    /// [`Network::link`]. `relay` is the host inside the relay's end, and `clients` are those inside the clients'.
    ///
    /// # Panics
    /// Panics if there are over 65,535 clients.
    pub fn new(seed: u64, tap: T, link: &Link, relay: I, clients: impl IntoIterator<Item = I>) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let mut network = Network::new(seed, tap);
        let start = network.instant();
        let relay_key = PrivateKey::generate(&mut rng);
        let mut relay = End::new(outer(RELAY), start, relay);
        let mut ends = Vec::new();
        for (number, inside) in clients.into_iter().enumerate() {
            let key = PrivateKey::generate(&mut rng);
            let config = TunnelConfig::new(&relay_key, key.public_key(), draw(&mut rng));
            let peer = relay.add_peer(config, None, &[&format!("{}/32", inner_client(number))]);
            relay.expect_from(peer, outer(client(number)));
            let mut end = End::new(outer(client(number)), start, inside);
            let config = TunnelConfig::new(&key, relay_key.public_key(), draw(&mut rng));
            end.add_peer(config, Some(outer(RELAY)), &["0.0.0.0/0", "::/0"]);
            ends.push(end);
        }
        network.add(outer(RELAY).ip(), relay);
        for (number, end) in ends.into_iter().enumerate() {
            network.add(outer(client(number)).ip(), end);
            network.link_both(client(number), RELAY, link);
        }
        Self { network, rng }
    }

    /// Has every end run a defense, or agree on one with its peer: clients as the client, the relay with each as the relay.
    pub fn defend(&mut self, change: &DefenseChange) {
        self.defend_each(|_| change.clone());
    }

    /// Has every end run what `change` says for its role.
    pub fn defend_each(&mut self, change: impl Fn(Role) -> DefenseChange) {
        for number in 0..self.clients() {
            for (node, peer, role) in [(client(number), 0, Role::Client), (RELAY, number, Role::Relay)] {
                let (change, seed) = (change(role), draw(&mut self.rng));
                self.act_on(node, peer, |tunnel, now, out| {
                    tunnel.set_defense(change, role, seed, now, out).expect("only a renewal is refused")
                });
            }
        }
    }

    /// Takes a client to another address. It is not told: its tunnel goes on, and the relay learns of it from what arrives.
    pub fn move_client(&mut self, number: usize, address: IpAddr) {
        self.network.move_to(client(number), address);
        self.network.act(client(number), |end, _, _| end.move_to(address));
    }

    /// Returns the number of clients.
    pub fn clients(&self) -> usize {
        self.network.host(RELAY).peers()
    }

    /// Has something happen to the host inside an end now, and sends through the tunnels what it sends.
    pub fn act<R>(&mut self, node: Node, act: impl FnOnce(&mut I, Instant, &mut Outbox) -> R) -> R {
        self.network.act(node, |end, now, out| end.act(now, out, act))
    }

    /// Has something happen to the tunnel from an end to one of its peers: of a client, 0.
    pub fn act_on<R>(
        &mut self,
        node: Node,
        peer: usize,
        act: impl FnOnce(&mut Tunnel, Instant, &mut DatagramBatch) -> R,
    ) -> R {
        self.network.act(node, |end, now, out| end.act_on(peer, now, out, act))
    }
}

fn draw(rng: &mut ChaCha20Rng) -> [u8; 32] {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    seed
}

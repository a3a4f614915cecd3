//! Everything that can be changed of a device while it runs, drawn at random.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use maybetun::device::ApplyError;
use maybetun::keys::{PresharedKey, PrivateKey, PublicKey};
use maybetun::settings::{
    AllowedIpChange, DefenseChange, DefenseSettings, EphemeralSettings, Fraction, Limits, NegotiationPolicy,
    PeerAction, PeerUpdate, Role, Strength, Tier, Update,
};
use maybetun_lab::devices::Side;
use maybetun_machines::catalogue;
use maybetun_tun::TunEvent;
use rand_chacha::ChaCha20Rng;
use rand_core::RngCore as _;
use tokio::runtime::Handle;

use crate::ends::{ADDRESSES, Ends};

/// Peers that a device may have before they are replaced by one.
const MAX_PEERS: usize = 8;

/// Longest rest after a change: some handshakes and packets come between two.
const REST: Duration = Duration::from_millis(20);

/// How long the device may leave what its interface tells unread. What it tells afterwards is as good.
const TELL: Duration = Duration::from_millis(100);

/// One kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Makes each the other's peer, as an ordinary tunnel has it: whatever was changed, packets pass again.
    Connect,
    AddPeer,
    RemovePeer,
    ReplacePeers,
    PrivateKey,
    PresharedKey,
    ListenPort,
    Fwmark,
    LinkDown,
    LinkUp,
    Mtu,
    Endpoint,
    AllowedIps,
    Keepalive,
    Defense,
    Ephemeral,
    Renew,
    NoDefense,
    NetworkChanged,
    RoutesChanged,
    Status,
}

impl Change {
    /// Each as often as it is to be drawn.
    const DRAWN: [Self; 25] = [
        Self::Connect,
        Self::Connect,
        Self::Connect,
        Self::AddPeer,
        Self::RemovePeer,
        Self::ReplacePeers,
        Self::PrivateKey,
        Self::PresharedKey,
        Self::ListenPort,
        Self::Fwmark,
        Self::LinkDown,
        Self::LinkUp,
        Self::LinkUp,
        Self::Mtu,
        Self::Endpoint,
        Self::AllowedIps,
        Self::Keepalive,
        Self::Defense,
        Self::Ephemeral,
        Self::Ephemeral,
        Self::Renew,
        Self::NoDefense,
        Self::NetworkChanged,
        Self::RoutesChanged,
        Self::Status,
    ];
}

/// Draws changes, and makes them.
pub(crate) struct Changes {
    ends: [Side; 2],
    runtime: Handle,
    rng: ChaCha20Rng,
}

impl Changes {
    /// Draws from `rng`; `runtime` is the one that the devices run on.
    pub(crate) fn new(ends: &Ends, runtime: Handle, rng: ChaCha20Rng) -> Self {
        Self { ends: ends.0.clone(), runtime, rng }
    }

    pub(crate) fn draw(&mut self) -> Change {
        Change::DRAWN[self.below(Change::DRAWN.len())]
    }

    /// Makes a change at one end, drawn like all else of it, and rests.
    ///
    /// # Panics
    /// Panics if the device has stopped: nobody has asked it to.
    pub(crate) fn make(&mut self, change: Change) {
        let at = self.below(2);
        let peer = self.any_peer(at);
        match change {
            Change::Connect => self.connect(),
            Change::AddPeer => self.add_peer(at),
            Change::RemovePeer => {
                self.change_peer(at, PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(peer) });
            }
            Change::ReplacePeers => self.apply(at, Update { replace_peers: true, ..Update::default() }),
            Change::PrivateKey => {
                let key = (self.below(4) > 0).then(|| PrivateKey::generate(&mut self.rng));
                self.apply(at, Update { private_key: Some(key), ..Update::default() });
            }
            Change::PresharedKey => {
                let key =
                    [PresharedKey::from_bytes(&[0; 32]), PresharedKey::from_bytes(&[7; 32])][self.below(2)].clone();
                self.change_peer(at, PeerUpdate { preshared_key: Some(key), ..PeerUpdate::new(peer) });
            }
            Change::ListenPort => self.change_port(at),
            Change::Fwmark => {
                let mark = self.below(3) as u32;
                self.apply(at, Update { fwmark: Some(mark), ..Update::default() });
            }
            Change::LinkDown => self.tell(at, TunEvent::Down),
            Change::LinkUp => self.tell(at, TunEvent::Up),
            Change::Mtu => {
                let mtu = [68, 576, 1_280, 1_420, 9_000, u16::MAX][self.below(6)];
                self.tell(at, TunEvent::Mtu(mtu));
            }
            Change::Endpoint => {
                let endpoint = Some(self.any_endpoint());
                self.change_peer(at, PeerUpdate { endpoint, ..PeerUpdate::new(peer) });
            }
            Change::AllowedIps => {
                let (other, number) = (ADDRESSES[1 - at], self.below(3));
                let changes = [
                    AllowedIpChange::Add(IpAddr::from(other).into()),
                    AllowedIpChange::Remove(IpAddr::from(other).into()),
                    AllowedIpChange::Add("0.0.0.0/0".parse().unwrap()),
                ];
                let replace_allowed_ips = self.below(2) == 0;
                let allowed_ips = vec![changes[number]];
                self.change_peer(at, PeerUpdate { replace_allowed_ips, allowed_ips, ..PeerUpdate::new(peer) });
            }
            Change::Keepalive => {
                let persistent_keepalive = Some(self.below(3) as u16);
                self.change_peer(at, PeerUpdate { persistent_keepalive, ..PeerUpdate::new(peer) });
            }
            Change::Defense => {
                let settings = self.settings();
                self.defend(at, peer, DefenseChange::On(settings));
            }
            Change::Ephemeral => {
                let settings = self.ephemeral();
                // Ends that are not both told never agree.
                for at in [at, 1 - at] {
                    let peer = self.any_peer(at);
                    self.defend(at, peer, DefenseChange::Ephemeral(settings.clone()));
                }
            }
            Change::Renew => self.defend(at, peer, DefenseChange::Renew),
            Change::NoDefense => self.defend(at, peer, DefenseChange::Off),
            Change::NetworkChanged => self.ends[at].device.network_changed(),
            Change::RoutesChanged => self.ends[at].device.routes_changed(),
            Change::Status => {
                let peers = self.ends[at].device.status().peers.len();
                assert!(peers <= MAX_PEERS + 2, "{peers} peers");
            }
        }
        thread::sleep(REST.mul_f64(self.below(100) as f64 / 100.0));
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound as u64) as usize
    }

    /// Applies an update. What it asks for may be refused, as long as the device lives.
    #[track_caller]
    fn apply(&self, at: usize, update: Update) {
        let applied = self.ends[at].device.apply(update);
        assert!(!matches!(applied, Err(ApplyError::Stopped)), "the device has stopped");
    }

    #[track_caller]
    fn change_peer(&self, at: usize, peer: PeerUpdate) {
        self.apply(at, Update { peers: vec![peer], ..Update::default() });
    }

    #[track_caller]
    fn defend(&self, at: usize, peer: PublicKey, defense: DefenseChange) {
        self.change_peer(at, PeerUpdate { defense: Some(defense), ..PeerUpdate::new(peer) });
    }

    /// Tells a device of a change of its interface, if it listens.
    fn tell(&self, at: usize, event: TunEvent) {
        let host = &self.ends[at].host;
        self.runtime.block_on(async { tokio::time::timeout(TELL, host.set(event)).await.ok() });
    }

    fn connect(&self) {
        for end in &self.ends {
            let private_key = Some(Some(end.key.clone()));
            let applied = end.device.apply(Update { private_key, ..Update::default() });
            applied.unwrap();
        }
        for (own, other) in [(0, 1), (1, 0)] {
            let port = self.ends[other].device.status().listen_port;
            // One end calls; the other, a relay, is called, until something else is drawn.
            let endpoint = (own == 0 && port != 0).then(|| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
            let peer = PeerUpdate {
                endpoint,
                preshared_key: Some(PresharedKey::from_bytes(&[0; 32])),
                allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(ADDRESSES[other]).into())],
                ..PeerUpdate::new(self.ends[other].key.public_key())
            };
            self.change_peer(own, peer);
        }
    }

    fn add_peer(&mut self, at: usize) {
        let replace_peers = self.ends[at].device.status().peers.len() >= MAX_PEERS;
        let peer = PeerUpdate {
            endpoint: (self.below(2) == 0).then(|| self.any_endpoint()),
            allowed_ips: vec![AllowedIpChange::Add("10.1.0.0/16".parse().unwrap())],
            persistent_keepalive: Some(self.below(2) as u16),
            ..PeerUpdate::new(PrivateKey::generate(&mut self.rng).public_key())
        };
        self.apply(at, Update { replace_peers, peers: vec![peer], ..Update::default() });
    }

    /// Asks for any port, for a new one that may be free, or for the other's.
    fn change_port(&mut self, at: usize) {
        let others = self.ends[1 - at].device.status().listen_port;
        let port = [0, 0, 20_000 + self.below(10_000) as u16, others][self.below(4)];
        self.apply(at, Update { listen_port: Some(port), ..Update::default() });
    }

    /// A peer that a device has; the other end if it has none.
    fn any_peer(&mut self, at: usize) -> PublicKey {
        let peers = self.ends[at].device.status().peers;
        let drawn = self.below(peers.len().max(1));
        peers.get(drawn).map_or_else(|| self.ends[1 - at].key.public_key(), |peer| peer.public_key)
    }

    /// Where nobody is, where the other end may be, and where nothing can be sent to.
    fn any_endpoint(&mut self) -> SocketAddr {
        let at = self.below(2);
        let own = self.ends[at].device.status().listen_port.max(1);
        let address = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 9, 9, 9), Ipv4Addr::BROADCAST][self.below(3)];
        SocketAddr::from((address, [own, 9][self.below(2)]))
    }

    fn limits(&mut self) -> Limits {
        let some = self.below(2) == 0;
        Limits {
            max_padding_frac: Fraction::new(0.5).filter(|_| some),
            max_blocking_frac: Fraction::new(0.25).filter(|_| some),
            ..Limits { max_padding_rate: [None, Some(0), Some(65_536)][self.below(3)], ..Limits::default() }
        }
    }

    fn settings(&mut self) -> DefenseSettings {
        let drawn = self.below(catalogue().len());
        let role = [Role::Client, Role::Relay][self.below(2)];
        DefenseSettings::of(catalogue()[drawn].defense(), role).limited(self.limits())
    }

    fn ephemeral(&mut self) -> EphemeralSettings {
        EphemeralSettings {
            tier: Tier::ALL[self.below(Tier::ALL.len())],
            strength: Strength::ALL[self.below(Strength::ALL.len())],
            negotiation: [NegotiationPolicy::Prefer, NegotiationPolicy::Require][self.below(2)],
            bundling: self.below(2) == 0,
            limits: self.limits(),
            ..EphemeralSettings::default()
        }
    }
}

//! Two devices on loopback, each with an in-memory TUN.

mod many;
mod moving;
mod peers;
mod removing;
mod routing_loop;
mod sizes;
mod waking;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use enum_map::enum_map;
use maybenot::Machine;
use maybenot::dist::{Dist, DistType};
use maybenot::state::{State, Trans};
use maybetun_tun::TunEvent;
use maybetun_tun::memory::{self, MemoryHost};

use super::handshakes::tests::initiation;
use super::*;
use crate::defense::Plan;
use crate::keys::{PresharedKey, PrivateKey};
use crate::settings::{
    AllowedIpChange, Cause, DefenseChange, DefenseSettings, EphemeralSettings, Fraction, Limits, PeerAction,
    PeerUpdate, Protection, Role,
};
use crate::tunnel::ip_tests::ipv4;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

/// A guard against hanging, far above what anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

struct Side {
    device: Device,
    host: MemoryHost,
    key: PrivateKey,
}

impl Side {
    async fn new() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let (tun, host) = memory::pair(256, 1_420);
        let device = Device::start(tun, options);
        let key = PrivateKey::generate_from_os();
        device.apply(Update { private_key: Some(Some(key.clone())), ..Update::default() }).unwrap();
        let side = Self { device, host, key };
        side.listening().await;
        side
    }

    /// Waits until the device has opened its sockets, and returns where it listens.
    async fn listening(&self) -> SocketAddr {
        loop {
            let port = self.device.status().listen_port;
            if port != 0 {
                return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn add_peer(&self, peer: &Side, address: [u8; 4]) {
        let update = PeerUpdate {
            endpoint: Some(peer.listening().await),
            allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(address).into())],
            ..PeerUpdate::new(peer.key.public_key())
        };
        self.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    }

    async fn receive(&mut self) -> Vec<u8> {
        tokio::time::timeout(PATIENCE, self.host.recv_packet())
            .await
            .expect("no packet came")
            .expect("the device is gone")
    }
}

async fn connected() -> (Side, Side) {
    let (mut a, mut b) = (Side::new().await, Side::new().await);
    a.add_peer(&b, B).await;
    b.add_peer(&a, A).await;
    exchange(&mut a, &mut b, b"hello").await;
    (a, b)
}

#[tokio::test]
async fn packets_pass_with_any_number_of_queues() {
    for queues in [0, 2, 5] {
        let mut a = Side::with(Options { queues, ..Options::default() }).await;
        let mut b = Side::new().await;
        a.add_peer(&b, B).await;
        b.add_peer(&a, A).await;
        exchange(&mut a, &mut b, b"hello").await;
    }
}

async fn exchange(a: &mut Side, b: &mut Side, payload: &[u8]) {
    a.host.send_packet(ipv4(A, B, payload)).await.unwrap();
    assert_eq!(b.receive().await, ipv4(A, B, payload));
    b.host.send_packet(ipv4(B, A, payload)).await.unwrap();
    assert_eq!(a.receive().await, ipv4(B, A, payload));
}

#[tokio::test]
async fn packets_of_every_size_arrive_in_order() {
    let (a, mut b) = connected().await;
    for length in (0..1_400).step_by(7) {
        a.host.send_packet(ipv4(A, B, &vec![length as u8; length])).await.unwrap();
        assert_eq!(b.receive().await, ipv4(A, B, &vec![length as u8; length]));
    }
    let status = a.device.status();
    assert_eq!(status.peers[0].statistics.sent_packets, 201);
    assert!(status.peers[0].last_handshake.is_some());
}

#[tokio::test]
async fn a_packet_without_a_route_is_counted() {
    let (mut a, mut b) = connected().await;
    a.host.send_packet(ipv4(A, [192, 0, 2, 1], b"nowhere")).await.unwrap();
    exchange(&mut a, &mut b, b"still alive").await;
    assert_eq!(a.device.status().dropped.no_route, 1);
}

#[tokio::test]
async fn the_session_survives_a_change_of_port() {
    let (mut a, mut b) = connected().await;
    let before = b.device.status();
    b.device.apply(Update { listen_port: Some(0), ..Update::default() }).unwrap();
    let port = b.device.status().listen_port;
    assert_ne!(port, before.listen_port);
    // The other side learns the new port from the first packet.
    b.host.send_packet(ipv4(B, A, b"moved")).await.unwrap();
    assert_eq!(a.receive().await, ipv4(B, A, b"moved"));
    exchange(&mut a, &mut b, b"both ways").await;
    assert_eq!(a.device.status().peers[0].endpoint.unwrap().port(), port);
    assert_eq!(b.device.status().peers[0].statistics.handshakes, before.peers[0].statistics.handshakes);
}

#[tokio::test]
async fn a_port_in_use_is_refused_and_changes_nothing() {
    let (mut a, mut b) = connected().await;
    let taken = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let before = a.device.status();
    let update = Update { listen_port: Some(port), replace_peers: true, ..Update::default() };
    let Err(ApplyError::Bind { port: refused, source }) = a.device.apply(update) else { panic!("the port is taken") };
    assert_eq!((refused, source.kind()), (port, io::ErrorKind::AddrInUse));
    assert_eq!(a.device.status().listen_port, before.listen_port);
    exchange(&mut a, &mut b, b"unchanged").await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_mark_that_is_refused_to_fresh_sockets_is_told_from_a_port_that_is() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    let (mut a, mut b) = connected().await;
    let before = a.device.status();
    // Only this thread is without them.
    let mut own = capabilities(None).unwrap();
    own.effective.remove(CapabilitySet::NET_ADMIN | CapabilitySet::NET_RAW);
    set_capabilities(None, own).unwrap();
    let update = Update { listen_port: Some(0), fwmark: Some(7), ..Update::default() };
    let refused = a.device.apply(update);
    assert!(matches!(refused, Err(ApplyError::Fwmark(_))), "{refused:?}");
    assert_eq!(a.device.status().listen_port, before.listen_port);
    exchange(&mut a, &mut b, b"unchanged").await;
}

#[tokio::test]
async fn a_new_preshared_key_on_both_sides_makes_a_new_session() {
    let (mut a, mut b) = connected().await;
    let preshared_key = Some(PresharedKey::generate_from_os());
    for (side, peer) in [(&a, &b), (&b, &a)] {
        let peer = PeerUpdate { preshared_key: preshared_key.clone(), ..PeerUpdate::new(peer.key.public_key()) };
        side.device.apply(Update { peers: vec![peer], ..Update::default() }).unwrap();
    }
    exchange(&mut a, &mut b, b"again").await;
    assert_eq!(a.device.status().peers[0].preshared_key, preshared_key);
}

/// Changes the defense of `side` towards `peer`.
fn set_defense(side: &Side, peer: &Side, defense: DefenseChange) -> Result<(), ApplyError> {
    let peer = PeerUpdate { defense: Some(defense), ..PeerUpdate::new(peer.key.public_key()) };
    side.device.apply(Update { peers: vec![peer], ..Update::default() })
}

fn catalogued(name: &str, role: Role) -> DefenseSettings {
    DefenseSettings::of(maybetun_machines::find(name).unwrap(), role)
}

#[tokio::test]
async fn a_defense_is_switched_while_the_session_goes_on() {
    let (mut a, mut b) = connected().await;
    for name in ["constant-size", "front", "tamaraw"] {
        let settings = catalogued(name, Role::Client);
        set_defense(&a, &b, DefenseChange::On(settings.clone())).unwrap();
        exchange(&mut a, &mut b, b"defended").await;
        let running = a.device.status().peers[0].defense.clone().unwrap();
        assert_eq!(running.settings, settings);
        assert!(running.statistics.constant_size_sent_bytes > 0, "{running:?}");
        set_defense(&a, &b, DefenseChange::Off).unwrap();
        assert_eq!(a.device.status().peers[0].defense, None);
        exchange(&mut a, &mut b, b"plain").await;
    }
    assert_eq!(a.device.status().peers[0].statistics.handshakes, 1);
}

#[tokio::test]
async fn the_same_defense_again_goes_on_undisturbed() {
    let (mut a, mut b) = connected().await;
    let metronome = || DefenseChange::On(catalogued("metronome", Role::Client));
    set_defense(&a, &b, metronome()).unwrap();
    exchange(&mut a, &mut b, b"go").await;
    let actions = || a.device.status().peers[0].defense.as_ref().unwrap().statistics.padding_actions;
    while actions() < 50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    set_defense(&a, &b, metronome()).unwrap();
    // An engine that was started anew would wait for a packet.
    let before = actions();
    while actions() < before + 50 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let limited = catalogued("metronome", Role::Client)
        .limited(Limits { max_padding_frac: Fraction::new(0.5), ..Limits::default() });
    set_defense(&a, &b, DefenseChange::On(limited)).unwrap();
    let before = actions();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(actions(), before, "what is counted goes on, and this one waits");
}

#[tokio::test]
async fn the_end_whose_peer_has_an_endpoint_is_the_client() {
    let (a, b) = (Side::new().await, Side::new().await);
    a.add_peer(&b, B).await;
    let unnamed = |role| DefenseSettings { role, ..catalogued("constant-size", Role::Client) };
    for (side, peer, role) in [(&a, &b, Role::Client), (&b, &a, Role::Relay)] {
        set_defense(side, peer, DefenseChange::On(unnamed(None))).unwrap();
        let status = side.device.status().peers.remove(0);
        assert_eq!((status.role, status.defense.unwrap().settings), (Some(role), unnamed(Some(role))));
    }
}

#[tokio::test]
async fn a_removed_peer_is_not_heard() {
    let (a, b) = connected().await;
    let remove = PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(a.key.public_key()) };
    b.device.apply(Update { peers: vec![remove], ..Update::default() }).unwrap();
    a.host.send_packet(ipv4(A, B, b"unheard")).await.unwrap();
    while b.device.status().dropped.unknown == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(b.device.status().peers.is_empty());
}

#[tokio::test]
async fn an_update_only_of_an_unknown_peer_adds_nothing() {
    let side = Side::new().await;
    let key = PrivateKey::generate_from_os().public_key();
    let update = PeerUpdate { action: PeerAction::UpdateOnly, ..PeerUpdate::new(key) };
    side.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    assert!(side.device.status().peers.is_empty());
}

#[tokio::test]
async fn an_interface_that_goes_down_and_up_keeps_its_port_and_its_session() {
    let (mut a, mut b) = connected().await;
    let before = a.device.status();
    a.host.set(TunEvent::Down).await;
    while a.device.shared.sockets.borrow().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    a.host.set(TunEvent::Up).await;
    while a.device.shared.sockets.borrow().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(a.device.status().listen_port, before.listen_port);
    exchange(&mut a, &mut b, b"back").await;
    assert_eq!(a.device.status().peers[0].statistics.handshakes, 1);
}

#[tokio::test]
async fn an_interface_that_flaps_is_heard_again() {
    let (mut a, mut b) = connected().await;
    for _ in 0..20 {
        a.host.set(TunEvent::Down).await;
        a.host.set(TunEvent::Up).await;
    }
    // The last of the changes may be still to come: what meets a closed socket is lost.
    hear(&a, &mut b, ipv4(A, B, b"back")).await;
    hear(&b, &mut a, ipv4(B, A, b"back")).await;
}

/// Sends a packet again and again until it arrives.
async fn hear(from: &Side, to: &mut Side, packet: Vec<u8>) {
    let again = async {
        loop {
            from.host.send_packet(packet.clone()).await.unwrap();
            let wait = tokio::time::timeout(Duration::from_millis(50), to.host.recv_packet());
            if let Ok(received) = wait.await {
                return received;
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, again).await.expect("no packet came"), Some(packet));
}

#[tokio::test]
async fn a_device_stops_when_asked_and_when_its_tun_is_gone() {
    let (a, b) = connected().await;
    a.device.stop().await;
    assert_eq!(a.device.stopped().await, StopReason::Requested);
    assert!(matches!(a.device.apply(Update::default()), Err(ApplyError::Stopped)));
    drop(b.host);
    assert_eq!(b.device.stopped().await, StopReason::TunGone);
}

#[tokio::test]
async fn without_a_key_a_device_is_silent_and_with_one_it_speaks() {
    let (mut a, mut b) = connected().await;
    a.device.apply(Update { private_key: Some(None), ..Update::default() }).unwrap();
    a.host.send_packet(ipv4(A, B, b"unsent")).await.unwrap();
    while a.device.status().dropped.no_route == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    a.device.apply(Update { private_key: Some(Some(a.key.clone())), ..Update::default() }).unwrap();
    exchange(&mut a, &mut b, b"again").await;
}

#[tokio::test]
async fn an_app_is_told_how_far_it_is_protected() {
    let (a, b) = (Side::new().await, Side::new().await);
    let mut events = a.device.events();
    let mut told = async || loop {
        let event = tokio::time::timeout(PATIENCE, events.recv()).await.expect("nothing is told").unwrap();
        if let Event::Protection(protection) = event.event {
            assert_eq!(event.peer, b.key.public_key());
            return protection;
        }
    };
    let ephemeral = || Some(DefenseChange::Ephemeral(EphemeralSettings::default()));
    let apply = |side: &Side, update: PeerUpdate| {
        side.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    };
    apply(&b, PeerUpdate { defense: ephemeral(), ..PeerUpdate::new(a.key.public_key()) });
    let endpoint = Some(b.listening().await);
    // The peer is called by itself: no packet is sent.
    apply(&a, PeerUpdate { endpoint, defense: ephemeral(), ..PeerUpdate::new(b.key.public_key()) });
    assert_eq!(told().await, Protection::OneSided(Cause::Negotiating));
    assert_eq!(told().await, Protection::Protected);

    let status = a.device.status();
    let epoch = status.peers[0].negotiation.as_ref().and_then(|negotiation| negotiation.epoch.clone()).unwrap();
    let at_b = b.device.status().peers[0].negotiation.as_ref().and_then(|negotiation| negotiation.epoch.clone());
    assert_eq!(at_b.unwrap().fingerprint, epoch.fingerprint);
    assert_eq!(status.peers[0].defense.as_ref().unwrap().settings.plan.machines().len(), 3);

    apply(&a, PeerUpdate { defense: Some(DefenseChange::Off), ..PeerUpdate::new(b.key.public_key()) });
    assert_eq!(told().await, Protection::NotProtected(Cause::Off));
    assert!(a.device.status().peers[0].negotiation.is_none());
}

/// A machine that blocks everything, for longer than a test runs, as soon as a packet is to be sent.
fn blocking_for_ever() -> DefenseSettings {
    let constant = |value| Dist::new(DistType::Uniform { low: value, high: value }, 0.0, 0.0);
    let start = State::new(enum_map! { maybenot::event::Event::NormalSent => vec![Trans(1, 1.0)], _ => vec![] });
    let mut block = State::new(enum_map! { _ => vec![] });
    block.action = Some(maybenot::action::Action::BlockOutgoing {
        bypass: false,
        replace: false,
        timeout: constant(0.0),
        duration: constant(1e9),
        limit: None,
    });
    let machine = Machine::new(u64::MAX, 0.0, u64::MAX, 0.0, vec![start, block]).unwrap();
    let mut settings = catalogued("constant-size", Role::Client);
    settings.plan = Plan::new([machine]).unwrap();
    settings
}

#[tokio::test]
async fn a_cookie_reply_does_not_tell_whose_address_it_is_or_whether_that_peer_blocks() {
    // Under load from the first message on.
    let a = Side::with(Options { handshakes_per_second: Some(0), ..Options::default() }).await;
    let own = a.key.public_key();
    let to = a.listening().await;
    // Addresses of their own, so that none has another's share: of a peer that blocks, of one that does not, of nobody.
    let sockets = [2, 3, 4].map(|last| std::net::UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), 0)).unwrap());
    let peers = [B, [10, 0, 0, 3]].map(|address| (address, PrivateKey::generate_from_os().public_key()));
    for ((address, key), socket) in peers.iter().zip(&sockets) {
        let peer = PeerUpdate {
            endpoint: Some(socket.local_addr().unwrap()),
            allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(*address).into())],
            ..PeerUpdate::new(*key)
        };
        a.device.apply(Update { peers: vec![peer], ..Update::default() }).unwrap();
    }
    let blocking = DefenseChange::On(blocking_for_ever());
    let peer = PeerUpdate { defense: Some(blocking), ..PeerUpdate::new(peers[0].1) };
    a.device.apply(Update { peers: vec![peer], ..Update::default() }).unwrap();
    a.host.send_packet(ipv4(A, B, b"it blocks now")).await.unwrap();
    while !a.device.shared.registry.read().by_key(peers[0].1.as_bytes()).unwrap().state.lock().tunnel.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let replies = sockets.map(|socket| {
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut replies = 0;
        for _ in 0..10 {
            socket.send_to(&initiation(own), to).unwrap();
            let mut reply = [0; 256];
            // What the device sends of itself, calling its peers, does not count.
            while let Ok((length, _)) = socket.recv_from(&mut reply) {
                if length == 64 && reply[0] == 3 {
                    replies += 1;
                    break;
                }
            }
        }
        replies
    });
    assert_eq!(replies, [10; 3]);
}

//! A device that is taken to another network.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::super::sockets::Sockets;
use super::*;

/// The ports from which each session's data came, by receiver index.
type Sessions = BTreeMap<u32, BTreeSet<u16>>;

/// The port that a datagram came from, and the datagram.
type Sighting = (u16, Vec<u8>);

/// A host on the way to a device, which writes down what it passes on.
struct Observer {
    address: SocketAddr,
    /// What was seen of the side that speaks first.
    seen: Arc<Mutex<Vec<Sighting>>>,
    is_over: Arc<AtomicBool>,
}

impl Observer {
    fn before(device: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let address = socket.local_addr().unwrap();
        let observer = Self { address, seen: Arc::default(), is_over: Arc::default() };
        let (seen, is_over) = (Arc::clone(&observer.seen), Arc::clone(&observer.is_over));
        thread::spawn(move || {
            let (mut buffer, mut speaker) = ([0; 2_048], None);
            while !is_over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                if from == device {
                    speaker.map(|speaker| socket.send_to(&buffer[..length], speaker));
                } else {
                    speaker = Some(from);
                    seen.lock().unwrap().push((from.port(), buffer[..length].to_vec()));
                    socket.send_to(&buffer[..length], device).unwrap();
                }
            }
        });
        observer
    }

    fn seen(&self) -> Vec<Sighting> {
        self.seen.lock().unwrap().clone()
    }

    fn sessions(&self) -> Sessions {
        let mut sessions = Sessions::new();
        for (port, datagram) in self.seen().iter().filter(|(_, datagram)| datagram[0] == 4) {
            let receiver = u32::from_le_bytes(datagram[4..8].try_into().unwrap());
            sessions.entry(receiver).or_default().insert(*port);
        }
        sessions
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// Two sides that are connected, and an observer of what `a` sends.
async fn observed(options: Options) -> (Side, Side, Observer) {
    let (mut a, mut b) = (Side::with(options).await, Side::new().await);
    let observer = Observer::before(b.listening().await);
    let update = PeerUpdate {
        endpoint: Some(observer.address),
        allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(B).into())],
        ..PeerUpdate::new(b.key.public_key())
    };
    a.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    let update = PeerUpdate {
        allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(A).into())],
        ..PeerUpdate::new(a.key.public_key())
    };
    b.device.apply(Update { peers: vec![update], ..Update::default() }).unwrap();
    exchange(&mut a, &mut b, b"hello").await;
    (a, b, observer)
}

fn handshakes(side: &Side) -> u64 {
    side.device.status().peers[0].statistics.handshakes
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn on_another_network_the_port_is_another_and_a_handshake_comes_first() {
    let (mut a, mut b, observer) = observed(Options::default()).await;
    let before = a.device.status().listen_port;
    a.device.network_changed();
    let after = a.device.status().listen_port;
    assert_ne!(after, before);
    let start = std::time::Instant::now();
    until("a new session without a packet", || handshakes(&a) == 2).await;
    assert!(start.elapsed() < Duration::from_secs(4), "the first initiation is heard, before it would be sent again");
    exchange(&mut a, &mut b, b"moved").await;
    let seen: Vec<_> = observer.seen().into_iter().filter(|(port, _)| *port == after).collect();
    assert_eq!(seen[0].1[0], 1, "the first is a handshake initiation");
    let initiations = seen.iter().filter(|(_, datagram)| datagram[0] == 1).count();
    assert_eq!(initiations, 1, "it is sent once");
}

#[tokio::test]
async fn no_datagram_of_a_session_leaves_from_two_ports() {
    for queues in [1, 3] {
        let (a, b, observer) = observed(Options { queues, ..Options::default() }).await;
        let is_over = Arc::new(AtomicBool::new(false));
        let (device, is_done) = (a.device.clone(), Arc::clone(&is_over));
        let mover = thread::spawn(move || {
            for session in 1..20 {
                while device.status().peers[0].statistics.handshakes < session {
                    thread::sleep(Duration::from_millis(1));
                }
                // It is in use.
                thread::sleep(Duration::from_millis(5));
                device.network_changed();
            }
            is_done.store(true, Ordering::Relaxed);
        });
        while !is_over.load(Ordering::Relaxed) {
            a.host.send_packet(ipv4(A, B, &[7; 500])).await.unwrap();
            // What arrives is taken, so that the way is never full.
            while let Ok(Some(_)) = tokio::time::timeout(Duration::ZERO, b.host.recv_packet()).await {}
        }
        mover.join().unwrap();
        let sessions = observer.sessions();
        assert!(sessions.len() > 10, "{sessions:?}");
        assert!(sessions.values().all(|ports| ports.len() == 1), "{sessions:?}");
        let ports = observer.seen().iter().map(|(port, _)| *port).collect::<BTreeSet<_>>();
        assert!(ports.len() > 10, "{ports:?}");
    }
}

#[tokio::test]
async fn a_port_that_the_user_fixed_stays() {
    let (mut a, mut b, _observer) = observed(Options::default()).await;
    let free = UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
    a.device.apply(Update { listen_port: Some(free), ..Update::default() }).unwrap();
    assert!(a.device.status().is_port_fixed);
    a.device.network_changed();
    assert_eq!(a.device.status().listen_port, free);
    until("a new session", || handshakes(&a) == 2).await;
    exchange(&mut a, &mut b, b"moved").await;

    a.device.apply(Update { listen_port: Some(0), ..Update::default() }).unwrap();
    assert!(!a.device.status().is_port_fixed);
    let drawn = a.device.status().listen_port;
    a.device.network_changed();
    assert_ne!(a.device.status().listen_port, drawn);
}

#[tokio::test]
async fn a_port_that_is_refused_again_ends_no_session() {
    let (mut a, mut b, observer) = observed(Options::default()).await;
    let before = a.device.status().listen_port;
    for _ in 0..3 {
        network::retry(&a.device.shared, |_| None);
    }
    exchange(&mut a, &mut b, b"still here").await;
    assert_eq!((a.device.status().listen_port, handshakes(&a), observer.sessions().len()), (before, 1, 1));

    network::retry(&a.device.shared, |shared| Some(Sockets::bind(0, 0, &shared.options).unwrap()));
    assert_ne!(a.device.status().listen_port, before);
    until("a new session on the port that was given", || handshakes(&a) == 2).await;
    exchange(&mut a, &mut b, b"moved").await;
}

#[tokio::test]
async fn routes_that_lead_where_they_led_change_nothing() {
    let (mut a, mut b, _observer) = observed(Options::default()).await;
    let before = a.device.status().listen_port;
    for _ in 0..3 {
        a.device.routes_changed();
    }
    exchange(&mut a, &mut b, b"still here").await;
    assert_eq!((a.device.status().listen_port, handshakes(&a)), (before, 1));
}

#[tokio::test]
async fn a_network_that_changes_while_the_interface_is_down_is_another_when_it_is_up() {
    let (mut a, mut b, _observer) = observed(Options::default()).await;
    let before = a.device.status().listen_port;
    a.host.set(TunEvent::Down).await;
    until("the sockets are closed", || a.device.shared.sockets.borrow().is_none()).await;
    a.device.network_changed();
    a.host.set(TunEvent::Up).await;
    until("the sockets are open", || a.device.shared.sockets.borrow().is_some()).await;
    assert_ne!(a.device.status().listen_port, before);
    exchange(&mut a, &mut b, b"moved").await;
    assert_eq!(handshakes(&a), 2);
}

#[tokio::test]
async fn a_device_without_a_session_says_nothing_on_another_network() {
    let (a, b) = (Side::new().await, Side::new().await);
    a.add_peer(&b, B).await;
    a.device.network_changed();
    exchange_nothing(&a).await;
    assert_eq!(b.device.status().peers.len() + b.device.status().dropped.unknown as usize, 0);
}

/// Waits as long as a datagram over loopback takes, and much longer.
async fn exchange_nothing(side: &Side) {
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(side.device.status().peers[0].statistics.sent_bytes, 0);
}

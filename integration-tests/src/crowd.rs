//! A crowd of honest clients on one host: each has a tunnel and an address of its own, and sends echo requests through it.
//!
//! One thread serves all, so that a hundred cost the machine little. What is measured of them is what of their requests the
//! relay's host has answered, and how long that took.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::echo::{ECHO_HEADERS, echo_reply, echo_request};
use crate::host::{Background, Host};
use crate::tunnel::{Keys, PeerConfig};
use crate::wait::eventually;
use crate::wire::Wire;

/// Bytes of each packet.
const PACKET: usize = 1_250;

/// How long what was sent last may be on its way.
const LAST: Duration = Duration::from_secs(1);

/// Clients at work on one host. Dropping it ends them.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    thread: Option<Background<()>>,
    keys: Vec<String>,
}

/// What was measured of a crowd.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    /// Requests sent.
    pub sent: u64,
    /// How long each reply took, in order of length.
    pub round_trips: Vec<Duration>,
}

impl Measured {
    /// Returns the share of requests that were answered.
    pub fn goodput(&self) -> f64 {
        self.round_trips.len() as f64 / self.sent as f64
    }

    /// Returns the time that a share of replies, 0 to 1, did not exceed.
    ///
    /// # Panics
    /// Panics if there were no replies.
    pub fn round_trip(&self, share: f64) -> Duration {
        self.round_trips[((self.round_trips.len() - 1) as f64 * share) as usize]
    }
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Bears the number of the measurement, from 1 on; what is sent under 0 is not measured.
    measurement: AtomicU64,
    measured: Mutex<Measured>,
    /// Clients that have had a reply.
    reached: AtomicU64,
}

struct Client {
    tunnel: Tunnel,
    socket: UdpSocket,
    inner: Ipv4Addr,
    next: Instant,
    sequence: u16,
    was_reached: bool,
}

/// What a client needs to know.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its keys.
    pub keys: Keys,
    /// Its address on the network; the host must have it.
    pub outer: Ipv4Addr,
    /// Its address inside the tunnel.
    pub inner: Ipv4Addr,
}

impl Member {
    /// Returns one with new keys, at the left end of a wire, and gives `host`, which is there, its address that ends in
    /// `number`.
    ///
    /// # Panics
    /// Panics if the host has the address already.
    #[track_caller]
    pub fn join(host: &Host, wire: &Wire, number: u8, inner: Ipv4Addr) -> Self {
        let IpAddr::V4(outer) = wire.network.v4(number) else { unreachable!("an address of version 4") };
        host.ip(&format!("addr add {outer}/24 dev {}", wire.left));
        Self { keys: Keys::new(), outer, inner }
    }

    /// Returns what a relay is to know of it.
    pub fn as_peer(&self) -> PeerConfig {
        PeerConfig {
            public_key: self.keys.public.clone(),
            preshared_key: None,
            endpoint: None,
            allowed_ips: format!("{}/32", self.inner),
        }
    }
}

impl Crowd {
    /// How often each client sends a packet: 200 kbit/s, and as much comes back.
    pub const INTERVAL: Duration = Duration::from_millis(50);

    /// Starts the members on `host`, and waits until each has a reply from `target`, inside the tunnel to `relay`, whose
    /// public key in base64 is `relay_key`.
    #[track_caller]
    pub fn start(host: &Host, members: &[Member], relay: SocketAddr, relay_key: &str, target: Ipv4Addr) -> Self {
        let relay_key = PublicKey::from_base64(relay_key).expect("a key");
        let clients: Vec<Client> = host.inside(|| {
            let client = |(number, member)| Client::new(number, member, relay, relay_key);
            members.iter().enumerate().map(client).collect()
        });
        let shared = Arc::new(Shared::default());
        let state = Arc::clone(&shared);
        let thread = host.spawn(move || run(clients, target, &state));
        let keys = members.iter().map(|member| member.keys.public.clone()).collect();
        let crowd = Self { shared, thread: Some(thread), keys };
        eventually("all reach the relay", Duration::from_secs(120), || {
            crowd.shared.reached.load(Ordering::Relaxed) == members.len() as u64
        });
        crowd
    }

    /// Returns the public keys of its clients, in base64.
    pub fn keys(&self) -> &[String] {
        &self.keys
    }

    /// Measures for `time`, and calls `each_second` meanwhile.
    pub fn measure(&self, time: Duration, mut each_second: impl FnMut()) -> Measured {
        static MEASUREMENTS: AtomicU64 = AtomicU64::new(1);
        *self.measured() = Measured::default();
        self.shared.measurement.store(MEASUREMENTS.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let began = Instant::now();
        while began.elapsed() < time {
            thread::sleep(Duration::from_secs(1));
            each_second();
        }
        let number = self.shared.measurement.swap(0, Ordering::Relaxed);
        assert_ne!(number, 0, "one measurement at a time");
        thread::sleep(LAST);
        let mut measured = std::mem::take(&mut *self.measured());
        measured.round_trips.sort_unstable();
        measured
    }

    fn measured(&self) -> std::sync::MutexGuard<'_, Measured> {
        self.shared.measured.lock().expect("the clients' thread did not panic")
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && !thread::panicking()
        {
            thread.finish();
        }
    }
}

impl Client {
    fn new(number: usize, member: &Member, relay: SocketAddr, relay_key: PublicKey) -> Self {
        let socket = UdpSocket::bind((member.outer, 0)).expect("an address of the host's, and a free port");
        socket.connect(relay).expect("a route to the relay");
        socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        let key = PrivateKey::from_base64(&member.keys.private).expect("a key");
        let seed = std::array::from_fn(|at| (number >> (8 * (at % 2))) as u8);
        let mut tunnel = Tunnel::new(TunnelConfig::new(&key, relay_key, seed));
        tunnel.set_endpoint(Some(Endpoint::from(relay)));
        // They neither call nor send all at once.
        let next = Instant::now() + Duration::from_micros(10_500) * number as u32;
        Self { tunnel, socket, inner: member.inner, next, sequence: 0, was_reached: false }
    }

    /// Sends the next request, and says in it when that is, and for which measurement.
    fn request(&mut self, target: Ipv4Addr, epoch: Instant, shared: &Shared, out: &mut DatagramBatch) {
        let mut payload = [0; PACKET - ECHO_HEADERS];
        let measurement = shared.measurement.load(Ordering::Relaxed);
        payload[..8].copy_from_slice(&measurement.to_be_bytes());
        payload[8..16].copy_from_slice(&(epoch.elapsed().as_nanos() as u64).to_be_bytes());
        if measurement != 0 {
            shared.measured.lock().expect("nobody panics with it").sent += 1;
        }
        let mut packet = echo_request(self.inner, target, self.sequence, &payload);
        packet.resize(PACKET + 15, 0);
        self.sequence = self.sequence.wrapping_add(1);
        self.next += Crowd::INTERVAL;
        self.tunnel.send(&mut packet, PACKET, Instant::now(), out);
    }

    /// Takes what has come, and returns what of it was a reply: the payload's measurement and time of leaving.
    fn receive(&mut self, out: &mut DatagramBatch, mut reply: impl FnMut(u64, Duration)) {
        let (mut datagram, mut packet) = ([0; 2_048], [0; 2_048]);
        let from = self.tunnel.endpoint().expect("it was set");
        while let Ok(length) = self.socket.recv(&mut datagram) {
            let now = Instant::now();
            let opened = self.tunnel.receive(&datagram[..length], from, now, |_| true, &mut packet, out);
            if let Some(payload) = opened.and_then(|_| echo_reply(&packet)) {
                let number = |at: usize| u64::from_be_bytes(payload[at..at + 8].try_into().expect("8 bytes"));
                self.was_reached = true;
                reply(number(0), Duration::from_nanos(number(8)));
            }
        }
    }

    fn transmit(&self, out: &mut DatagramBatch) {
        // As on any network, some may be lost.
        out.iter().for_each(|datagram| drop(self.socket.send(datagram)));
        out.clear();
    }

    fn deadline(&self) -> Instant {
        self.tunnel.next_timeout().map_or(self.next, |deadline| deadline.min(self.next))
    }
}

fn run(mut clients: Vec<Client>, target: Ipv4Addr, shared: &Shared) {
    let (epoch, mut out) = (Instant::now(), DatagramBatch::new());
    while !shared.stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        for client in &mut clients {
            if client.next <= now {
                client.request(target, epoch, shared, &mut out);
            }
            if client.tunnel.next_timeout().is_some_and(|deadline| deadline <= now) {
                client.tunnel.handle_timeout(now, &mut out);
            }
            client.transmit(&mut out);
        }
        let deadline = clients.iter().map(Client::deadline).min();
        let left = deadline.map_or(Crowd::INTERVAL, |deadline| deadline.saturating_duration_since(Instant::now()));
        let ready: Vec<usize> = {
            let mut sockets: Vec<PollFd<'_>> =
                clients.iter().map(|client| PollFd::new(client.socket.as_fd(), PollFlags::POLLIN)).collect();
            // Rounded up, so that it is not woken for nothing.
            let time_out = PollTimeout::try_from(left.as_millis() as u32 + 1).unwrap_or(PollTimeout::MAX);
            poll(&mut sockets, time_out).expect("sockets can be waited for");
            let is_ready = |(index, socket): (usize, &PollFd<'_>)| socket.any().unwrap_or(false).then_some(index);
            sockets.iter().enumerate().filter_map(is_ready).collect()
        };
        for index in ready {
            let client = &mut clients[index];
            let was_reached = client.was_reached;
            client.receive(&mut out, |measurement, left_at| {
                if measurement != 0 {
                    let took = epoch.elapsed().saturating_sub(left_at);
                    shared.measured.lock().expect("nobody panics with it").round_trips.push(took);
                }
            });
            if client.was_reached && !was_reached {
                shared.reached.fetch_add(1, Ordering::Relaxed);
            }
            client.transmit(&mut out);
        }
    }
}

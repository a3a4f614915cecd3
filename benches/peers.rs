//! What many peers cost: a relay and a client on loopback that exchange packets without a pause, while the relay is given
//! peers, asked for its state, and called by strangers.
//!
//! `cargo bench --bench peers [-- PEERS]`, 20,000 by default. A stall is the longest time that one packet took to the relay
//! and back; a busy machine shows in that of the first line, where nothing else is done. Memory is the process's resident
//! set, on Linux.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use maybetun::device::Options;
use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::settings::{AllowedIpChange, DefenseChange, EphemeralSettings, PeerAction, PeerUpdate, Update};
use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
use maybetun_lab::devices::Side;

/// Pause before the next packet, so that two cores have time for something else.
const PAUSE: Duration = Duration::from_micros(200);

/// Calls of strangers that are answered.
const CALLS: u32 = 2_000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A packet that goes to and fro, on a thread of its own.
struct Exchange {
    is_over: Arc<AtomicBool>,
    /// The longest that it took, in microseconds.
    longest: Arc<AtomicU64>,
    rounds: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<io::Result<()>>,
}

impl Exchange {
    fn start(client: Side, relay: Side) -> Self {
        let (is_over, longest, rounds) = <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (over, most, count) = (Arc::clone(&is_over), Arc::clone(&longest), Arc::clone(&rounds));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
                while !over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    client.host.send_packet(client.packet_to(&relay, 20)).await?;
                    relay.host.recv_packet().await.ok_or_else(gone)?;
                    relay.host.send_packet(relay.packet_to(&client, 20)).await?;
                    client.host.recv_packet().await.ok_or_else(gone)?;
                    most.fetch_max(start.elapsed().as_micros() as u64, Ordering::Relaxed);
                    count.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(PAUSE);
                }
                Ok(())
            })
        });
        Self { is_over, longest, rounds, thread }
    }

    /// Does `act`, and says how long it took and how long the exchange stood still meanwhile.
    fn during<R>(&self, what: &str, act: impl FnOnce() -> R) -> io::Result<R> {
        self.longest.store(0, Ordering::Relaxed);
        let start = Instant::now();
        let result = act();
        let took = start.elapsed();
        // What it held up comes now.
        let round = self.rounds.load(Ordering::Relaxed);
        while self.rounds.load(Ordering::Relaxed) < round + 2 && !self.thread.is_finished() {
            std::thread::sleep(PAUSE);
        }
        let stall = Duration::from_micros(self.longest.load(Ordering::Relaxed));
        writeln!(io::stdout(), "{what}: {took:.1?}, longest stall {stall:.1?}")?;
        Ok(result)
    }

    fn stop(self) -> io::Result<()> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| io::Error::other("the exchange panicked"))?
    }
}

/// Peers that nobody is: some keys, and an address each.
fn peers(count: u32, defense: Option<&DefenseChange>) -> Update {
    let peer = |number: u32| {
        let mut key = [9; 32];
        key[..4].copy_from_slice(&number.to_le_bytes());
        let address = IpAddr::from((0x0a40_0000 + number).to_be_bytes());
        PeerUpdate {
            allowed_ips: vec![AllowedIpChange::Add(address.into())],
            defense: defense.cloned(),
            ..PeerUpdate::new(PublicKey::from_bytes(&key).expect("a key of large order"))
        }
    };
    Update { peers: (0..count).map(peer).collect(), ..Update::default() }
}

/// Bytes of the process that are in memory; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// How long the relay takes to answer a stranger's call by a cookie.
async fn call_of_a_stranger(relay: &Side) -> Result<Duration> {
    let mut tunnel = Tunnel::new(TunnelConfig::new(&PrivateKey::generate_from_os(), relay.key.public_key(), [1; 32]));
    let to = relay.listening().await;
    tunnel.set_endpoint(Some(Endpoint::from(to)));
    let mut out = DatagramBatch::new();
    tunnel.start_handshake(Instant::now(), &mut out);
    let call = out.iter().next().ok_or("no call")?;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let start = Instant::now();
    for _ in 0..CALLS {
        socket.send_to(call, to)?;
        socket.recv(&mut [0; 256])?;
    }
    Ok(start.elapsed() / CALLS)
}

#[tokio::main]
async fn main() -> Result<()> {
    let count = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20_000);
    let mut options = Options::default();
    let client = Side::start([10, 0, 0, 1].into(), options.clone()).await?;
    options.handshakes_per_second = Some(0);
    let relay = Side::start([10, 0, 0, 2].into(), options).await?;
    relay.add(&client, None).await?;
    client.add(&relay, None).await?;
    let exchange = Exchange::start(client.clone(), relay.clone());
    // The first handshake needs a cookie, and waits for it.
    while client.device.status().peers.iter().all(|peer| peer.statistics.received_packets == 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let few = call_of_a_stranger(&relay).await?;

    exchange.during("nothing", || std::thread::sleep(Duration::from_secs(2)))?;
    let before = resident();
    exchange.during(&format!("{count} peers added"), || relay.device.apply(peers(count, None)))??;
    let plain = resident().saturating_sub(before) / u64::from(count);
    exchange.during("the same again", || relay.device.apply(peers(count, None)))??;
    exchange.during("state told", || relay.device.status())?;
    let many = call_of_a_stranger(&relay).await?;
    let defense = DefenseChange::Ephemeral(EphemeralSettings::default());
    exchange.during("a defense for each", || relay.device.apply(peers(count, Some(&defense))))??;
    let defended = resident().saturating_sub(before) / u64::from(count);
    let mut removal = peers(count, None);
    removal.peers.iter_mut().for_each(|peer| peer.action = PeerAction::Remove);
    exchange.during("all removed", || relay.device.apply(removal))??;
    writeln!(io::stdout(), "memory of a peer: {plain} bytes, {defended} bytes with a defense")?;
    writeln!(io::stdout(), "a stranger's call: {few:.1?} among 1 peer, {many:.1?} among {count}")?;
    exchange.stop()?;
    client.device.stop().await;
    relay.device.stop().await;
    Ok(())
}

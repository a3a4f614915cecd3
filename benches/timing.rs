//! How exact a defense's timers are: two devices on loopback, one of which pads every 1,000 µs.
//!
//! `cargo bench --bench timing [-- SECONDS]`, 10 s by default. The figures are the process's own: lateness is counted where
//! a timer fires, and the rate is that of padding packets sealed. A busy machine shows in the 99th percentile.

use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use maybetun::device::{Device, Options};
use maybetun::keys::PrivateKey;
use maybetun::settings::{
    AllowedIpChange, DefenseChange, DefenseSettings, DefenseStatistics, PeerUpdate, Role, Update,
};
use maybetun_tun::memory::{self, MemoryHost};

const CLIENT: [u8; 4] = [10, 0, 0, 1];
const RELAY: [u8; 4] = [10, 0, 0, 2];

struct Side {
    device: Device,
    host: MemoryHost,
    key: PrivateKey,
}

impl Side {
    async fn new() -> io::Result<Self> {
        let (tun, host) = memory::pair(64, 1_420);
        let device = Device::start(tun, Options::default());
        let key = PrivateKey::generate_from_os();
        let update = Update { private_key: Some(Some(key.clone())), ..Update::default() };
        device.apply(update).map_err(io::Error::other)?;
        while device.status().listen_port == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { device, host, key })
    }

    fn add(&self, peer: &Side, address: [u8; 4], defense: Option<DefenseChange>) -> io::Result<()> {
        let update = PeerUpdate {
            endpoint: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, peer.device.status().listen_port))),
            allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(address).into())],
            defense,
            ..PeerUpdate::new(peer.key.public_key())
        };
        self.device.apply(Update { peers: vec![update], ..Update::default() }).map_err(io::Error::other)
    }

    fn statistics(&self) -> DefenseStatistics {
        let status = self.device.status();
        status
            .peers
            .first()
            .and_then(|peer| peer.defense.as_ref())
            .map(|defense| defense.statistics)
            .unwrap_or_default()
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> io::Result<()> {
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10);
    let metronome = maybetun_machines::find("metronome").ok_or_else(|| io::Error::other("no metronome"))?;
    let (client, relay) = (Side::new().await?, Side::new().await?);
    client.add(&relay, RELAY, Some(DefenseChange::On(DefenseSettings::of(metronome, Role::Client))))?;
    relay.add(&client, CLIENT, None)?;
    // The first packet makes the session, and starts the machine.
    client.host.send_packet(first_packet()).await?;
    relay.host.recv_packet().await;

    let (start, before) = (Instant::now(), client.statistics());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (elapsed, after) = (start.elapsed(), client.statistics());
    let packets = after.padding_sent_packets - before.padding_sent_packets;
    let mut out = io::stdout().lock();
    writeln!(out, "asked   every 1,000 µs for {seconds} s")?;
    writeln!(out, "sent    {:.1} padding packets a second", packets as f64 / elapsed.as_secs_f64())?;
    writeln!(out, "late    p50 {:?}, p99 {:?}", after.lateness_p50, after.lateness_p99)
}

fn first_packet() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0];
    packet.extend(CLIENT);
    packet.extend(RELAY);
    packet
}

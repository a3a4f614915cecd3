//! Two devices in one process, each on an in-memory TUN, that talk over UDP on loopback. Needs no privileges.
//!
//! An app does the same with one device, on the TUN of its platform: see `descriptor.rs`.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use maybetun::device::{Device, Options};
use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::settings::{AllowedIpChange, PeerUpdate, Update};
use maybetun_tun::memory::{self, MemoryHost};

const MTU: u16 = 1_420;

/// An IPv4 packet without a payload, from 10.0.0.1 to 10.0.0.2 (protocol 59: nothing follows).
const PACKET: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (client_key, relay_key) = (PrivateKey::generate_from_os(), PrivateKey::generate_from_os());
    let (client, client_host) = start(&client_key)?;
    let (relay, relay_host) = start(&relay_key)?;
    let relay_address = SocketAddr::from((Ipv4Addr::LOCALHOST, listen_port(&relay).await));

    client.apply(peer(relay_key.public_key(), Some(relay_address), "10.0.0.2/32")?)?;
    relay.apply(peer(client_key.public_key(), None, "10.0.0.1/32")?)?;

    client_host.send_packet(PACKET.to_vec()).await?;
    let received = relay_host.recv_packet().await.ok_or("the relay stopped")?;
    assert_eq!(received, PACKET);

    let statistics = relay.status().peers[0].statistics;
    writeln!(
        io::stdout(),
        "the relay received {} packet(s) in {} bytes of UDP payload, {} handshake(s)",
        statistics.received_packets,
        statistics.received_bytes,
        statistics.handshakes
    )?;
    client.stop().await;
    relay.stop().await;
    Ok(())
}

/// Starts a device with a key and without peers. Dropping the host would end it.
fn start(key: &PrivateKey) -> Result<(Device, MemoryHost), Box<dyn Error>> {
    let (tun, host) = memory::pair(256, MTU);
    let device = Device::start(tun, Options::default());
    device.apply(Update { private_key: Some(Some(key.clone())), ..Update::default() })?;
    Ok((device, host))
}

/// The sockets are opened when the interface is up, which the device learns in a task of its own.
async fn listen_port(device: &Device) -> u16 {
    loop {
        match device.status().listen_port {
            0 => tokio::time::sleep(Duration::from_millis(1)).await,
            port => return port,
        }
    }
}

fn peer(key: PublicKey, endpoint: Option<SocketAddr>, allowed: &str) -> Result<Update, Box<dyn Error>> {
    let peer =
        PeerUpdate { endpoint, allowed_ips: vec![AllowedIpChange::Add(allowed.parse()?)], ..PeerUpdate::new(key) };
    Ok(Update { peers: vec![peer], ..Update::default() })
}

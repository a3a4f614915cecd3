//! Two tunnels without sockets, tasks or tokio: the caller carries the datagrams.
//!
//! Builds with `--no-default-features`. In a program of its own, each tunnel's owner sends the datagrams of a batch to
//! `endpoint()` and calls `handle_timeout` at `next_timeout()`.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use maybetun::keys::PrivateKey;
use maybetun::tunnel::{DatagramBatch, Endpoint, PADDING_MULTIPLE, Tunnel, TunnelConfig};

/// An IPv4 packet without a payload, from 10.0.0.1 to 10.0.0.2 (protocol 59: nothing follows).
const PACKET: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

fn main() -> Result<(), Box<dyn Error>> {
    let keys = [PrivateKey::generate_from_os(), PrivateKey::generate_from_os()];
    let addresses: [SocketAddr; 2] = ["192.0.2.1:51820".parse()?, "192.0.2.2:51820".parse()?];
    let mut tunnels = [0, 1].map(|own| {
        // The last argument names the tunnel in session indices: 24 bits, random and different for each peer.
        let mut tunnel = Tunnel::new(TunnelConfig::new(&keys[own], keys[1 - own].public_key(), [own as u8; 32]));
        tunnel.set_endpoint(Some(Endpoint::from(addresses[1 - own])));
        tunnel
    });

    // The packet waits in tunnel 0 until a handshake is done; the batch holds its first message.
    let mut out = DatagramBatch::new();
    let mut buffer = [0; PACKET.len() + PADDING_MULTIPLE - 1];
    buffer[..PACKET.len()].copy_from_slice(&PACKET);
    tunnels[0].send(&mut buffer, PACKET.len(), Instant::now(), &mut out);

    let mut to = 1;
    while !out.is_empty() {
        let datagrams: Vec<_> = out.iter().map(<[u8]>::to_vec).collect();
        out.clear();
        for datagram in datagrams {
            let from = Endpoint::from(addresses[1 - to]);
            let inner = IpAddr::from([10, 0, 0, 2 - to as u8]);
            let mut packet = vec![0; datagram.len()];
            let opened =
                tunnels[to].receive(&datagram, from, Instant::now(), |source| source == inner, &mut packet, &mut out);
            writeln!(io::stdout(), "tunnel {to} got {} bytes; inside: {opened:?}", datagram.len())?;
            if let Some(length) = opened {
                assert_eq!(packet[..length], PACKET);
            }
        }
        to = 1 - to;
    }
    Ok(())
}

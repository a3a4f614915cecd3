//! Three minutes of a tunnel in no time: which datagrams a client with a persistent keepalive sends, and when.
//!
//! Run it with `cargo run --example virtual_time --features virtual-time --target-dir target/virtual-time`.
//! The feature gives the handshake clocks that only [`MockClock`] moves; never enable it in a build that carries traffic.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use maybetun::keys::PrivateKey;
use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
use mock_instant::MockClock;

const DURATION: Duration = Duration::from_secs(180);

/// Time that a datagram takes from one side to the other.
const DELAY: Duration = Duration::from_millis(20);

/// Seconds.
const KEEPALIVE: u16 = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let keys = [PrivateKey::generate_from_os(), PrivateKey::generate_from_os()];
    let addresses: [SocketAddr; 2] = ["192.0.2.1:51820".parse()?, "192.0.2.2:51820".parse()?];
    let mut tunnels =
        [0, 1].map(|own| Tunnel::new(TunnelConfig::new(&keys[own], keys[1 - own].public_key(), [own as u8; 32])));
    let start = Instant::now();
    set_time(Duration::ZERO);
    tunnels[0].set_endpoint(Some(Endpoint::from(addresses[1])));
    tunnels[0].set_persistent_keepalive(KEEPALIVE, start);

    // Datagrams on their way: when they arrive, where, and their bytes.
    let mut wire: Vec<(Duration, usize, Vec<u8>)> = Vec::new();
    let mut out = DatagramBatch::new();
    loop {
        let deadlines = tunnels.iter().filter_map(Tunnel::next_timeout).map(|at| at - start);
        let Some(now) = deadlines.chain(wire.iter().map(|(at, ..)| *at)).min().filter(|at| *at <= DURATION) else {
            return Ok(());
        };
        set_time(now);
        for own in [0, 1] {
            out.clear();
            tunnels[own].handle_timeout(start + now, &mut out);
            let arrived: Vec<_> = wire.extract_if(.., |(at, to, _)| *at <= now && *to == own).collect();
            for (_, _, datagram) in arrived {
                let from = Endpoint::from(addresses[1 - own]);
                let mut packet = vec![0; datagram.len()];
                tunnels[own].receive(&datagram, from, start + now, |_| true, &mut packet, &mut out);
            }
            for datagram in out.iter() {
                let seconds = now.as_secs_f64();
                writeln!(io::stdout(), "{seconds:8.3} s  tunnel {own} sends {:4} bytes", datagram.len())?;
                wire.push((now + DELAY, 1 - own, datagram.to_vec()));
            }
        }
    }
}

/// Sets the clock that counts, and the wall clock.
fn set_time(now: Duration) {
    MockClock::set_time(now);
    MockClock::set_system_time(now);
}

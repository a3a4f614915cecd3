//! Three minutes of a tunnel in no time: which datagrams a client with a persistent keepalive sends, and when.
//!
//! Run it with `cargo run --example virtual_time --features virtual-time --target-dir target/virtual-time`.
//! The feature gives the handshake clocks that only the network moves; never enable it in a build that carries traffic.
//! Hosts inside, links with a rate and faults, and many clients: `maybetun_lab::tunnels::Star`.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::Duration;

use maybetun_lab::tunnels::TwoEnds;

const DURATION: Duration = Duration::from_secs(180);

/// Time that a datagram takes from one side to the other.
const DELAY: Duration = Duration::from_millis(20);

/// Seconds.
const KEEPALIVE: u16 = 25;

fn main() -> Result<(), Box<dyn Error>> {
    let mut network = TwoEnds::new();
    network.set_delay(DELAY);
    network.act(0, |client, now, _| client.set_persistent_keepalive(KEEPALIVE, now));
    network.run_until(DURATION);
    for sent in &network.seen {
        let seconds = sent.at.as_secs_f64();
        writeln!(io::stdout(), "{seconds:8.3} s  tunnel {} sends {:4} bytes", sent.from, sent.length)?;
    }
    Ok(())
}

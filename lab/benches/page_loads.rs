//! What it costs to load a page through two tunnels on the virtual network: how many a measurement gets in a minute.
//!
//! `cargo bench --package maybetun-lab --no-default-features --features virtual-time --bench page_loads -- [PAGES]`, 100 by default, in
//! a target directory of its own. A page is 200 requests, each answered by 14 packets of 1,400 bytes, over a link of 100 Mbit/s and
//! 15 ms that loses one in a thousand. It is one core's work: loads have nothing in common, and run side by side.

use std::error::Error;
use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use maybetun::settings::{DefenseChange, EphemeralSettings, Tier};
use maybetun_lab::tunnels::{Star, client, inner_client, inner_packet, inner_relay};
use maybetun_lab::virtual_network::{Host, Link, Outbox, Packet, Trace};

const REQUESTS: usize = 200;
const ANSWERS: usize = 14;

/// The longest that a page takes, in virtual time.
const LONGEST: Duration = Duration::from_secs(120);

/// After which a request is made again.
const PATIENCE: Duration = Duration::from_millis(300);

/// Asks again when it is answered, or when it is not for long; or answers. It sends back the buffers that it was sent.
#[derive(Default)]
struct Browser {
    is_server: bool,
    requests: usize,
    /// Answers that have not come yet.
    missing: usize,
    deadline: Option<Instant>,
}

impl Browser {
    fn ask(&mut self, now: Instant, out: &mut Outbox) {
        self.deadline = (self.requests < REQUESTS).then_some(now + PATIENCE);
        if self.deadline.is_some() {
            self.missing = ANSWERS;
            self.requests += 1;
            out.put(inner_packet(inner_client(0), inner_relay(), 100));
        }
    }
}

impl Host for Browser {
    fn receive(&mut self, packet: Packet, now: Instant, out: &mut Outbox) {
        if self.is_server {
            (0..ANSWERS).for_each(|_| {
                let mut answer = Packet { from: packet.to, to: packet.from, payload: out.buffer() };
                answer.payload.extend_from_slice(&packet.payload);
                answer.payload.resize(1_400, 0);
                answer.payload[2..4].copy_from_slice(&1_400_u16.to_be_bytes());
                answer.payload.copy_within(12..16, 4);
                answer.payload.copy_within(16..20, 12);
                answer.payload.copy_within(4..8, 16);
                out.put(answer);
            });
        } else if self.missing > 0 {
            self.missing -= 1;
            if self.missing == 0 {
                self.ask(now, out);
            }
        }
        out.recycle(packet.payload);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        self.ask(now, out);
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Loads a page, and returns the datagrams that an observer saw.
fn load(seed: u64, change: Option<&DefenseChange>) -> usize {
    let link = Link { rate: Some(12_500_000), loss: 0.001, ..Link::with_delay(Duration::from_millis(15)) };
    let server = Browser { is_server: true, ..Browser::default() };
    let mut star = Star::new(seed, Trace::default(), &link, server, [Browser::default()]);
    if let Some(change) = change {
        star.defend(change);
    }
    star.act(client(0), |browser, now, out| browser.ask(now, out));
    let is_loaded = star.network.run_while(LONGEST, |network| network.host(client(0)).inside.deadline.is_some());
    assert!(is_loaded, "seed {seed}: no page within {LONGEST:?}");
    star.network.tap.passed.len()
}

fn main() -> Result<(), Box<dyn Error>> {
    let pages = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100);
    let of = |tier| DefenseChange::Ephemeral(EphemeralSettings { tier, ..EphemeralSettings::default() });
    for (name, change) in [
        ("no defense", None),
        ("one size", Some(of(Tier::Size))),
        ("padding", Some(of(Tier::Padding))),
        ("blocking", Some(of(Tier::Blocking))),
    ] {
        let start = Instant::now();
        let datagrams: usize = (0..pages).map(|seed| load(seed, change.as_ref())).sum();
        let took = start.elapsed();
        let each = datagrams / pages as usize;
        let rate = 60.0 * pages as f64 / took.as_secs_f64();
        let cost = took / u32::try_from(datagrams)?;
        writeln!(io::stdout(), "{name}: {each} datagrams a page, {cost:.2?} each; {rate:.0} pages a minute")?;
    }
    Ok(())
}

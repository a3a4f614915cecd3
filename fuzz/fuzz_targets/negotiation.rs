//! Two ends that negotiate while a stranger puts in messages of its own: neither panics, and the
//! client never runs what the relay has not run.
#![no_main]

use std::sync::Arc;
use std::time::{Duration, Instant};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use maybetun::keys::PrivateKey;
use maybetun::negotiation::{Capabilities, Choice, Config, DEFAULT_RENEWAL, Event, MAX_MESSAGE, Negotiation};
use maybetun_machines::{Defense, Limits, Role, Side};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

#[derive(Debug, Arbitrary)]
enum Turn {
    /// Bytes that an end receives as a control frame's body.
    Inject {
        end: bool,
        body: Vec<u8>,
    },
    /// The next message of an end, with one byte changed.
    Change {
        end: bool,
        at: u16,
        byte: u8,
    },
    /// The next message of an end arrives.
    Deliver {
        end: bool,
    },
    /// The next message of an end is lost.
    Lose {
        end: bool,
    },
    /// Milliseconds pass.
    Pass {
        by: u16,
    },
    /// A new session begins.
    Session,
    Renew {
        end: bool,
    },
    ProvePath {
        end: bool,
    },
    ForgetPath {
        end: bool,
    },
    Stop {
        end: bool,
    },
    /// An end agrees on nothing any more.
    Close {
        end: bool,
    },
    /// An end is given other settings.
    Succeed {
        end: bool,
    },
}

fn new(end: usize, sends_machines: bool) -> Negotiation {
    let (role, own, peer) = [(Role::Client, 1, 2), (Role::Relay, 2, 1)][end];
    Negotiation::new(Config {
        role,
        private_key: PrivateKey::from_bytes(&[own; 32]).unwrap(),
        peer: PrivateKey::from_bytes(&[peer; 32]).unwrap().public_key(),
        preshared_key: None,
        capabilities: Capabilities::BUNDLES.with(Capabilities::PATHS).with(Capabilities::RENEWAL),
        mtu: 1_420,
        choice: Choice { tier: 0, strength: 1, pool: [0; 32] },
        masking: None,
        renewal: DEFAULT_RENEWAL,
        draw: Arc::new(move |seed, _| {
            // Where the ends disagree, one has to fetch from the other.
            let own = if sends_machines { f64::from(own) } else { 0.0 };
            let number = f64::from(seed.fingerprint().0[0]) * 16.0 + own;
            let limits = Limits { max_actions_per_second: 1.0 + number, ..Limits::default() };
            let side = Side { machines: Vec::new().into(), limits };
            Defense::from_machines("numbered", side.clone(), side).ok()
        }),
        sends_machines,
    })
}

fuzz_target!(|input: (bool, Vec<Turn>)| {
    let (sends_machines, turns) = input;
    let mut ends = [0, 1].map(|end| new(end, sends_machines));
    let mut agreed = [Vec::new(), Vec::new()];
    let (mut now, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(0));
    for turn in turns.into_iter().take(200) {
        match turn {
            Turn::Inject { end, body } => ends[usize::from(end)].receive(&body, true, now, &mut rng),
            Turn::Change { end, at, byte } => {
                let mut body = Vec::new();
                if ends[usize::from(end)].poll_message(&mut body) {
                    let at = usize::from(at) % body.len();
                    body[at] = byte;
                    ends[usize::from(!end)].receive(&body, true, now, &mut rng);
                }
            }
            Turn::Deliver { end } => {
                let mut body = Vec::new();
                if ends[usize::from(end)].poll_message(&mut body) {
                    assert!(body.len() <= MAX_MESSAGE + 2);
                    ends[usize::from(!end)].receive(&body, true, now, &mut rng);
                }
            }
            Turn::Lose { end } => drop(ends[usize::from(end)].poll_message(&mut Vec::new())),
            Turn::Pass { by } => {
                now += Duration::from_millis(by.into());
                ends.iter_mut().for_each(|end| {
                    end.handle_timeout(now, &mut rng);
                    end.traffic(now, &mut rng);
                });
            }
            Turn::Session => ends.iter_mut().for_each(|end| end.session_started(now, &mut rng)),
            Turn::Renew { end } => _ = ends[usize::from(end)].renew(now, &mut rng),
            Turn::ProvePath { end } => _ = ends[usize::from(end)].prove_path(now, &mut rng),
            Turn::ForgetPath { end } => ends[usize::from(end)].forget_path(),
            Turn::Stop { end } => ends[usize::from(end)].stop(now, &mut rng),
            Turn::Close { end } => ends[usize::from(end)].close(now, &mut rng),
            Turn::Succeed { end } => {
                let mut other = new(usize::from(end), sends_machines);
                other.succeed(&ends[usize::from(end)], now, &mut rng);
                other.session_started(now, &mut rng);
                ends[usize::from(end)] = other;
            }
        }
        for (end, agreed) in ends.iter_mut().zip(&mut agreed) {
            while let Some(event) = end.poll_event() {
                if let Event::Run(run) = event {
                    agreed.push((run.fingerprint, run.defense.digest()));
                }
            }
        }
        // The relay agrees first; what the client runs, the relay has run.
        assert!(agreed[0].iter().all(|fingerprint| agreed[1].contains(fingerprint)));
    }
});

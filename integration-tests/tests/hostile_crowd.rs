//! A client that lies in all that it says, among a hundred honest ones: these keep their goodput and their timing.
//!
//! It is a measurement of a release build: without optimization a handshake keeps a thread for milliseconds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use maybetun_integration_tests::lies::LIES;
use maybetun_integration_tests::{
    Background, Crowd, Host, Measured, Member, Network, Stage, Wire, alone, ask, key_in_hex, metronome, resident, run,
    value_of,
};
use nix::unistd::gettid;

/// Lines that the relay may log for all the lies of the run.
const LINES: usize = 20;

/// The share of the goodput in calm that is kept in the storm.
const GOODPUT: f64 = 0.95;

/// How many times as long as in calm half of the round trips may take in the storm, and half of what is due may be late.
const SLOWER: u32 = 5;

/// What 99 in 100 round trips do not exceed: four packets of the same client are on their way by then.
const STANDSTILL: Duration = Duration::from_millis(4 * Crowd::INTERVAL.as_millis() as u64);

/// KiB by which the memory of the second half may exceed that of the first: what the allocator makes of the same use.
const GROWTH: u64 = 2_048;

/// Honest clients.
const CROWD: usize = 100;

/// How long the liar rests between two lies.
const REST: Duration = Duration::from_millis(5);

/// Those of the crowd that the relay pads to, and whose timing it tells of: some in the calm, others in the storm.
const PADDED: usize = 5;

const CALM: Duration = Duration::from_secs(15);
const STORM: Duration = Duration::from_secs(60);

/// How long the turn of one lie is: in the storm, all have one.
const TURN: Duration = Duration::from_millis(STORM.as_millis() as u64 / LIES.len() as u64);

/// A liar at work until it is told to stop: each lie in turn becomes a flood, with all others, drawn, in between.
struct Storm {
    stop: Arc<AtomicBool>,
    thread: Background<usize>,
}

impl Storm {
    fn begin(stage: &Stage) -> Self {
        let (mut liar, stop) = (stage.liar(0), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = stage.liars().spawn(move || {
            // It stands for another machine's: what it takes is not to be missing here.
            run(Command::new("renice").args(["-n", "10", "-p", &gettid().to_string()]), "").success();
            let (began, mut told) = (Instant::now(), 0);
            while !stopped.load(Ordering::Relaxed) {
                let turn = (began.elapsed().as_nanos() / TURN.as_nanos()) as usize;
                for lie in [LIES[turn % LIES.len()], liar.draw()] {
                    liar.tell(lie);
                    told += 1;
                    thread::sleep(REST);
                }
            }
            told
        });
        Self { stop, thread }
    }

    /// Ends it, and returns how many lies were told.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.finish()
    }
}

/// A relay with a crowd of honest clients and its liars.
fn crowded() -> (Stage, Crowd, Host, Wire) {
    let (host, crowd_host) = (Host::new(), Host::new());
    let wire = Wire::between(&crowd_host, &host, Network::First, 1_500);
    let member = |number| Member::join(&crowd_host, &wire, number, Ipv4Addr::new(10, 9, 0, number));
    let members: Vec<Member> = (100..).take(CROWD).map(member).collect();
    let peers = members.iter().map(Member::as_peer).collect();
    let stage = Stage::start(host, peers, 1);
    let crowd = Crowd::start(&crowd_host, &members, Stage::endpoint(), &stage.relay.public_key, Stage::RELAY);
    (stage, crowd, crowd_host, wire)
}

/// Pads to some of the crowd meanwhile. Returns also by how much half of what was due to them was late at most, in the middle
/// of them.
fn pad_to<T>(stage: &Stage, keys: &[String], meanwhile: impl FnOnce() -> T) -> (T, Duration) {
    for key in keys {
        stage.set(key, &format!("daita_enable=1\ndaita_machine={}", metronome(10_000.0)));
    }
    let result = meanwhile();
    let answer = ask(&stage.relay.daemon, "get=1\n\n");
    let lateness = |key: &String| {
        let block = answer.split("public_key=").find(|block| block.starts_with(&key_in_hex(key))).unwrap();
        let actions: u64 = value_of(block, "maybetun_defense_padding_actions").unwrap();
        assert!(actions > 100, "the machines run: {block}");
        Duration::from_micros(value_of(block, "maybetun_defense_lateness_p50_us").unwrap())
    };
    let mut lateness: Vec<Duration> = keys.iter().map(lateness).collect();
    lateness.sort_unstable();
    keys.iter().for_each(|key| stage.set(key, "daita_enable=0"));
    (result, lateness[keys.len() / 2])
}

#[test]
fn a_hundred_honest_clients_keep_their_goodput_and_timing_through_a_minute_of_lies() {
    let _heavy = alone();
    let (stage, crowd, _crowd_host, _wire) = crowded();
    let (in_calm, in_storm) = crowd.keys()[..2 * PADDED].split_at(PADDED);
    let (calm, calm_lateness) = pad_to(&stage, in_calm, || crowd.measure(CALM, || ()));
    let (mut sizes, mut told, mut log) = (Vec::new(), 0, Vec::new());
    let (stormy, stormy_lateness) = pad_to(&stage, in_storm, || {
        let (lines, storm) = (stage.logged().len(), Storm::begin(&stage));
        let stormy = crowd.measure(STORM, || sizes.push(resident(stage.relay.daemon.id())));
        (told, log) = (storm.end(), stage.logged().split_off(lines));
        stormy
    });

    let trips = |measured: &Measured| [0.5, 0.9, 0.99].map(|share| measured.round_trip(share));
    let ([calm_half, ..], [stormy_half, _, stormy_most]) = (trips(&calm), trips(&stormy));
    let (first, second) = sizes.split_at(sizes.len() / 2);
    let halves = [first, second].map(|half| *half.iter().max().unwrap());
    println!(
        "{told} lies; goodput {:.4} then {:.4}; round trips {:?} then {:?}; lateness {calm_lateness:?} then \
         {stormy_lateness:?}; KiB {halves:?}; {} lines",
        calm.goodput(),
        stormy.goodput(),
        trips(&calm),
        trips(&stormy),
        log.len()
    );
    assert!(told >= LIES.len(), "only {told} lies were told");
    let goodputs = [&calm, &stormy].map(Measured::goodput);
    assert!(goodputs[1] >= GOODPUT * goodputs[0], "goodput was and is {goodputs:?}");
    assert!(stormy_half <= SLOWER * calm_half, "{stormy_half:?} is not like {calm_half:?}");
    assert!(stormy_most <= STANDSTILL, "one in a hundred takes more than {stormy_most:?}: something stands still");
    assert!(stormy_lateness <= SLOWER * calm_lateness, "{stormy_lateness:?} is not like {calm_lateness:?}");
    assert!(log.len() <= LINES, "{log:#?}");
    assert!(halves[1] <= halves[0] + GROWTH, "memory grows: {sizes:?} KiB");
}

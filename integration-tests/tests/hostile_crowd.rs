//! Clients that lie in all that they say, among a hundred honest ones: these keep their goodput and their timing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::{
    Background, Crowd, Host, Keys, Measured, Member, Network, Stage, Wire, alone, ask, key_in_hex, metronome, resident,
    value_of,
};

/// Lines that the relay may log for all the lies of the run.
const LINES: usize = 20;

/// Honest clients.
const CROWD: usize = 100;

/// Liars; each draws its lies for itself.
const LIARS: usize = 2;

/// How long a liar rests between two lies.
const REST: Duration = Duration::from_millis(20);

/// Those of the crowd that the relay pads to, and whose timing it tells of: some in the calm, others in the storm.
const PADDED: usize = 5;

const CALM: Duration = Duration::from_secs(15);
const STORM: Duration = Duration::from_secs(60);

/// Liars that lie until they are told to stop.
struct Storm {
    stop: Arc<AtomicBool>,
    threads: Vec<Background<usize>>,
}

impl Storm {
    fn begin(stage: &Stage) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let lie = |number| {
            let (mut liar, stop) = (stage.liar(number), Arc::clone(&stop));
            stage.liars().spawn(move || {
                let mut told = 0;
                while !stop.load(Ordering::Relaxed) {
                    let lie = liar.draw();
                    liar.tell(lie);
                    told += 1;
                    thread::sleep(REST);
                }
                told
            })
        };
        let threads = (0..LIARS).map(lie).collect();
        Self { stop, threads }
    }

    /// Ends it, and returns how many lies were told.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(Background::finish).sum()
    }
}

/// A relay with a crowd of honest clients and its liars.
fn crowded() -> (Stage, Crowd, Host, Wire) {
    let (host, crowd_host) = (Host::new(), Host::new());
    let wire = Wire::between(&crowd_host, &host, Network::First, 1_500);
    let member = |number: u8| {
        let IpAddr::V4(outer) = Network::First.v4(number) else { unreachable!("an address of version 4") };
        crowd_host.ip(&format!("addr add {outer}/24 dev {}", wire.left));
        Member { keys: Keys::new(), outer, inner: Ipv4Addr::new(10, 9, 0, number) }
    };
    let members: Vec<Member> = (100..).take(CROWD).map(member).collect();
    let peers = members.iter().map(Member::as_peer).collect();
    let stage = Stage::start(host, peers, LIARS);
    let crowd = Crowd::start(&crowd_host, &members, Stage::endpoint(), &stage.relay.public_key, Stage::RELAY);
    (stage, crowd, crowd_host, wire)
}

/// Pads to some of the crowd, and returns the largest lateness of what is due to them in 99 of 100 cases.
fn pad_to(stage: &Stage, keys: &[String], meanwhile: impl FnOnce()) -> Duration {
    for key in keys {
        stage.set(key, &format!("daita_enable=1\ndaita_machine={}", metronome(10_000.0)));
    }
    meanwhile();
    let answer = ask(&stage.relay.daemon, "get=1\n\n");
    let lateness = |key: &String| {
        let block = answer.split("public_key=").find(|block| block.starts_with(&key_in_hex(key))).unwrap();
        let actions: u64 = value_of(block, "maybetun_defense_padding_actions").unwrap();
        assert!(actions > 100, "the machines run: {block}");
        Duration::from_micros(value_of(block, "maybetun_defense_lateness_p99_us").unwrap())
    };
    let latest = keys.iter().map(lateness).max().unwrap();
    keys.iter().for_each(|key| stage.set(key, "daita_enable=0"));
    latest
}

#[test]
fn a_hundred_honest_clients_keep_their_goodput_and_timing_through_a_minute_of_lies() {
    let _heavy = alone();
    let (stage, crowd, _crowd_host, _wire) = crowded();
    let (in_calm, in_storm) = crowd.keys()[..2 * PADDED].split_at(PADDED);

    let mut calm = None;
    let calm_lateness = pad_to(&stage, in_calm, || calm = Some(crowd.measure(CALM, || ())));
    let calm = calm.unwrap();

    let lines = stage.logged().len();
    let storm = Storm::begin(&stage);
    let (mut stormy, mut sizes) = (None, Vec::new());
    let stormy_lateness = pad_to(&stage, in_storm, || {
        stormy = Some(crowd.measure(STORM, || sizes.push(resident(stage.relay.daemon.id()))));
    });
    let (stormy, told) = (stormy.unwrap(), storm.end());
    let log = stage.logged().split_off(lines);

    let trip = |measured: &Measured| [0.5, 0.9, 0.99].map(|share| measured.round_trip(share));
    let (first, second) = sizes.split_at(sizes.len() / 2);
    let halves = [first, second].map(|half| *half.iter().max().unwrap());
    println!(
        "{told} lies; goodput {:.4} then {:.4}; round trips {:?} then {:?}; lateness {calm_lateness:?} then \
         {stormy_lateness:?}; KiB {halves:?}; {} lines",
        calm.goodput(),
        stormy.goodput(),
        trip(&calm),
        trip(&stormy),
        log.len()
    );
    assert!(stormy.goodput() >= 0.95 * calm.goodput());
    assert!(log.len() <= LINES, "{log:#?}");
    assert!(halves[1] <= halves[0] + 2_048, "memory grows: {sizes:?} KiB");
}

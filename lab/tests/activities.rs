//! The classifier of the user's activity, held to what the lab's users do through real tunnels in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use maybetun::masking::{Activity, Classifier, Monitor};
use maybetun::settings::Role;
use maybetun::traffic::{Direction, Kind, Traffic};
use maybetun_lab::tunnels::client;
use maybetun_lab::workload::{
    Access, MAX_BYTES, Plan, Run, Session, Site, bulk_down, bulk_up, call, camera, chatter, messaging, video,
};

/// How long a session is, and how long the classifier has until it counts.
const TIME: Duration = Duration::from_secs(120);
const SETTLED: usize = 20;

/// Bytes around a packet of the user's: the headers of IPv4 and UDP, and the tunnel's.
const AROUND: usize = 28 + 32;

/// Returns what the classifier says in each second of plans one after another, until they are done; each is followed by so much time.
fn said(plans: &[Plan], after: Duration, seed: u64) -> Vec<Activity> {
    let access = Access { down: 20_000_000, up: 5_000_000, ..Access::default() };
    let run = Run { longest: TIME, after, ..Run::new(&access, None, seed) };
    let mut session = Session::new(&run);
    let start = Instant::now();
    let (mut monitor, mut classifier) = (Monitor::new(start), Classifier::new(Role::Client));
    let (mut said, mut lasted) = (Vec::new(), Duration::ZERO);
    for plan in plans {
        let load = session.load(plan.clone());
        let mut passed = load.trace.iter().peekable();
        let end = lasted + load.lasted;
        while Duration::from_secs(said.len() as u64 + 1) <= end {
            let second = Duration::from_secs(said.len() as u64 + 1);
            while let Some(one) = passed.next_if(|one| lasted + one.at < second) {
                let direction = if one.from == client(0) { Direction::Sent } else { Direction::Received };
                let traffic = Traffic::datagram(Kind::Normal, direction, one.size - 28, start + lasted + one.at);
                monitor.observe(&traffic.carrying(1, one.size - AROUND));
            }
            said.push(classifier.look(&mut monitor, start + second));
        }
        lasted = end;
    }
    said
}

/// Makes sure that nearly all that was said after a while is one of these, and that it seldom changed.
#[track_caller]
fn holds(name: &str, said: &[Activity], expected: &[Activity], most_changes: usize) {
    let settled = said.get(SETTLED..).unwrap_or_default();
    assert!(settled.len() > 30, "{name}: {} seconds", said.len());
    let right = settled.iter().filter(|activity| expected.contains(activity)).count();
    let changes = settled.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(right * 100 >= settled.len() * 95, "{name}: {right} of {}: {said:?}", settled.len());
    assert!(changes <= most_changes, "{name}: {said:?}");
}

#[test]
fn what_users_do_is_named_and_does_not_flap() {
    for seed in 1..=3 {
        let rate = 1_000_000 + seed * 2_000_000;
        for (name, plan, expected) in [
            ("idle", chatter(TIME, seed), Activity::Idle),
            ("call", call(TIME), Activity::Interactive),
            ("video", video(TIME, rate, seed), Activity::Download),
            ("download", bulk_down(MAX_BYTES), Activity::Download),
            ("camera", camera(TIME, seed), Activity::Upload),
            ("upload", bulk_up(MAX_BYTES), Activity::Upload),
        ] {
            holds(&format!("{name} {seed}"), &said(&[plan], Duration::ZERO, seed), &[expected], 0);
        }
    }
}

#[test]
fn pages_and_pictures_are_browsing_and_what_is_between_them_is_too() {
    for seed in 1..=3 {
        let pages: Vec<_> = (0..8).map(|number| Site::generate(seed * 100 + number).visit(seed)).collect();
        let said_of_pages = said(&pages, Duration::from_secs(8 + 4 * seed), seed);
        holds(&format!("pages {seed}"), &said_of_pages, &[Activity::Browsing], 2);
        let said_of_messages = said(&[messaging(TIME, seed)], Duration::ZERO, seed);
        // A picture that is sent is an upload for as long as it is seen.
        let all = [Activity::Idle, Activity::Browsing, Activity::Upload];
        holds(&format!("messages {seed}"), &said_of_messages, &all, 6);
    }
}

//! The lab's plans in real time: the program at both ends, the kernel's TCP, and a network that a thread carries.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use maybetun_integration_tests::{alone, maybetun_program};
use maybetun_lab::defense::Defense;
use maybetun_lab::real::{RealError, Run, Session, session};
use maybetun_lab::tunnels::client;
use maybetun_lab::workload::{Access, Load, Plan, Protocol, RateChange, Request, Site, call};

/// The outer size of every packet of a defense with one size: the tunnel's MTU, WireGuard's 32 bytes, and the headers of UDP and IPv4.
const ONE_SIZE: usize = 1_420 + 32 + 28;

fn access() -> Access {
    Access { round_trip: Duration::from_millis(20), ..Access::default() }
}

/// Does `work` with a tunnel between networks of its own.
fn with<T: Send>(
    access: &Access,
    defense: &str,
    after: Duration,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, RealError> + Send,
) -> T {
    let (program, defense) = (maybetun_program(), Defense::parse(defense).unwrap());
    let program = Path::new(&program);
    let run = Run { program, access, defense: &defense, seed: 1, longest: Duration::from_secs(60), after };
    session(&run, work).unwrap_or_else(|error| panic!("{error:?}"))
}

fn sizes(load: &Load, is_up: bool) -> Vec<usize> {
    load.trace.iter().filter(|one| (one.from == client(0)) == is_up).map(|one| one.size).collect()
}

#[test]
fn pages_come_whole_one_after_another_by_each_protocol() {
    let _heavy = alone();
    let site = Site::generate(3);
    let loads = with(&access(), "none", Duration::ZERO, |session| {
        let protocols = [Protocol::Http1, Protocol::Http2, Protocol::Http3];
        protocols.map(|protocol| session.load(site.visit(1).over(protocol))).into_iter().collect::<Result<Vec<_>, _>>()
    });
    for load in loads {
        assert!(load.time.is_some(), "the page is there");
        assert!(load.received >= site.visit(1).down());
        assert!(load.down > load.received && load.up > site.visit(1).up(), "headers count");
        assert!(load.trace.is_sorted_by_key(|passed| passed.at));
        assert!(load.trace.last().unwrap().at <= load.lasted);
        assert!(load.effort.cpu.unwrap() > Duration::ZERO && load.effort.wakeups > 0);
    }
}

#[test]
fn a_request_takes_the_round_trips_and_the_time_that_it_is_to_take() {
    let _heavy = alone();
    let access = Access { round_trip: Duration::from_millis(100), ..Access::default() };
    let think = Duration::from_millis(200);
    let request = Request { up: 300, down: 1_000, think, ..Request::default() };
    let plan = Plan::new(vec![request], vec![]).unwrap();
    let load = with(&access, "none", Duration::ZERO, |session| session.load(plan));
    // A connection, its handshake, and the request.
    let least = 3 * access.round_trip + think;
    assert!(load.time.unwrap() >= least, "{:?}", load.time);
    // What leaves is seen at once, what comes only half a round trip after it was sent.
    let first_down = load.trace.iter().find(|one| one.from != client(0)).unwrap().at;
    assert!(first_down >= access.round_trip, "{first_down:?}");
}

#[test]
fn both_ends_run_the_defense_and_the_trace_goes_on_while_a_page_is_read() {
    let _heavy = alone();
    let site = Site::generate(1);
    let reading = Duration::from_secs(2);
    for (defense, is_one_size) in [("padding/low", true), ("front", true), ("none", false)] {
        let load = with(&access(), defense, reading, |session| session.load(site.visit(1)));
        assert!(load.lasted >= load.time.unwrap() + reading);
        for is_up in [true, false] {
            let sizes: BTreeSet<_> = sizes(&load, is_up).into_iter().collect();
            assert_eq!(sizes == BTreeSet::from([ONE_SIZE]), is_one_size, "{defense}: {sizes:?}");
        }
    }
}

#[test]
fn a_call_goes_both_ways_and_a_network_that_changes_loses_and_is_slow_lets_a_page_through() {
    let _heavy = alone();
    let change = RateChange { after: Duration::from_millis(300), down: 3_000_000, up: 1_000_000 };
    let access = Access { loss: 0.02, change: Some(change), ..access() };
    let plan = Site::generate(2).visit(1).with(&call(Duration::from_secs(2)), Duration::ZERO).unwrap();
    let load = with(&access, "none", Duration::ZERO, |session| session.load(plan));
    assert!(load.time.unwrap() >= Duration::from_secs(2) - Duration::from_millis(20));
    for late in &load.late {
        assert!((60..=100).contains(&late.len()), "of 100 datagrams {} came", late.len());
    }
    // What is sent after the change leaves at the lower rate.
    let after = change.after + Duration::from_millis(500);
    let later = load.trace.iter().filter(|one| one.from != client(0) && one.at > after);
    let bytes: usize = later.map(|one| one.size).sum();
    let seconds = (load.trace.last().unwrap().at - after).as_secs_f64();
    assert!(bytes as f64 * 8.0 <= 1.05 * change.down as f64 * seconds + 8.0 * 1_500.0, "{bytes} bytes in {seconds} s");
}

#[test]
fn many_run_at_once() {
    let site = Site::generate(5);
    let _heavy = alone();
    std::thread::scope(|scope| {
        let one = || with(&access(), "padding/medium", Duration::ZERO, |session| session.load(site.visit(1)));
        let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
        let loads: Vec<_> = all.into_iter().map(|one| one.join().unwrap()).collect();
        assert!(loads.iter().all(|load| load.time.is_some()));
    });
}

#[test]
fn a_program_that_is_not_there_or_ends_is_told() {
    let (access, defense) = (access(), Defense::None);
    let run = |program: &'static str| {
        let program = Path::new(program);
        let run = Run {
            program,
            access: &access,
            defense: &defense,
            seed: 1,
            longest: Duration::ZERO,
            after: Duration::ZERO,
        };
        session(&run, |_| Ok(())).unwrap_err()
    };
    for program in ["/nowhere/maybetun", "/bin/false"] {
        let error = run(program);
        assert!(matches!(&error, RealError::Ended { .. }) && error.to_string().contains(program), "{error}");
    }
}

#[test]
fn a_program_that_dies_in_the_middle_ends_the_load() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("maybetun");
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != up ] || (sleep 5; kill -KILL $$) &\nexec '{}' \"$@\"\n",
        maybetun_program().display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let (access, defense) = (access(), Defense::None);
    let [longest, after] = [Duration::from_secs(300), Duration::ZERO];
    let run = Run { program: &program, access: &access, defense: &defense, seed: 1, longest, after };
    let ended = session(&run, |session| session.load(call(Duration::from_secs(200))));
    assert!(matches!(ended, Err(RealError::Ended { .. })), "{ended:?}");
}

use std::time::Duration;

use maybetun::settings::{DefenseChange, EphemeralSettings, Protection, Tier};
use proptest::prelude::*;

use super::*;
use crate::tunnels::client;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn undefended(plan: Plan, access: &Access) -> Load {
    run(plan, &Run::new(access, None, 1))
}

fn request(after: Vec<usize>, up: u32, down: u32) -> Request {
    Request { after, up, down, ..Request::default() }
}

fn plan(requests: Vec<Request>) -> Plan {
    Plan::new(requests, vec![]).unwrap()
}

#[test]
fn a_page_takes_the_round_trips_of_its_dependencies() {
    // Nothing waits: TCP's and TLS's handshakes take two round trips, each request that waits for another takes one. The
    // certificates fit the first window.
    let access = Access { round_trip: 100 * MS, down: 1_000_000_000, up: 1_000_000_000, ..Access::default() };
    let time = |requests| undefended(plan(requests), &access).time.unwrap();
    let one = time(vec![request(vec![], 100, 500)]);
    assert!((300 * MS..310 * MS).contains(&one), "{one:?}");
    let together = time(vec![request(vec![], 100, 500), request(vec![], 100, 500)]);
    assert!(together < one + 5 * MS, "{together:?}");
    let apart = time(vec![request(vec![], 100, 500), request(vec![0], 100, 500)]);
    assert!((one + 100 * MS..one + 105 * MS).contains(&apart), "{apart:?}");
}

#[test]
fn a_server_thinks_and_a_browser_waits_as_long_as_they_should() {
    let of = |delay, think, not_before| {
        let request = Request { delay, think, not_before, ..request(vec![], 100, 500) };
        undefended(plan(vec![request]), &Access::default()).time.unwrap()
    };
    let none = of(Duration::ZERO, Duration::ZERO, Duration::ZERO);
    for later in [of(500 * MS, 500 * MS, 200 * MS), of(200 * MS, 500 * MS, 500 * MS), of(MS, MS, 999 * MS)] {
        assert!((none + 995 * MS..none + 1_005 * MS).contains(&later), "{later:?} against {none:?}");
    }
}

#[test]
fn a_bulk_transfer_fills_its_link_either_way() {
    let access = Access { down: 20_000_000, up: 10_000_000, ..Access::default() };
    // 10 MB at 20 Mbit/s are four seconds, 5 MB at 10 are too; and there are headers, and a beginning.
    for (plan, is_up) in [(bulk_down(10_000_000), false), (bulk_up(5_000_000), true)] {
        let load = undefended(plan, &access);
        let time = load.time.unwrap();
        assert!((4 * SECOND..7 * SECOND).contains(&time), "{time:?} up: {is_up}");
        let [less, more] = if is_up { [load.down, load.up] } else { [load.up, load.down] };
        assert!(less * 10 < more, "{less} bytes against {more}");
    }
}

#[test]
fn one_connection_or_six_load_all_of_a_page() {
    let requests: Vec<_> = (0..30).map(|number| request(vec![0; (number > 0).into()], 200, 20_000)).collect();
    let page = plan(requests);
    let access = Access::default();
    let one = undefended(page.clone(), &access);
    let six = undefended(page.clone().over(Protocol::Http1), &access);
    for load in [&one, &six] {
        assert!(load.time.is_some());
        assert!((page.down()..page.down() * 5 / 4).contains(&load.down), "{} bytes", load.down);
    }
    assert_ne!(one.trace, six.trace);
}

#[test]
fn the_same_load_is_the_same_and_another_is_not() {
    let (site, access) = (Site::generate(3), Access { loss: 0.01, jitter: 2 * MS, ..Access::default() });
    let first = load(&site, 1, &access, None, 1);
    assert_eq!(first, load(&site, 1, &access, None, 1));
    assert_ne!(first.trace, load(&site, 2, &access, None, 1).trace, "another visit");
    assert_ne!(first.trace, load(&site, 1, &access, None, 2).trace, "another network");
}

#[test]
fn a_defense_is_agreed_on_before_the_page_is_loaded() {
    let change = DefenseChange::Ephemeral(EphemeralSettings { tier: Tier::Size, ..EphemeralSettings::default() });
    let load = load(&Site::generate(3), 1, &Access::default(), Some(&change), 1);
    assert_eq!(load.protection, Protection::Protected);
    assert!(load.time.is_some());
    assert!(load.trace.iter().all(|passed| passed.size == 1_420 + 32 + 28), "datagrams of one size");
}

#[test]
fn a_page_is_there_whatever_the_network_does() {
    let site = Site::generate(3);
    let bursty = Access { loss: 0.02, loss_run: 3.0, jitter: 5 * MS, ..Access::default() };
    let slow = Access { round_trip: 200 * MS, down: 5_000_000, up: 1_000_000, ..Access::default() };
    for access in [&bursty, &slow] {
        assert!(load(&site, 1, access, None, 1).time.is_some(), "{access:?}");
    }
}

#[test]
fn a_rate_that_changes_in_the_middle_is_another_from_then_on() {
    let fast = Access { down: 50_000_000, ..Access::default() };
    let change = RateChange { after: SECOND, down: 5_000_000, up: 5_000_000 };
    let slower = Access { change: Some(change), ..fast.clone() };
    let [before, after] = [&fast, &slower].map(|access| undefended(bulk_down(20_000_000), access));
    let first = |load: &Load| load.trace.iter().take_while(|passed| passed.at < SECOND).copied().collect::<Vec<_>>();
    assert_eq!(first(&before), first(&after));
    assert!(after.time.unwrap() > 3 * before.time.unwrap(), "{:?}", after.time);
}

#[test]
fn what_is_not_there_in_time_has_no_time() {
    let access = Access { down: 100_000, ..Access::default() };
    let load = run(bulk_down(10_000_000), &Run { longest: 5 * SECOND, ..Run::new(&access, None, 1) });
    assert_eq!(load.time, None);
    assert!(load.trace.iter().all(|passed| passed.at <= 5 * SECOND));
}

#[test]
fn a_call_has_a_packet_every_20_ms_both_ways() {
    let access = Access::default();
    let load = run(call(10 * SECOND), &Run { after: SECOND, ..Run::new(&access, None, 1) });
    for is_up in [true, false] {
        let times: Vec<_> =
            load.trace.iter().filter(|passed| (passed.from == client(0)) == is_up && passed.size > 200).collect();
        assert_eq!(times.len(), 500);
        assert!(times.windows(2).all(|pair| pair[1].at - pair[0].at == 20 * MS));
    }
}

#[test]
fn each_activity_moves_what_it_says() {
    let access = Access::default();
    let minute = 60 * SECOND;
    for (name, plan, least, most) in [
        ("video", video(minute, 4_000_000, 1), [0, 22_000_000], [2_200_000, 40_000_000]),
        ("camera", camera(minute, 1), [13_000_000, 0], [19_000_000, 1_500_000]),
        ("messaging", messaging(10 * minute, 1), [10_000, 10_000], [4_000_000, 4_000_000]),
        ("chatter", chatter(10 * minute, 1), [1_000, 1_000], [60_000, 120_000]),
        ("idle", idle(), [0, 0], [2_000, 2_000]),
    ] {
        let load = run(plan, &Run { longest: 20 * minute, ..Run::new(&access, None, 1) });
        assert!(load.time.is_some(), "{name}");
        for (bytes, (least, most)) in [load.up, load.down].into_iter().zip(least.into_iter().zip(most)) {
            assert!((least..most).contains(&bytes), "{name}: {} bytes up, {} down", load.up, load.down);
        }
    }
}

#[test]
fn a_video_is_never_much_ahead() {
    let load = undefended(video(60 * SECOND, 4_000_000, 1), &Access::default());
    // The last of fifteen segments is asked for when the ninth is played.
    assert!((32 * SECOND..36 * SECOND).contains(&load.time.unwrap()), "{:?}", load.time);
}

#[test]
fn a_page_beside_a_call_is_both() {
    let page = Site::generate(3).visit(1);
    let both = call(20 * SECOND).with(&page, 5 * SECOND).unwrap();
    assert_eq!((both.up(), both.down()), (page.up() + 172_000, page.down() + 172_000));
    let load = undefended(both, &Access::default());
    assert!(load.time.unwrap() >= 19 * SECOND);
    let large = load.trace.iter().filter(|passed| passed.size > 1_000);
    assert!(large.clone().all(|passed| passed.at >= 5 * SECOND) && large.count() > 10);
}

#[test]
fn sites_are_as_large_as_the_archive_says() {
    let pages: Vec<_> = (0..2_000).map(|seed| Site::generate(seed).visit(1)).collect();
    let median = |mut numbers: Vec<u64>| {
        numbers.sort_unstable();
        numbers[numbers.len() / 2]
    };
    let requests = median(pages.iter().map(|page| page.requests().len() as u64).collect());
    assert!((60..85).contains(&requests), "{requests} requests");
    let bytes = median(pages.iter().map(Plan::down).collect());
    assert!((1_100_000..1_700_000).contains(&bytes), "{bytes} bytes");
}

#[test]
fn visits_of_a_site_differ_less_than_sites() {
    let site = Site::generate(5);
    assert_eq!(site.visit(1), site.visit(1));
    let pages: Vec<_> = (0..40).map(|visit| site.visit(visit)).collect();
    let sites: Vec<_> = (0..40).map(|seed| Site::generate(seed).visit(1)).collect();
    // In powers of e.
    let spread = |pages: &[Plan]| {
        let sizes: Vec<f64> = pages.iter().map(|page| (page.down() as f64).ln()).collect();
        let mean = sizes.iter().sum::<f64>() / sizes.len() as f64;
        (sizes.iter().map(|size| (size - mean).powi(2)).sum::<f64>() / sizes.len() as f64).sqrt()
    };
    let [visits, sites] = [spread(&pages), spread(&sites)];
    assert!(visits > 0.05 && sites > 2.0 * visits, "{visits} and {sites}");
    let counts: std::collections::BTreeSet<_> = pages.iter().map(|page| page.requests().len()).collect();
    assert!(counts.len() > 1, "adverts come and go");
}

#[test]
fn a_plan_that_cannot_be_is_refused_by_the_request_that_is_wrong() {
    let fine = || request(vec![], 100, 100);
    let day = 24 * 60 * 60 * SECOND;
    for (wrong, expected) in [
        (request(vec![1], 1, 1), "request 1: it waits for request 1, expected an earlier one"),
        (Request { origin: 10, ..fine() }, "request 1: origin 10, expected less than 10"),
        (request(vec![], u32::MAX, 1), "request 1: 4294967295 bytes, expected at most 1073741824"),
        (Request { think: 31 * day, ..fine() }, "request 1: a time of 2678400s, expected at most 30 days"),
    ] {
        assert_eq!(Plan::new(vec![fine(), wrong], vec![]).unwrap_err().to_string(), expected);
    }
    let many = vec![fine(); MAX_REQUESTS + 1];
    assert_eq!(Plan::new(many, vec![]), Err(PlanError::TooManyRequests(MAX_REQUESTS + 1)));
    let stream = Stream { start: Duration::ZERO, every: 20 * MS, count: 1, up: 11, down: 100 };
    assert_eq!(Plan::new(vec![], vec![stream]), Err(PlanError::Stream(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Any page is there in the end, over either protocol.
    #[test]
    fn every_answer_comes(
        objects in prop::collection::vec((any::<prop::sample::Index>(), 0..5_000_u32, 0..50_000_u32, 0..3_usize), 1..40),
        is_http1 in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let requests = objects.into_iter().enumerate().map(|(number, (after, up, down, origin))| {
            let after = if number == 0 { vec![] } else { vec![after.index(number)] };
            Request { origin, ..request(after, up, down) }
        });
        let page = plan(requests.collect()).over(if is_http1 { Protocol::Http1 } else { Protocol::Http2 });
        let access = Access { loss: 0.005, ..Access::default() };
        prop_assert!(run(page, &Run::new(&access, None, seed)).time.is_some());
    }

    /// Messages arrive whole, however they are cut.
    #[test]
    fn messages_do_not_depend_on_how_they_are_cut(
        bodies in prop::collection::vec(0..200_u32, 1..20),
        cuts in prop::collection::vec(1..300_usize, 1..40),
    ) {
        use super::framing::{FRAME, Incoming, Part};
        let mut bytes = Vec::new();
        for (id, length) in (0..).zip(&bodies) {
            bytes.extend(Part { id, length: *length, is_last: true }.head());
            bytes.resize(bytes.len() + *length as usize, 0);
        }
        let (mut incoming, mut parts) = (Incoming::<FRAME>::default(), Vec::new());
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            let (piece, others) = rest.split_at((*cut).min(rest.len()));
            incoming.take(piece, |head| Part::parse(head).length, |head| parts.push(Part::parse(head).length));
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(parts, bodies);
    }
}

//! What holds for every machine, every traffic and every network, and what hostile machines may cost.

use std::time::{Duration, Instant};

use maybenot::Timer;
use maybenot::action::Action;
use maybenot_gen::random_machine::RandomMachineConfig;
use maybetun::defense::{Event, MAX_CATCH_UP, Machine, Plan};
use maybetun::tunnel::{DatagramBatch, MAX_QUEUED_PACKETS};
use maybetun_lab::tunnels::{Fate, TwoEnds, number, packet};
use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::machines::{fixed, frenzy};

const CAP: u32 = 500;

fn random_plan(seed: u64) -> Plan {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let config = RandomMachineConfig {
        num_states: 1..=6,
        allow_blocking_client: None,
        allow_blocking_server: None,
        allow_expressive: None,
        allow_fixed_budget: None,
        allow_frac_limits: None,
        duration_point: None,
        count_point: None,
        min_action_timeout: None,
        circpad_compatible: None,
    };
    let machines: Vec<Machine> =
        (0..1 + seed % 4).map(|_| config.get_random_machine(seed.is_multiple_of(2), &mut rng)).collect();
    let (padding, blocking) = ([0.0, 0.3, 0.8][(seed % 3) as usize], [0.0, 0.5][(seed % 2) as usize]);
    Plan::new(machines).unwrap().limited(padding, blocking).unwrap().capped(CAP)
}

#[derive(Debug, Clone)]
struct Sent {
    side: usize,
    length: usize,
    pause: Duration,
}

fn traffic() -> impl Strategy<Value = Vec<Sent>> {
    let pause = prop_oneof![
        8 => (0..2_000u64).prop_map(Duration::from_micros),
        4 => (0..200u64).prop_map(Duration::from_millis),
        1 => (1..5u64).prop_map(Duration::from_secs),
    ];
    let sent = (0..2usize, 24..1_420usize, pause).prop_map(|(side, length, pause)| Sent { side, length, pause });
    prop::collection::vec(sent, 1..60)
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        6 => Just(Fate::Deliver),
        2 => Just(Fate::Lose),
        1 => Just(Fate::Repeat),
        1 => (1..3_000u64).prop_map(|ms| Fate::Delay(Duration::from_millis(ms))),
    ];
    prop::collection::vec(fate, 1..200)
}

/// Two sides with a session that both run random machines.
fn defended(seeds: [u64; 2]) -> (TwoEnds, Instant) {
    defended_with(seeds.map(random_plan))
}

fn defended_with(plans: [Plan; 2]) -> (TwoEnds, Instant) {
    let mut network = TwoEnds::new();
    network.send(0, &packet(0, u32::MAX, 24));
    network.run_for(Duration::from_secs(1));
    network.send(1, &packet(1, u32::MAX, 24));
    network.run_for(Duration::from_secs(1));
    network.delivered = [Vec::new(), Vec::new()];
    network.seen.clear();
    let now = network.instant();
    for side in [0, 1] {
        network.start(side, &plans[side], [side as u8; 32]);
        network.tunnels[side].take_record();
    }
    (network, now)
}

fn play(network: &mut TwoEnds, traffic: &[Sent]) -> [Vec<u32>; 2] {
    let mut sent = [Vec::new(), Vec::new()];
    for (count, step) in traffic.iter().enumerate() {
        network.send(step.side, &packet(step.side, count as u32, step.length));
        sent[step.side].push(count as u32);
        network.run_for(step.pause);
    }
    network.run_for(Duration::from_secs(2));
    sent
}

/// Random machines that block more often, and never bypassably.
fn closing_plan(seed: u64) -> Plan {
    let plan = random_plan(seed);
    let mut machines = plan.machines().to_vec();
    for action in machines.iter_mut().flat_map(|machine| &mut machine.states).filter_map(|state| state.action.as_mut())
    {
        match action {
            Action::BlockOutgoing { bypass, .. } => *bypass = false,
            Action::UpdateTimer { duration, limit, .. } if seed.is_multiple_of(2) => {
                let timeout = fixed(Duration::from_millis(seed % 97));
                let (duration, limit) = (*duration, *limit);
                *action =
                    Action::BlockOutgoing { bypass: false, replace: seed.is_multiple_of(4), timeout, duration, limit };
            }
            Action::UpdateTimer { .. } | Action::SendPadding { .. } | Action::Cancel { .. } => {}
        }
    }
    let limited = Plan::new(machines).unwrap().limited(plan.max_padding_frac(), plan.max_blocking_frac());
    limited.unwrap().capped(plan.max_actions_per_second())
}

/// When all was blocked, from what the framework was told: each beginning, and its end if it came.
fn closed_times(record: &[(Event, Instant)]) -> Vec<(Instant, Option<Instant>)> {
    let mut times: Vec<(Instant, Option<Instant>)> = Vec::new();
    for (event, at) in record {
        match event {
            Event::BlockingBegin { .. } if times.last().is_none_or(|(_, end)| end.is_some()) => times.push((*at, None)),
            Event::BlockingEnd => times.last_mut().unwrap().1 = Some(*at),
            Event::BlockingBegin { .. }
            | Event::NormalRecv
            | Event::PaddingRecv
            | Event::TunnelRecv
            | Event::NormalSent
            | Event::PaddingSent { .. }
            | Event::TunnelSent
            | Event::TimerBegin { .. }
            | Event::TimerEnd { .. } => {}
        }
    }
    times
}

/// A plain model of the machines' timers and of blocking, from what the framework was told alone.
fn assert_timers_are_accounted_for(record: &[(Event, Instant)]) -> Result<(), TestCaseError> {
    let (mut began, mut ended, mut blocking, mut blocked) = (0u32, 0u32, false, 0u32);
    let mut last = None;
    for (event, at) in record {
        prop_assert!(last.is_none_or(|last| last <= *at), "told of {event:?} before what came earlier");
        last = Some(*at);
        match event {
            Event::TimerBegin { .. } => began += 1,
            Event::TimerEnd { .. } => ended += 1,
            Event::BlockingBegin { .. } => blocking = true,
            Event::BlockingEnd => {
                prop_assert!(blocking, "blocking ended that had not begun");
                (blocking, blocked) = (false, blocked + 1);
            }
            Event::NormalRecv
            | Event::PaddingRecv
            | Event::TunnelRecv
            | Event::NormalSent
            | Event::PaddingSent { .. }
            | Event::TunnelSent => {}
        }
    }
    // Each end has a beginning; what began may have been replaced or cancelled.
    prop_assert!(ended <= began, "{ended} timers ended, {began} began");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn nothing_is_lost_and_order_is_kept(seeds in any::<[u64; 2]>(), traffic in traffic()) {
        let (mut network, _) = defended(seeds);
        let sent = play(&mut network, &traffic);
        let queued = [0, 1].map(|side| network.tunnels[side].queued());
        for side in [0, 1] {
            let arrived: Vec<_> = network.delivered[1 - side].iter().map(|packet| number(packet)).collect();
            prop_assert_eq!(&arrived[..], &sent[side][..arrived.len()], "order");
            prop_assert!(arrived.len() + queued[side] >= sent[side].len(), "lost");
            // Whatever the machines did: the operator can end it, and what waited leaves.
            network.stop_defense(side);
        }
        network.run_for(Duration::from_secs(20));
        for side in [0, 1] {
            let arrived: Vec<_> = network.delivered[1 - side].iter().map(|packet| number(packet)).collect();
            prop_assert_eq!(&arrived, &sent[side]);
        }
    }

    #[test]
    fn nothing_leaves_under_blocking_and_all_packets_have_one_size(
        seeds in any::<[u64; 2]>(), traffic in traffic(), fates in fates()
    ) {
        let (mut network, start) = defended_with(seeds.map(closing_plan));
        let mut turn = 0;
        network.fate = Box::new(move |_| { turn += 1; fates[turn % fates.len()] });
        play(&mut network, &traffic);
        prop_assert!(network.seen.iter().all(|seen| seen.kind != 4 || seen.length == 1_452));
        for side in [0, 1] {
            let record = network.tunnels[side].take_record();
            prop_assert!(record.iter().all(|(_, at)| *at >= start));
            let origin = network.instant() - network.now();
            let statistics = network.tunnels[side].defense_statistics(network.instant()).unwrap();
            // Blocking that the cap held back begins later than the instant it was set for, and is told of as at that.
            let late = if statistics.actions_capped > 0 { MAX_CATCH_UP } else { Duration::ZERO };
            for (begin, end) in closed_times(&record) {
                let left = network.seen.iter().find(|seen| {
                    seen.from == side && origin + seen.at > begin + late && end.is_none_or(|end| origin + seen.at < end)
                });
                prop_assert_eq!(left, None, "left while blocked from {:?} to {:?}", begin - origin, end.map(|end| end - origin));
            }
            assert_timers_are_accounted_for(&record)?;
        }
    }

    #[test]
    fn padding_stays_within_the_framework_s_limits(seed in any::<u64>(), traffic in traffic()) {
        let (mut network, _) = defended([seed, 1]);
        let plan = random_plan(seed);
        play(&mut network, &traffic);
        let record = network.tunnels[0].take_record();
        let count = |wanted: fn(&Event) -> bool| record.iter().filter(|(event, _)| wanted(event)).count() as f64;
        let padding = count(|event| matches!(event, Event::PaddingSent { .. }));
        let normal = count(|event| matches!(event, Event::NormalSent));
        let allowed: u64 = plan.machines().iter().map(|machine| machine.allowed_padding_packets).sum();
        if plan.max_padding_frac() > 0.0 {
            // What was asked for within the limits fires later: one more for each machine.
            let slack = allowed as f64 + plan.machines().len() as f64 + 1.0;
            let limit = plan.max_padding_frac() / (1.0 - plan.max_padding_frac()) * (normal + allowed as f64) + slack;
            prop_assert!(padding <= limit, "{padding} padding, {normal} normal, limit {limit}");
        }
        let statistics = network.tunnels[0].defense_statistics(network.instant()).unwrap();
        prop_assert!(statistics.padding_actions as f64 == padding);
    }
}

/// Machines that never wait, each with one kind of action.
fn hostile() -> Vec<(&'static str, Machine)> {
    let (none, day) = (fixed(Duration::ZERO), fixed(Duration::from_secs(86_400)));
    let pad = |bypass, replace| Action::SendPadding { bypass, replace, timeout: none, limit: None };
    let block =
        |duration, replace| Action::BlockOutgoing { bypass: false, replace, timeout: none, duration, limit: None };
    let timer = |duration, replace| Action::UpdateTimer { replace, duration, limit: None };
    vec![
        ("padding without end", frenzy(pad(false, false))),
        ("padding that bypasses", frenzy(pad(true, true))),
        ("blocking for ever", frenzy(block(day, true))),
        ("blocking for no time", frenzy(block(none, true))),
        ("a timer of no time", frenzy(timer(none, true))),
        ("a timer that stays", frenzy(timer(day, false))),
        ("cancelling", frenzy(Action::Cancel { timer: Timer::All })),
    ]
}

#[test]
fn hostile_machines_cost_no_more_than_the_cap_and_can_be_stopped() {
    let mut together: Vec<_> = hostile().into_iter().map(|(name, machine)| (name, vec![machine])).collect();
    together.push(("all at once", hostile().into_iter().map(|(_, machine)| machine).collect()));
    for (name, machines) in together {
        let mut network = TwoEnds::new();
        network.send(0, &packet(0, 0, 100));
        network.run_for(Duration::from_secs(1));
        network.send(1, &packet(1, 0, 100));
        network.run_for(Duration::from_secs(1));
        let plan = Plan::new(machines).unwrap().capped(CAP);
        network.start(0, &plan, [9; 32]);
        network.tunnels[0].take_record();
        let start = network.now();
        for count in 0..100 {
            network.send(0, &packet(0, 1 + count, 100));
            network.run_until(start + Duration::from_millis(100 * u64::from(count + 1)));
        }
        let record = network.tunnels[0].take_record();
        let actions = record.iter().filter(|(event, _)| {
            !matches!(
                event,
                Event::NormalSent | Event::TunnelSent | Event::TunnelRecv | Event::NormalRecv | Event::PaddingRecv
            )
        });
        // The end of blocking is no action, and no more frequent than its beginning.
        let actions = actions.count();
        assert!(actions <= 2 * 11 * CAP as usize, "{name}: {actions} actions in 10 s");
        assert!(network.wakeups[0] <= 2 * 11 * CAP as usize, "{name}: woken {} times", network.wakeups[0]);
        let sent = network.seen.iter().filter(|seen| seen.from == 0 && seen.at > start).count();
        assert!(sent <= 11 * CAP as usize + 200, "{name}: {sent} datagrams");
        assert!(network.tunnels[0].queued() <= MAX_QUEUED_PACKETS);

        network.stop_defense(0);
        network.send(0, &packet(0, 1_000, 100));
        network.run_for(Duration::from_secs(1));
        let last = network.delivered[1].last().map(|packet| number(packet));
        assert_eq!(last, Some(1_000), "{name}: the tunnel works again");
        let numbers: Vec<_> = network.delivered[1].iter().skip(1).map(|packet| number(packet)).collect();
        assert_eq!(numbers, (1..=100).chain([1_000]).collect::<Vec<_>>(), "{name}: all that waited came");
    }
}

#[test]
fn one_call_does_bounded_work_however_hostile_the_machine() {
    for (name, machine) in hostile() {
        let mut network = TwoEnds::new();
        network.send(0, &packet(0, 0, 100));
        network.run_for(Duration::from_secs(1));
        let now = network.instant();
        network.start(0, &Plan::new(vec![machine]).unwrap(), [9; 32]);
        network.tunnels[0].take_record();
        network.send_once(0, &packet(0, 1, 100));
        let by_send = network.tunnels[0].take_record().len();
        let mut out = DatagramBatch::new();
        network.tunnels[0].handle_timeout(now, &mut out);
        let by_timeout = network.tunnels[0].take_record().len();
        assert!(by_send.max(by_timeout) <= 4_000, "{name}: {by_send} and {by_timeout} events in a call");
    }
}

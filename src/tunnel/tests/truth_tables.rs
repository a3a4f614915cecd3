//! The tables of the framework's documentation, a test a cell, in their order.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use maybenot::action::Action;
use maybenot::dist::{Dist, DistType};
use maybenot::event::Event as On;
use maybenot::state::{State, Trans};
use maybenot::{Machine, Timer};

use super::super::ip::tests::ipv4;
use super::super::{DatagramBatch, Tunnel};
use super::{A, B, Pair, address, defend};
use crate::defense::{Gate, Plan};

/// Two tunnels with a session; the first one is looked at.
struct Bench {
    tunnels: [Tunnel; 2],
    start: Instant,
}

/// What left a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Normal,
    Padding,
}

use Left::{Normal, Padding};

impl Bench {
    /// Runs machines of which each takes its action when it fires; the clock stands at zero.
    fn new(machines: Vec<Machine>) -> Self {
        let Pair { tunnels, now: start } = Pair::connected();
        let mut bench = Self { tunnels, start };
        defend(&mut bench.tunnels[0], Plan::new(machines).unwrap(), [0; 32], bench.start);
        bench
    }

    fn at(&self, millis: u64) -> Instant {
        self.start + Duration::from_millis(millis)
    }

    /// Sends a normal packet; returns what left at once.
    fn send(&mut self, millis: u64) -> Vec<Left> {
        let (mut packet, now, mut out) = (ipv4(A, B, b"normal"), self.at(millis), DatagramBatch::new());
        let length = packet.len();
        packet.resize(length + 15, 0);
        self.tunnels[0].send(&mut packet, length, now, &mut out);
        self.open(&out, now)
    }

    /// Lets time pass; returns what left meanwhile.
    fn run(&mut self, millis: u64) -> Vec<Left> {
        let (until, mut left) = (self.at(millis), Vec::new());
        while let Some(at) = self.tunnels[0].next_timeout().filter(|at| *at <= until) {
            let mut out = DatagramBatch::new();
            self.tunnels[0].handle_timeout(at, &mut out);
            left.extend(self.open(&out, at));
        }
        left
    }

    fn open(&mut self, out: &DatagramBatch, now: Instant) -> Vec<Left> {
        let datagrams: Vec<_> = out.iter().map(<[u8]>::to_vec).collect();
        let mut open = |datagram: &Vec<u8>| {
            assert_eq!((datagram[0], datagram.len()), (4, 1_452));
            let allowed = |source: IpAddr| source == IpAddr::from(A);
            let mut answers = DatagramBatch::new();
            let packet = self.tunnels[1].receive(datagram, address(0), now, allowed, &mut [0; 2_000], &mut answers);
            if packet.is_some() { Normal } else { Padding }
        };
        datagrams.iter().map(&mut open).collect()
    }

    /// Returns how many padding actions and blocking actions were taken.
    fn actions(&self) -> (u64, u64) {
        let statistics = self.tunnels[0].defense_statistics(self.start).unwrap();
        (statistics.padding_actions, statistics.blocking_actions)
    }
}

fn fixed(millis: u64) -> Dist {
    let micros = (millis * 1_000) as f64;
    Dist::new(DistType::Uniform { low: micros, high: micros }, 0.0, 0.0)
}

fn pad(after: u64, bypass: bool, replace: bool) -> Action {
    Action::SendPadding { bypass, replace, timeout: fixed(after), limit: None }
}

fn block(after: u64, duration: u64, bypass: bool, replace: bool) -> Action {
    Action::BlockOutgoing { bypass, replace, timeout: fixed(after), duration: fixed(duration), limit: None }
}

fn set_timer(duration: u64, replace: bool) -> Action {
    Action::UpdateTimer { replace, duration: fixed(duration), limit: None }
}

/// A state of a machine: what it does, and where each event leads.
type Sketch<'a> = (Option<Action>, &'a [(On, usize)]);

/// A machine of states: the action that is taken on entering each, and what leads to which other.
fn machine(states: &[Sketch<'_>]) -> Machine {
    let states = states.iter().map(|(action, transitions)| {
        let mut map = enum_map::enum_map! { _ => vec![] };
        for (on, to) in *transitions {
            map[*on] = vec![Trans(*to, 1.0)];
        }
        let mut state = State::new(map);
        state.action = *action;
        state
    });
    Machine::new(1_000, 0.0, u64::MAX, 0.0, states.collect()).unwrap()
}

/// Does one thing when the first normal packet is sent.
fn once(action: Action) -> Machine {
    machine(&[(None, &[(On::NormalSent, 1)]), (Some(action), &[])])
}

/// Does one thing after another, each when the one before is done.
fn in_turn(first: Action, done: On, second: Action) -> Machine {
    machine(&[(None, &[(On::NormalSent, 1)]), (Some(first), &[(done, 2)]), (Some(second), &[])])
}

/// Blocking from 0 to 100 ms; padding at 10 ms. Returns what left of an empty queue, up to 50 ms and at the end, and the
/// same with a normal packet and with padding in the queue.
fn cell(blocking_bypassable: bool, bypass: bool, replace: bool) -> [[Vec<Left>; 2]; 3] {
    let blocking = once(block(0, 100, blocking_bypassable, false));
    let padding = once(pad(10, bypass, replace));
    let earlier = once(pad(5, false, false));
    let run = |machines: Vec<Machine>, normal_waits: bool| {
        let mut bench = Bench::new(machines);
        assert_eq!(bench.send(0), [Normal], "a packet leaves before the blocking that it causes");
        assert_eq!(bench.tunnels[0].gate(), if blocking_bypassable { Gate::Bypassable } else { Gate::Closed });
        if normal_waits {
            assert_eq!(bench.send(1), []);
        }
        let meanwhile = bench.run(50);
        let end = bench.run(100);
        assert!(bench.actions().0 >= 1, "taken, whatever became of it");
        assert_eq!(bench.tunnels[0].gate(), Gate::Open);
        [meanwhile, end]
    };
    [
        run(vec![blocking.clone(), padding.clone()], false),
        run(vec![blocking.clone(), padding.clone()], true),
        run(vec![blocking, padding, earlier], false),
    ]
}

// Blocking × padding, in the order of the table: what leaves under blocking, and when it ends.

#[test]
fn non_bypassable_none_queues_padding() {
    let cells = [[vec![], vec![Padding]], [vec![], vec![Normal, Padding]], [vec![], vec![Padding, Padding]]];
    assert_eq!(cell(false, false, false), cells);
}

#[test]
fn non_bypassable_bypass_queues_padding() {
    let cells = [[vec![], vec![Padding]], [vec![], vec![Normal, Padding]], [vec![], vec![Padding, Padding]]];
    assert_eq!(cell(false, true, false), cells);
}

#[test]
fn non_bypassable_replace_queues_padding_if_the_queue_is_empty() {
    assert_eq!(cell(false, false, true), [[vec![], vec![Padding]], [vec![], vec![Normal]], [vec![], vec![Padding]]]);
}

#[test]
fn non_bypassable_bypass_and_replace_queues_padding_if_the_queue_is_empty() {
    assert_eq!(cell(false, true, true), [[vec![], vec![Padding]], [vec![], vec![Normal]], [vec![], vec![Padding]]]);
}

#[test]
fn bypassable_none_queues_padding() {
    let cells = [[vec![], vec![Padding]], [vec![], vec![Normal, Padding]], [vec![], vec![Padding, Padding]]];
    assert_eq!(cell(true, false, false), cells);
}

#[test]
fn bypassable_bypass_sends_padding_immediately() {
    let cells = [[vec![Padding], vec![]], [vec![Padding], vec![Normal]], [vec![Padding], vec![Padding]]];
    assert_eq!(cell(true, true, false), cells);
}

#[test]
fn bypassable_replace_queues_padding_if_the_queue_is_empty() {
    assert_eq!(cell(true, false, true), [[vec![], vec![Padding]], [vec![], vec![Normal]], [vec![], vec![Padding]]]);
}

#[test]
fn bypassable_bypass_and_replace_sends_from_the_queue_or_padding() {
    assert_eq!(cell(true, true, true), [[vec![Padding], vec![]], [vec![Normal], vec![]], [vec![Padding], vec![]]]);
}

#[test]
fn without_blocking_padding_leaves_whatever_its_flags() {
    for (bypass, replace) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut bench = Bench::new(vec![once(pad(10, bypass, replace))]);
        assert_eq!(bench.send(0), [Normal]);
        assert_eq!(bench.run(9), []);
        assert_eq!(bench.run(10), [Padding]);
    }
}

// Blocking while blocking is in force since 0, to 100 ms: a second action at 10 ms.

/// Returns when blocking ends, in ms, which gate was in force before, and how often it began and ended.
fn second_blocking(first_bypassable: bool, second: Action) -> (u64, Gate, u64, usize) {
    let count_ends = machine(&[(None, &[(On::BlockingEnd, 1)]), (Some(pad(0, true, false)), &[(On::BlockingEnd, 1)])]);
    let machines = vec![once(block(0, 100, first_bypassable, false)), once(second), count_ends];
    let mut bench = Bench::new(machines);
    bench.send(0);
    bench.run(20);
    let gate = bench.tunnels[0].gate();
    let (mut end, mut ends) = (20, 0);
    while bench.tunnels[0].gate() != Gate::Open {
        end += 1;
        ends += bench.run(end).len();
    }
    ends += bench.run(1_000).len();
    (end, gate, bench.actions().1, ends)
}

#[test]
fn a_second_blocking_replaces_the_first_if_it_says_so() {
    for first_bypassable in [false, true] {
        for (duration, end) in [(30, 40), (200, 210)] {
            assert_eq!(
                second_blocking(first_bypassable, block(10, duration, true, true)),
                (end, Gate::Bypassable, 2, 1)
            );
            assert_eq!(second_blocking(first_bypassable, block(10, duration, false, true)), (end, Gate::Closed, 2, 1));
        }
    }
}

#[test]
fn a_second_blocking_that_lasts_longer_extends_the_first_and_brings_its_flag() {
    for first_bypassable in [false, true] {
        assert_eq!(second_blocking(first_bypassable, block(10, 200, true, false)), (210, Gate::Bypassable, 2, 1));
        assert_eq!(second_blocking(first_bypassable, block(10, 200, false, false)), (210, Gate::Closed, 2, 1));
    }
}

#[test]
fn a_second_blocking_that_ends_earlier_or_at_once_with_the_first_changes_nothing_and_is_told() {
    for duration in [30, 90] {
        assert_eq!(second_blocking(false, block(10, duration, true, false)), (100, Gate::Closed, 2, 1));
        assert_eq!(second_blocking(true, block(10, duration, false, false)), (100, Gate::Bypassable, 2, 1));
    }
}

#[test]
fn blocking_begin_is_told_every_time_and_to_every_machine() {
    let listener = machine(&[
        (None, &[(On::BlockingBegin, 1)]),
        (Some(pad(500, false, false)), &[(On::BlockingBegin, 2)]),
        (Some(pad(700, false, false)), &[]),
    ]);
    let mut bench = Bench::new(vec![once(block(0, 100, false, false)), once(block(10, 1, false, false)), listener]);
    bench.send(0);
    assert_eq!((bench.run(709), bench.run(710)), (vec![], vec![Padding]));
}

// Timers.

/// The first packet sets the timer to 50 ms, the second at 10 ms does `second`. Each end of the timer is shown by padding
/// at once; returns their times in ms.
fn timer_ends(second: Action) -> Vec<u64> {
    let machine = machine(&[
        (None, &[(On::NormalSent, 1)]),
        (Some(set_timer(50, true)), &[(On::NormalSent, 2), (On::TimerEnd, 3)]),
        (Some(second), &[(On::TimerEnd, 3)]),
        (Some(pad(0, false, false)), &[(On::TimerEnd, 3)]),
    ]);
    let mut bench = Bench::new(vec![machine]);
    bench.send(0);
    bench.run(10);
    bench.send(10);
    (11..1_000).filter(|millis| !bench.run(*millis).is_empty()).collect()
}

#[test]
fn an_internal_timer_is_replaced_if_it_says_so() {
    assert_eq!(timer_ends(set_timer(5, true)), [15]);
    assert_eq!(timer_ends(set_timer(90, true)), [100]);
}

#[test]
fn an_internal_timer_takes_the_longer_time_otherwise() {
    assert_eq!(timer_ends(set_timer(5, false)), [50]);
    assert_eq!(timer_ends(set_timer(90, false)), [100]);
}

#[test]
fn timer_begin_is_told_in_either_case() {
    for replace in [false, true] {
        for duration in [5, 40, 90] {
            let machine = machine(&[
                (None, &[(On::NormalSent, 1)]),
                (Some(set_timer(50, true)), &[(On::NormalSent, 2)]),
                (Some(set_timer(duration, replace)), &[(On::TimerBegin, 3)]),
                (Some(pad(0, false, false)), &[]),
            ]);
            let mut bench = Bench::new(vec![machine]);
            assert_eq!(bench.send(0), [Normal]);
            bench.run(10);
            assert_eq!(bench.send(10), [Normal, Padding], "{duration} ms, replace {replace}");
        }
    }
}

#[test]
fn a_cancelled_timer_fires_nothing() {
    for (timer, internal, padding) in
        [(Timer::Internal, false, true), (Timer::Action, true, false), (Timer::All, false, false)]
    {
        // The first packet sets the timer to 50 ms, the second asks for padding in 60 ms, the third cancels.
        let machine = machine(&[
            (None, &[(On::NormalSent, 1)]),
            (Some(set_timer(50, true)), &[(On::NormalSent, 2)]),
            (Some(pad(60, false, false)), &[(On::NormalSent, 3)]),
            (Some(Action::Cancel { timer }), &[(On::TimerEnd, 4), (On::PaddingSent, 5)]),
            (Some(block(0, 20, true, false)), &[]),
            (None, &[]),
        ]);
        let mut bench = Bench::new(vec![machine]);
        for _ in 0..3 {
            bench.send(0);
        }
        let left = bench.run(1_000);
        assert_eq!((bench.actions().1 == 1, left == [Padding]), (internal, padding), "{timer:?}");
    }
}

#[test]
fn a_new_action_takes_the_place_of_the_one_that_waits() {
    let to = |second| {
        machine(&[
            (None, &[(On::NormalSent, 1)]),
            (Some(pad(50, false, false)), &[(On::NormalSent, 2)]),
            (Some(second), &[]),
        ])
    };
    let mut bench = Bench::new(vec![to(pad(90, false, false))]);
    bench.send(0);
    bench.send(0);
    assert_eq!((bench.run(89), bench.run(90), bench.run(1_000)), (vec![], vec![Padding], vec![]));

    let mut bench = Bench::new(vec![to(block(90, 10, false, false))]);
    bench.send(0);
    bench.send(0);
    assert_eq!((bench.run(1_000), bench.actions()), (vec![], (0, 1)));
}

#[test]
fn an_internal_timer_and_an_action_timer_do_not_meet() {
    let machine = in_turn(set_timer(50, true), On::TimerBegin, pad(20, false, false));
    let mut bench = Bench::new(vec![machine]);
    bench.send(0);
    assert_eq!((bench.run(20), bench.run(1_000)), (vec![Padding], vec![]));
}

// The order of events.

/// Tells whether a machine that waits for these events, one after the other and with none of `others` between, sees
/// them while `cause` happens.
fn sees(events: &[On], others: &[On], machines: &[Machine], cause: impl Fn(&mut Bench)) -> bool {
    let end = events.len();
    let lost = end + 1;
    let transitions: Vec<Vec<(On, usize)>> = (0..end)
        .map(|at| {
            let strays = others.iter().filter(|other| at > 0 && **other != events[at]).map(|other| (*other, lost));
            std::iter::once((events[at], at + 1)).chain(strays).collect()
        })
        .collect();
    let mut states: Vec<Sketch<'_>> = transitions.iter().map(|list| (None, &list[..])).collect();
    states.push((Some(block(500, 1, true, false)), &[]));
    states.push((None, &[]));
    let mut all = machines.to_vec();
    all.push(machine(&states));
    let mut bench = Bench::new(all);
    cause(&mut bench);
    let before = bench.actions().1;
    bench.run(700);
    bench.actions().1 > before
}

const PACKETS: [On; 6] =
    [On::NormalSent, On::PaddingSent, On::TunnelSent, On::TunnelRecv, On::NormalRecv, On::PaddingRecv];

#[test]
fn a_normal_packet_is_sent_and_then_handed_to_the_socket() {
    let send = |bench: &mut Bench| {
        bench.send(0);
    };
    assert!(sees(&[On::NormalSent, On::TunnelSent], &PACKETS, &[], send));
    assert!(!sees(&[On::TunnelSent, On::NormalSent], &PACKETS, &[], send));
}

#[test]
fn a_packet_that_waits_is_handed_to_the_socket_after_blocking_ended() {
    let send = |bench: &mut Bench| {
        bench.send(0);
        bench.send(1);
    };
    let blocking = once(block(0, 100, false, false));
    assert!(sees(&[On::BlockingBegin, On::NormalSent, On::BlockingEnd, On::TunnelSent], &PACKETS, &[blocking], send));
}

#[test]
fn padding_is_told_when_it_is_queued_whether_or_not_it_is_replaced() {
    let send = |bench: &mut Bench| {
        bench.send(0);
        bench.send(1);
    };
    for (replace, after) in [(false, vec![On::TunnelSent, On::TunnelSent]), (true, vec![On::TunnelSent])] {
        let machines = [in_turn(block(0, 100, false, false), On::BlockingBegin, pad(10, false, replace))];
        // A machine learns of its own padding alone: this one counts what leaves.
        let mut events = vec![On::BlockingEnd];
        events.extend(after);
        assert!(sees(&events, &PACKETS, &machines, send));
        let mut bench = Bench::new(machines.to_vec());
        send(&mut bench);
        bench.run(50);
        assert_eq!(bench.actions().0, 1);
        let own = machine(&[
            (None, &[(On::NormalSent, 1)]),
            (Some(block(0, 100, false, false)), &[(On::BlockingBegin, 2)]),
            (Some(pad(10, false, replace)), &[(On::PaddingSent, 3), (On::BlockingEnd, 4)]),
            (Some(pad(200, false, false)), &[]),
            (None, &[]),
        ]);
        let mut bench = Bench::new(vec![own]);
        send(&mut bench);
        assert_eq!((bench.run(209).len(), bench.run(210)), (if replace { 1 } else { 2 }, vec![Padding]));
    }
}

#[test]
fn padding_without_room_is_not_handed_to_the_socket_and_its_machine_goes_on() {
    let pads_at_10_with = |room| {
        move |bench: &mut Bench| {
            bench.send(0);
            let (now, mut out) = (bench.at(10), DatagramBatch::new());
            out.set_room(room, room);
            bench.tunnels[0].handle_timeout(now, &mut out);
            assert_eq!(out.len(), room);
        }
    };
    let (events, machines) = ([On::NormalSent, On::TunnelSent, On::TunnelSent], [once(pad(10, false, false))]);
    assert!(sees(&events, &PACKETS, &machines, pads_at_10_with(1)));
    assert!(!sees(&events, &PACKETS, &machines, pads_at_10_with(0)));

    let mut bench = Bench::new(vec![in_turn(pad(10, false, false), On::PaddingSent, pad(5, false, false))]);
    pads_at_10_with(0)(&mut bench);
    let dropped = bench.tunnels[0].defense_statistics(bench.start).unwrap().padding_dropped;
    assert_eq!((dropped.no_room, bench.run(15)), (1, vec![Padding]));
}

#[test]
fn what_is_received_is_told_when_it_authenticated_and_then_what_it_was() {
    let receive = |defended: bool| {
        move |bench: &mut Bench| {
            if defended {
                defend(&mut bench.tunnels[1], Plan::default(), [0; 32], bench.start);
            }
            let (now, mut out) = (bench.start, DatagramBatch::new());
            if defended {
                bench.tunnels[1].send_keepalive(now, &mut out);
            } else {
                let mut packet = ipv4(B, A, b"normal");
                let length = packet.len();
                bench.tunnels[1].send(&mut packet, length, now, &mut out);
            }
            let datagram = out.iter().next().unwrap().to_vec();
            let mut forged = datagram.clone();
            *forged.last_mut().unwrap() ^= 1;
            for datagram in [forged, datagram] {
                bench.tunnels[0].receive(
                    &datagram,
                    address(1),
                    now,
                    |_| true,
                    &mut [0; 2_000],
                    &mut DatagramBatch::new(),
                );
            }
        }
    };
    assert!(sees(&[On::TunnelRecv, On::NormalRecv], &PACKETS, &[], receive(false)));
    assert!(sees(&[On::TunnelRecv, On::PaddingRecv], &PACKETS, &[], receive(true)));
    assert!(!sees(&[On::TunnelRecv, On::TunnelRecv], &[], &[], receive(false)), "what is forged is not told");
}

#[test]
fn what_is_counted_goes_on_with_other_machines() {
    let mut bench = Bench::new(vec![once(pad(10, false, false))]);
    bench.send(0);
    bench.run(50);
    assert_eq!(bench.actions(), (1, 0));
    let count = |bench: &Bench| {
        let statistics = bench.tunnels[0].defense_statistics(bench.at(60)).unwrap();
        (statistics.padding_actions, statistics.padding_sent_packets, statistics.lateness_p99)
    };
    let before = count(&bench);
    // As each renewal of the epoch brings.
    let now = bench.at(60);
    defend(&mut bench.tunnels[0], Plan::new(vec![once(pad(20, false, false))]).unwrap(), [0; 32], now);
    assert_eq!(count(&bench), before);
}

//! The rules in which the simulator knowingly differs, each shown by the machine that the other tests leave out.

use std::time::Duration;

use maybenot::action::Action;
use maybenot::event::Event;
use maybenot::{Machine, TriggerEvent};

use crate::compare::{Defense, Happened, Trace, simulate, tunnel};
use crate::fixed::{always, state};

const END: Duration = Duration::from_secs(1);

fn both(machine: Machine, trace: &Trace) -> [Vec<TriggerEvent>; 2] {
    let defense = Defense { machines: [vec![machine], vec![]], ..Defense::default() };
    let (reference, _) = simulate(&defense, trace);
    let ours = tunnel(&defense, &reference, END);
    [reference, ours].map(|all| {
        let of_client = all.into_iter().filter(|it: &Happened| it.side == 0 && it.at < END);
        of_client.map(|it| it.event).collect()
    })
}

fn count(events: &[TriggerEvent], event: Event) -> usize {
    events.iter().filter(|it| it.is_event(event)).count()
}

fn machine(states: Vec<maybenot::state::State>) -> Machine {
    Machine::new(1_000, 0.0, 1_000_000_000, 0.0, states).expect("a machine of valid states")
}

fn block(bypass: bool, replace: bool, duration: u64) -> Option<Action> {
    Some(Action::BlockOutgoing { bypass, replace, timeout: always(0), duration: always(duration), limit: None })
}

fn pad(bypass: bool, replace: bool, timeout: u64) -> Option<Action> {
    Some(Action::SendPadding { bypass, replace, timeout: always(timeout), limit: None })
}

/// The framework's documentation asks for `TimerBegin` "regardless of the outcome".
#[test]
fn a_timer_that_stays_as_it_was_begins_for_a_tunnel_and_not_for_the_simulator() {
    let timer = |duration| Some(Action::UpdateTimer { replace: false, duration: always(duration), limit: None });
    let machine = machine(vec![
        state(None, &[(Event::NormalSent, 1)]),
        state(timer(50_000), &[(Event::NormalSent, 2)]),
        state(timer(1_000), &[]),
    ]);
    let [simulator, ours] = both(machine, &vec![(Duration::ZERO, 0), (Duration::from_millis(5), 0)]);
    assert_eq!((count(&simulator, Event::TimerBegin), count(&ours, Event::TimerBegin)), (1, 2));
    assert_eq!((count(&simulator, Event::TimerEnd), count(&ours, Event::TimerEnd)), (1, 1));
}

/// The documentation: "queue padding if queue is empty".
#[test]
fn padding_that_waits_takes_the_place_of_padding_in_a_tunnel_and_not_in_the_simulator() {
    let machine = machine(vec![
        state(None, &[(Event::NormalSent, 1)]),
        state(block(false, false, 50_000), &[(Event::BlockingBegin, 2)]),
        state(pad(false, true, 1_000), &[(Event::PaddingSent, 3)]),
        state(pad(false, true, 1_000), &[]),
    ]);
    let [simulator, ours] = both(machine, &vec![(Duration::ZERO, 0)]);
    assert_eq!((count(&simulator, Event::PaddingSent), count(&ours, Event::PaddingSent)), (2, 2));
    assert_eq!((count(&simulator, Event::TunnelSent), count(&ours, Event::TunnelSent)), (3, 2));
}

/// The documentation: under non-bypassable blocking, "queue padding"; what is queued waits until traffic is unblocked.
#[test]
fn what_waits_for_the_end_of_blocking_does_not_leave_a_tunnel_when_blocking_becomes_bypassable() {
    let machine = machine(vec![
        state(None, &[(Event::NormalSent, 1)]),
        state(block(false, false, 50_000), &[(Event::BlockingBegin, 2)]),
        state(pad(true, false, 1_000), &[(Event::PaddingSent, 3)]),
        state(block(true, true, 30_000), &[]),
    ]);
    let [simulator, ours] = both(machine, &vec![(Duration::ZERO, 0)]);
    let before_end = |events: &[TriggerEvent]| {
        let end = events.iter().position(|event| event.is_event(Event::BlockingEnd)).unwrap();
        count(&events[..end], Event::TunnelSent)
    };
    assert_eq!((before_end(&simulator), before_end(&ours)), (2, 1));
}

/// The documentation asks for `BlockingEnd` whenever blocking ends.
#[test]
fn blocking_of_no_time_ends_for_a_tunnel_and_never_begins_for_the_simulator() {
    let machine = machine(vec![state(None, &[(Event::NormalSent, 1)]), state(block(false, false, 0), &[])]);
    let [simulator, ours] = both(machine, &vec![(Duration::ZERO, 0)]);
    assert_eq!((count(&simulator, Event::BlockingBegin), count(&ours, Event::BlockingBegin)), (1, 1));
    assert_eq!((count(&simulator, Event::BlockingEnd), count(&ours, Event::BlockingEnd)), (0, 1));
}

//! Maybenot in the tunnel: a framework, two timers for each of its machines, blocking, and the bounds on what they cost.
//!
//! The contract is the `maybenot` crate's documentation (crate root, "Key concepts"). [`Engine`] keeps the framework's
//! part of it: it is told every [`Event`] in order, sets the timers that the machines ask for, and when one fires says
//! what the tunnel has to do ([`Effect`]). The tunnel keeps the rest: its queue, its gate and the size of its packets.
//!
//! # Time
//! An event that a timer causes happens, for the timers it sets in turn, at the instant for which the timer was set, not
//! at the later one at which somebody looked. So a schedule does not drift. After a long sleep ([`MAX_CATCH_UP`]) it
//! starts anew from the present instead of catching up.
//!
//! At one instant the end of blocking comes first, then what is to be told of internal timers that were set, then
//! internal timers that fire, then action timers, each in the order of the machines; what follows from one in packets is
//! done before the next. This is the order of `maybenot-simulator`.

mod blocking;
mod budget;
mod controller;
mod lateness;
mod plan;

pub use blocking::Gate;
pub use controller::{Bypass, Controller, Effect, Replace};
pub use maybenot::{Machine, TriggerEvent as Event};
pub use plan::{DEFAULT_ACTIONS_PER_SECOND, MAX_MACHINES, Plan, PlanError};

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maybenot::{Framework, MachineId, Timer, TriggerAction};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng as _;

use blocking::{Blocking, BlockingLimit};
use budget::Budget;
use lateness::Lateness;

use crate::traffic::{Direction, Kind, Layer, Traffic};

/// A timer that fires later than this does so from the present, instead of from the instant it was set for.
pub const MAX_CATCH_UP: Duration = Duration::from_millis(100);

/// Most times that internal timers were set and the framework is yet to be told: what the packets of a few batches can
/// cause at once.
const MAX_BEGUN: usize = 1_024;

/// What an engine has counted, and those before it in the same place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStatistics {
    /// Padding actions that fired.
    pub padding_actions: u64,
    /// Blocking actions that fired.
    pub blocking_actions: u64,
    /// Actions that had to wait because of the cap on actions a second.
    pub actions_capped: u64,
    /// Time for which outgoing traffic was blocked, blocking in force included.
    pub blocked: Duration,
}

/// The machines of one end of one tunnel, at work.
pub struct Engine {
    framework: Framework<Arc<[Machine]>, ChaCha20Rng>,
    timers: Vec<MachineTimers>,
    blocking: Blocking,
    budget: Budget,
    limit: BlockingLimit,
    /// The instant that events in progress belong to, and from which the timers they set run. It never goes back.
    logical: Instant,
    statistics: EngineStatistics,
    /// What those before it had counted.
    earlier: EngineStatistics,
    /// Machines whose internal timers were set, and of which the framework is yet to be told: at most [`MAX_BEGUN`].
    begun: VecDeque<MachineId>,
    /// The end of the last window of the budget that something had to wait for.
    capped_until: Option<Instant>,
    lateness: Lateness,
    #[cfg(feature = "virtual-time")]
    record: Option<Vec<(Event, Instant)>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("machines", &self.timers.len())
            .field("blocking", &self.blocking)
            .finish_non_exhaustive()
    }
}

/// The two timers of one machine.
#[derive(Debug, Clone, Copy, Default)]
struct MachineTimers {
    action: Option<(Instant, Action)>,
    internal: Option<Instant>,
}

/// What an action timer does when it fires.
#[derive(Debug, Clone, Copy)]
enum Action {
    Pad { bypass: Bypass, replace: Replace },
    Block { duration: Duration, gate: Gate, replaces: bool },
}

/// What is due, in the order in which it is done at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    BlockingEnd,
    /// Telling that an internal timer was set.
    Begun,
    Internal(usize),
    Action(usize),
}

impl Engine {
    /// Starts `plan` at `now`, its randomness drawn from `seed`.
    pub fn new(plan: &Plan, seed: [u8; 32], now: Instant) -> Self {
        let machines = plan.machines().len();
        let framework = Framework::new(
            Arc::clone(plan.machines()),
            plan.max_padding_frac(),
            plan.max_blocking_frac(),
            now,
            ChaCha20Rng::from_seed(seed),
        )
        .expect("a plan is valid by construction");
        Self {
            framework,
            timers: vec![MachineTimers::default(); machines],
            blocking: Blocking::default(),
            budget: Budget::new(plan.max_actions_per_second(), now),
            limit: BlockingLimit::default(),
            logical: now,
            statistics: EngineStatistics::default(),
            earlier: EngineStatistics::default(),
            begun: VecDeque::with_capacity(machines),
            capped_until: None,
            lateness: Lateness::default(),
            #[cfg(feature = "virtual-time")]
            record: None,
        }
    }

    /// Tells the framework of what passes. What the user sends and what the network brings happens when it does; what follows from
    /// that, and from the effect that [`poll`](Self::poll) returned last, at the same instant.
    pub fn observe(&mut self, traffic: &Traffic) {
        if !traffic.is_data() {
            return;
        }
        match (traffic.layer, traffic.direction, traffic.kind) {
            (Layer::Packet, Direction::Sent, _) => {
                self.resume(traffic.at);
                self.tell_each(traffic.packets, Event::NormalSent);
            }
            (Layer::Datagram, Direction::Sent, _) => self.tell(Event::TunnelSent),
            (Layer::Datagram, Direction::Received, _) => {
                self.resume(traffic.at);
                self.tell(Event::TunnelRecv);
            }
            (Layer::Packet, Direction::Received, Kind::Normal) => self.tell_each(traffic.packets, Event::NormalRecv),
            (Layer::Packet, Direction::Received, _) => self.tell(Event::PaddingRecv),
            (_, Direction::Dropped(_), _) => {}
        }
    }

    fn tell_each(&mut self, count: usize, event: Event) {
        for _ in 0..count {
            self.tell(event.clone());
        }
    }

    /// Says that what follows happens at `now`, or at the instant reached before: the framework's clock never goes back.
    pub fn resume(&mut self, now: Instant) {
        self.logical = self.logical.max(now);
    }

    /// Returns when [`poll`](Self::poll) has something to do next.
    pub fn next_timeout(&self) -> Option<Instant> {
        let (at, due) = self.first_due()?;
        match self.budget.closed_until() {
            Some(opens) if due != Due::BlockingEnd => {
                let capped = at.max(opens);
                Some(self.blocking.until().map_or(capped, |end| end.min(capped)))
            }
            Some(_) | None => Some(at),
        }
    }

    /// Does the first thing that is due at `now`, and says what the tunnel has to do about it; `None` if nothing is due.
    pub fn poll(&mut self, now: Instant) -> Option<Effect> {
        let (mut at, mut due) = self.first_due().filter(|(at, _)| *at <= now)?;
        if due != Due::BlockingEnd && !self.budget.take(now) {
            let capped_until = self.budget.closed_until();
            if self.capped_until != capped_until {
                self.capped_until = capped_until;
                self.statistics.actions_capped += self.due_at(now);
            }
            // Whatever else waits: blocking ends in time.
            (at, due) = (self.blocking.until().filter(|at| *at <= now)?, Due::BlockingEnd);
        }
        let late = now.saturating_duration_since(at);
        if self.capped_until.is_none_or(|until| at >= until) {
            self.lateness.record(late);
        }
        self.resume(if late > MAX_CATCH_UP { now } else { at });
        Some(self.fire(due))
    }

    /// Bounds blocking from `now` on: at no instant was more than this fraction of the time since then blocked. 0 and 1 are
    /// no bound.
    pub fn limit_blocking(&mut self, max_frac: f64, now: Instant) {
        self.limit = BlockingLimit::new(max_frac, now, self.own_statistics(now).blocked);
        if self.limit.is_bound() {
            // Nothing was allowed yet when it began.
            self.blocking.end_by(now);
        }
    }

    /// Takes the place of `before`, of the same tunnel, at `now`: the bound on blocking goes on, and so does what is counted.
    pub fn succeed(&mut self, before: &Self, now: Instant) {
        self.limit = before.limit.after(before.own_statistics(now).blocked);
        self.earlier = before.statistics(now);
        self.lateness = before.lateness.clone();
    }

    /// Ends blocking without telling the framework: it is to be told nothing any more.
    pub fn open(&mut self) {
        self.blocking = Blocking::default();
    }

    /// Tells whether a machine is about to give a slot of bypassable blocking.
    pub fn is_slot_due(&self) -> bool {
        self.timers.iter().any(|timers| matches!(timers.action, Some((_, Action::Pad { bypass: Bypass::Yes, .. }))))
    }

    /// Returns what may leave at present.
    pub fn gate(&self) -> Gate {
        self.blocking.gate()
    }

    /// Begins a record of what the framework is told, or takes what was recorded since it was last taken. The record
    /// grows without a bound: for tests.
    #[cfg(feature = "virtual-time")]
    pub fn take_record(&mut self) -> Vec<(Event, Instant)> {
        self.record.replace(Vec::new()).unwrap_or_default()
    }

    /// Returns the lateness of timers that `percent` of them did not exceed: how long after its instant a timer was
    /// fired, rounded up to 5 µs, at most 5 ms.
    pub fn lateness(&self, percent: u8) -> Duration {
        self.lateness.percentile(percent)
    }

    /// Returns what the engine has counted by `now`, and those whose place it [took](Self::succeed).
    pub fn statistics(&self, now: Instant) -> EngineStatistics {
        let (own, earlier) = (self.own_statistics(now), self.earlier);
        EngineStatistics {
            padding_actions: earlier.padding_actions + own.padding_actions,
            blocking_actions: earlier.blocking_actions + own.blocking_actions,
            actions_capped: earlier.actions_capped + own.actions_capped,
            blocked: earlier.blocked + own.blocked,
        }
    }

    fn own_statistics(&self, now: Instant) -> EngineStatistics {
        EngineStatistics { blocked: self.statistics.blocked + self.blocking.so_far(now), ..self.statistics }
    }

    fn fire(&mut self, due: Due) -> Effect {
        match due {
            Due::BlockingEnd => {
                self.statistics.blocked += self.blocking.end(self.logical);
                self.tell(Event::BlockingEnd);
                Effect::Unblocked
            }
            Due::Begun => {
                if let Some(machine) = self.begun.pop_front() {
                    self.tell(Event::TimerBegin { machine });
                }
                Effect::Nothing
            }
            Due::Internal(machine) => {
                self.timers[machine].internal = None;
                self.tell(Event::TimerEnd { machine: MachineId::from_raw(machine) });
                Effect::Nothing
            }
            Due::Action(machine) => match self.timers[machine].action.take() {
                Some((_, action)) => self.act(MachineId::from_raw(machine), action),
                None => Effect::Nothing,
            },
        }
    }

    fn act(&mut self, machine: MachineId, action: Action) -> Effect {
        match action {
            Action::Pad { bypass, replace } => {
                self.statistics.padding_actions += 1;
                self.tell(Event::PaddingSent { machine });
                Effect::Pad { bypass, replace }
            }
            Action::Block { duration, gate, replaces } => {
                self.statistics.blocking_actions += 1;
                let before = self.statistics.blocked + self.blocking.so_far(self.logical);
                let Some(duration) = self.limit.shorten(duration, before, self.logical) else { return Effect::Nothing };
                self.blocking.begin(self.logical, duration, gate, replaces);
                self.tell(Event::BlockingBegin { machine });
                Effect::Nothing
            }
        }
    }

    /// Hands one event to the framework, and sets the timers that it asks for.
    fn tell(&mut self, event: Event) {
        let logical = self.logical;
        #[cfg(feature = "virtual-time")]
        if let Some(record) = &mut self.record {
            record.push((event.clone(), logical));
        }
        for action in self.framework.trigger_events(&[event], logical) {
            let machine = action_machine(action);
            let timers = &mut self.timers[machine.into_raw()];
            match *action {
                TriggerAction::Cancel { timer, .. } => timers.cancel(timer),
                TriggerAction::SendPadding { timeout, bypass, replace, .. } => {
                    let at = logical + timeout;
                    let bypass = if bypass { Bypass::Yes } else { Bypass::No };
                    let replace = if replace { Replace::Yes } else { Replace::No };
                    timers.action = Some((at, Action::Pad { bypass, replace }));
                }
                TriggerAction::BlockOutgoing { timeout, duration, bypass, replace, .. } => {
                    let at = logical + timeout;
                    let gate = if bypass { Gate::Bypassable } else { Gate::Closed };
                    timers.action = Some((at, Action::Block { duration, gate, replaces: replace }));
                }
                TriggerAction::UpdateTimer { duration, replace, .. } => {
                    let at = logical + duration;
                    if replace || timers.internal.is_none_or(|current| current < at) {
                        timers.internal = Some(at);
                    }
                    if self.begun.len() == MAX_BEGUN {
                        self.statistics.actions_capped += 1;
                    } else {
                        self.begun.push_back(machine);
                    }
                }
            }
        }
    }

    fn first_due(&self) -> Option<(Instant, Due)> {
        self.all_due().min()
    }

    /// Returns how many things were due by `now`, the end of blocking aside.
    fn due_at(&self, now: Instant) -> u64 {
        self.all_due().filter(|(at, due)| *at <= now && *due != Due::BlockingEnd).count() as u64
    }

    fn all_due(&self) -> impl Iterator<Item = (Instant, Due)> {
        let blocking = self.blocking.until().map(|at| (at, Due::BlockingEnd));
        let begun = (!self.begun.is_empty()).then_some((self.logical, Due::Begun));
        let timers = self.timers.iter().enumerate().flat_map(|(machine, timers)| {
            let internal = timers.internal.map(|at| (at, Due::Internal(machine)));
            let action = timers.action.map(|(at, _)| (at, Due::Action(machine)));
            internal.into_iter().chain(action)
        });
        blocking.into_iter().chain(begun).chain(timers)
    }
}

impl MachineTimers {
    fn cancel(&mut self, timer: Timer) {
        match timer {
            Timer::Action => self.action = None,
            Timer::Internal => self.internal = None,
            Timer::All => *self = Self::default(),
        }
    }
}

fn action_machine(action: &TriggerAction) -> MachineId {
    match action {
        TriggerAction::Cancel { machine, .. }
        | TriggerAction::SendPadding { machine, .. }
        | TriggerAction::BlockOutgoing { machine, .. }
        | TriggerAction::UpdateTimer { machine, .. } => *machine,
    }
}

//! What is to happen, in order: packets that arrive, and hosts that are woken.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Where something has its turn within one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Who is woken, by number of host.
    Wake,
    /// What arrives, in the order in which it was sent.
    Arrive,
    /// Who is to be woken at once, because of what has happened at this very instant.
    WakeAgain,
}

/// One thing to happen. The order of the fields is the order of what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Duration,
    turn: Turn,
    /// The host that is woken, or the number of what arrives.
    order: u64,
    /// The entry's number among the host's, or where what arrives is kept.
    number: u64,
}

/// What happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// A host is woken.
    Wake(usize),
    /// What is kept there arrives.
    Arrive(usize),
}

/// When a host wants to be woken.
#[derive(Debug, Clone, Copy, Default)]
struct Alarm {
    wanted: Option<Duration>,
    /// The host's entry that counts: when, and its number. It is never later than what is wanted; when it is earlier, the host is
    /// not woken then, but gets another. So a deadline that moves on with every packet leaves no trail of entries.
    entry: Option<Duration>,
    number: u64,
}

/// Everything that is to happen.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    now: Duration,
    /// Whether something has happened at this instant.
    has_begun: bool,
    entries: BinaryHeap<Reverse<Entry>>,
    alarms: Vec<Alarm>,
    arrivals: u64,
}

impl Agenda {
    pub(super) fn now(&self) -> Duration {
        self.now
    }

    /// Lets time pass, without a look at what is due. It does not go back.
    pub(super) fn skip_to(&mut self, now: Duration) {
        if now > self.now {
            (self.now, self.has_begun) = (now, false);
        }
    }

    /// Notes that what is kept at `place` arrives then, at once if that was before.
    pub(super) fn arrive(&mut self, at: Duration, place: usize) {
        self.arrivals += 1;
        let (at, turn) = (at.max(self.now), Turn::Arrive);
        self.entries.push(Reverse(Entry { at, turn, order: self.arrivals, number: place as u64 }));
    }

    /// Notes when a host wants to be woken, in place of what it wanted before; at once if that was before.
    pub(super) fn wake_at(&mut self, host: usize, at: Option<Duration>) {
        if self.alarms.len() <= host {
            self.alarms.resize(host + 1, Alarm::default());
        }
        let at = at.map(|at| at.max(self.now));
        self.alarms[host].wanted = at;
        if let Some(at) = at.filter(|at| self.alarms[host].entry.is_none_or(|entry| *at < entry)) {
            self.enter(host, at);
        }
    }

    fn enter(&mut self, host: usize, at: Duration) {
        let turn = if at == self.now && self.has_begun { Turn::WakeAgain } else { Turn::Wake };
        let alarm = &mut self.alarms[host];
        alarm.number += 1;
        alarm.entry = Some(at);
        self.entries.push(Reverse(Entry { at, turn, order: host as u64, number: alarm.number }));
    }

    /// Returns when there is something to look at next: never later than what happens next, and possibly earlier.
    pub(super) fn next_at(&self) -> Option<Duration> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    /// Goes on to what happens next, if that is not later than `until`; otherwise to `until`.
    pub(super) fn next(&mut self, until: Duration) -> Option<Next> {
        while let Some(&Reverse(entry)) = self.entries.peek()
            && entry.at <= until
        {
            self.entries.pop();
            let next = match entry.turn {
                Turn::Arrive => Some(Next::Arrive(entry.number as usize)),
                Turn::Wake | Turn::WakeAgain => self.is_awake(entry).then_some(Next::Wake(entry.order as usize)),
            };
            if next.is_some() {
                self.skip_to(entry.at);
                self.has_begun = true;
                return next;
            }
        }
        self.skip_to(until);
        None
    }

    /// Tells whether a host is woken by an entry, and if it wants to be later, notes that.
    fn is_awake(&mut self, entry: Entry) -> bool {
        let host = entry.order as usize;
        let alarm = &mut self.alarms[host];
        if alarm.number != entry.number || alarm.entry.is_none() {
            return false;
        }
        alarm.entry = None;
        match alarm.wanted {
            Some(wanted) if wanted > entry.at => {
                self.enter(host, wanted);
                false
            }
            Some(_) => {
                alarm.wanted = None;
                true
            }
            None => false,
        }
    }

    /// Forgets all that was to arrive, and returns where it is kept.
    pub(super) fn forget_arrivals(&mut self) -> Vec<usize> {
        let mut places = Vec::new();
        self.entries.retain(|Reverse(entry)| {
            let arrives = entry.turn == Turn::Arrive;
            if arrives {
                places.push(entry.number as usize);
            }
            !arrives
        });
        places
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn all(agenda: &mut Agenda, until: u32) -> Vec<(u32, Next)> {
        std::iter::from_fn(|| agenda.next(until * MS).map(|next| (agenda.now().as_millis() as u32, next))).collect()
    }

    #[test]
    fn at_one_instant_hosts_are_woken_by_number_then_packets_arrive_as_they_were_sent() {
        let mut agenda = Agenda::default();
        agenda.arrive(MS, 7);
        agenda.arrive(MS, 3);
        agenda.wake_at(1, Some(MS));
        agenda.wake_at(0, Some(MS));
        let expected = [Next::Wake(0), Next::Wake(1), Next::Arrive(7), Next::Arrive(3)];
        assert_eq!(all(&mut agenda, 1), expected.map(|next| (1, next)));
    }

    #[test]
    fn a_host_that_wants_to_be_woken_at_once_waits_for_what_arrives_at_that_instant() {
        let mut agenda = Agenda::default();
        agenda.wake_at(0, Some(MS));
        agenda.arrive(MS, 7);
        assert_eq!(agenda.next(MS), Some(Next::Wake(0)));
        agenda.wake_at(0, Some(Duration::ZERO));
        assert_eq!(all(&mut agenda, 1), [(1, Next::Arrive(7)), (1, Next::Wake(0))]);
    }

    #[test]
    fn a_deadline_that_moves_with_every_packet_leaves_no_trail() {
        let mut agenda = Agenda::default();
        for count in 1..10_000 {
            agenda.wake_at(0, Some((count + 10_000) * MS));
            agenda.arrive(count * MS, 0);
            assert_eq!(agenda.next(count * MS), Some(Next::Arrive(0)));
        }
        assert_eq!(agenda.entries.len(), 1);
        assert_eq!(all(&mut agenda, 30_000), [(19_999, Next::Wake(0))]);
    }

    proptest! {
        /// Against a table of wishes, which is looked through whole.
        #[test]
        fn hosts_are_woken_when_they_wanted_last(
            steps in prop::collection::vec((0..4usize, prop::option::of(0..50u32), 0..20u32), 1..80),
        ) {
            let (mut agenda, mut wishes) = (Agenda::default(), [None; 4]);
            for (host, at, pass) in steps {
                let now = agenda.now().as_millis() as u32;
                agenda.wake_at(host, at.map(|at| at * MS));
                wishes[host] = at.map(|at| at.max(now));
                let until = now + pass;
                let mut expected = Vec::new();
                while let Some((at, host)) = (0..4).filter_map(|host| Some((wishes[host]?, host))).min()
                    && at <= until
                {
                    wishes[host] = None;
                    expected.push((at, Next::Wake(host)));
                }
                prop_assert_eq!(all(&mut agenda, until), expected);
                prop_assert_eq!(agenda.now(), until * MS);
            }
        }
    }
}

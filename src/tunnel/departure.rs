//! The one decision whether a datagram may leave.
//!
//! Every path that seals asks [`Tunnel::departure`] for its class of datagram, and [`decide`] answers from the
//! circumstances. The first column says what becomes of it where nothing stands in its way but the gate; of the columns
//! that hold, the strictest answer counts: *never* before *held* before *now*. A test holds this table to the code.
//!
//! | class     | open | bypassable | slot | closed | no session | required | refused | limit | unsaid |
//! |-----------|------|------------|------|--------|------------|----------|---------|-------|--------|
//! | user      | now  | held       | now  | held   | held       | held     | never   | now   | now    |
//! | bundle    | now  | held       | now  | held   | held       | held     | never   | now   | never  |
//! | padding   | now  | held       | now  | held   | held       | now      | now     | never | now    |
//! | control   | now  | held       | now  | held   | held       | now      | now     | now   | now    |
//! | keepalive | now  | held       | now  | held   | held       | now      | now     | now   | now    |
//! | handshake | now  | now        | now  | held   | now        | now      | now     | now   | now    |
//! | cookie    | now  | now        | now  | now    | now        | now      | now     | now   | now    |
//!
//! - *open*, *bypassable*, *closed*: the gate, as blocking has it. *slot*: bypassable blocking, in a slot that a padding
//!   action with the bypass flag gives.
//! - *no session*: there is none to seal in.
//! - *required*: a defense is required, and the peer has not said, in a session that is still used, that it runs what was
//!   agreed on. *refused*: the same, and the peer has refused and is not being asked.
//! - *limit*: padding has used up what the user, the device, a budget or an unproven address allows it, the peer has been silent for
//!   too long, or masking keeps it from leaving: see [`padding`](super::padding).
//! - *unsaid*: the peer has not said, in the session that is sealed in, that it takes bundles.
//!
//! A control frame is *not before* an instant that is drawn for each, where it would leave *now*. A cookie
//! reply leaves without a look at any of this: whoever gets one must not learn from it what a peer's machines do.

use std::time::Instant;

use super::Tunnel;
use super::padding::Over;
use crate::defense::{Bypass, Gate};
use crate::masking::Asker;

/// What is about to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// A packet of the user's.
    User,
    /// Several of them in one datagram.
    Bundle,
    /// Padding that machines ask for, now or when it has waited.
    Padding,
    /// A message of the negotiation.
    Control,
    /// A keepalive, bare or a frame.
    Keepalive,
    /// A handshake initiation or response.
    Handshake,
    /// A cookie reply: those are the device's, and never ask.
    #[cfg(test)]
    Cookie,
}

/// When a datagram may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Departure {
    Now,
    /// Not before this instant.
    NotBefore(Instant),
    /// Not until something else happens: the gate opens, a session starts, the peer agrees.
    Held,
    /// Not at all: it is dropped. The limit that padding is over, if it is for that.
    Never(Option<Over>),
}

/// Whether packets of the user's may leave as far as the peer's agreement goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agreement {
    /// None is required, or there is one, which the peer confirmed.
    Free,
    /// One is required and not there, or not confirmed.
    Required,
    /// One is required, and the peer has refused.
    Refused,
}

/// What a decision is made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Circumstances {
    pub(super) gate: Gate,
    /// Whether a padding action gives a slot that passes bypassable blocking.
    pub(super) slot: Bypass,
    pub(super) has_session: bool,
    pub(super) agreement: Agreement,
    /// The limit that more padding would be over.
    pub(super) over: Option<Over>,
    /// Whether the peer has said that it takes bundles.
    pub(super) takes_bundles: bool,
    /// The instant that a control frame waits for.
    pub(super) not_before: Option<Instant>,
}

/// Decides whether a datagram of `class` may leave.
pub(super) fn decide(class: Class, circumstances: Circumstances) -> Departure {
    let Circumstances { gate, slot, has_session, agreement, over, takes_bundles, not_before } = circumstances;
    let is_users = matches!(class, Class::User | Class::Bundle);
    if is_users && agreement == Agreement::Refused {
        return Departure::Never(None);
    }
    if class == Class::Bundle && !takes_bundles {
        return Departure::Never(None);
    }
    if class == Class::Padding && over.is_some() {
        return Departure::Never(over);
    }
    let passes = match (class, gate) {
        #[cfg(test)]
        (Class::Cookie, _) => true,
        (_, Gate::Open) | (Class::Handshake, Gate::Bypassable) => true,
        (_, Gate::Closed) => false,
        (_, Gate::Bypassable) => slot == Bypass::Yes,
    };
    let is_in_session =
        matches!(class, Class::User | Class::Bundle | Class::Padding | Class::Control | Class::Keepalive);
    let is_held = !passes || (is_in_session && !has_session) || (is_users && agreement == Agreement::Required);
    match not_before.filter(|_| class == Class::Control) {
        _ if is_held => Departure::Held,
        Some(at) => Departure::NotBefore(at),
        None => Departure::Now,
    }
}

impl Tunnel {
    /// Decides whether a datagram of `class` may leave at `now`.
    pub(super) fn departure(&self, class: Class, now: Instant) -> Departure {
        self.departure_in(Bypass::No, class, now)
    }

    /// Decides the same where a padding action gives a slot, which passes bypassable blocking or does not.
    pub(super) fn departure_in(&self, slot: Bypass, class: Class, now: Instant) -> Departure {
        if class == Class::Padding {
            return self.padding_departure(Asker::Machines, slot, now);
        }
        let not_before = self.control_at().filter(|at| class == Class::Control && *at > now);
        decide(class, Circumstances { slot, not_before, ..self.circumstances() })
    }

    /// Decides the same of padding that this one asks for.
    pub(super) fn padding_departure(&self, asker: Asker, slot: Bypass, now: Instant) -> Departure {
        let over = self.padding_over(asker, now).or(self.silence(now));
        decide(Class::Padding, Circumstances { slot, over, ..self.circumstances() })
    }

    /// Tells whether a datagram of `class` may leave now as far as no limit nor instant of its own is concerned.
    pub(super) fn may_pass(&self, class: Class) -> bool {
        self.may_pass_in(Bypass::No, class)
    }

    /// Tells the same for a slot of that kind.
    pub(super) fn may_pass_in(&self, slot: Bypass, class: Class) -> bool {
        decide(class, Circumstances { slot, ..self.circumstances() }) == Departure::Now
    }

    fn circumstances(&self) -> Circumstances {
        Circumstances {
            gate: self.gate(),
            slot: Bypass::No,
            has_session: self.sessions.is_in_use(),
            agreement: self.agreement(),
            over: None,
            takes_bundles: self.peer_takes_bundles(),
            not_before: None,
        }
    }

    /// Tells whether a datagram of `class` may leave now.
    pub(super) fn may_leave(&self, class: Class, now: Instant) -> bool {
        self.departure(class, now) == Departure::Now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: [(&str, Class); 7] = [
        ("user", Class::User),
        ("bundle", Class::Bundle),
        ("padding", Class::Padding),
        ("control", Class::Control),
        ("keepalive", Class::Keepalive),
        ("handshake", Class::Handshake),
        ("cookie", Class::Cookie),
    ];

    /// Reads the table of this module's documentation: the cells of each class.
    fn table() -> Vec<(Class, [Departure; 9])> {
        let lines = include_str!("departure.rs").lines().filter_map(|line| line.strip_prefix("//! | "));
        let rows = lines.map(|line| line.split('|').map(str::trim).collect::<Vec<_>>());
        let cell = |text: &str| match text {
            "now" => Departure::Now,
            "held" => Departure::Held,
            "never" => Departure::Never(None),
            other => panic!("{other}"),
        };
        let read = |row: Vec<&str>| {
            let (_, class) = *CLASSES.iter().find(|(name, _)| *name == row[0])?;
            Some((class, std::array::from_fn(|column| cell(row[column + 1]))))
        };
        rows.filter_map(read).collect()
    }

    fn strictness(departure: Departure) -> u8 {
        match departure {
            Departure::Now | Departure::NotBefore(_) => 0,
            Departure::Held => 1,
            Departure::Never(_) => 2,
        }
    }

    #[test]
    fn the_decision_is_the_strictest_cell_of_the_table_that_holds() {
        let (table, now) = (table(), Instant::now());
        assert_eq!(table.iter().map(|(class, _)| *class).collect::<Vec<_>>(), CLASSES.map(|(_, class)| class));
        let gates = [(Gate::Open, Bypass::No, 0), (Gate::Open, Bypass::Yes, 0), (Gate::Bypassable, Bypass::No, 1)]
            .into_iter()
            .chain([(Gate::Bypassable, Bypass::Yes, 2), (Gate::Closed, Bypass::No, 3), (Gate::Closed, Bypass::Yes, 3)]);
        let mut decided = 0;
        for (gate, slot, column) in gates {
            for case in 0..24 {
                let (has_session, over) = (case & 1 == 0, (case & 2 == 0).then_some(Over::Rate));
                let takes_bundles = case & 4 == 0;
                let agreement = [Agreement::Free, Agreement::Required, Agreement::Refused][case / 8];
                let mut columns = vec![column];
                columns.extend((!has_session).then_some(4));
                columns.extend((agreement != Agreement::Free).then_some(5));
                columns.extend((agreement == Agreement::Refused).then_some(6));
                columns.extend(over.map(|_| 7));
                columns.extend((!takes_bundles).then_some(8));
                for (class, cells) in &table {
                    let strictest = columns.iter().map(|column| strictness(cells[*column])).max();
                    for not_before in [None, Some(now)] {
                        let circumstances =
                            Circumstances { gate, slot, has_session, agreement, over, takes_bundles, not_before };
                        let departure = decide(*class, circumstances);
                        assert_eq!(Some(strictness(departure)), strictest, "{class:?}, {circumstances:?}");
                        decided += 1;
                    }
                }
            }
        }
        assert_eq!(decided, 6 * 24 * 7 * 2);
    }

    #[test]
    fn a_control_frame_that_may_leave_waits_for_its_instant() {
        let now = Instant::now();
        let open = Circumstances {
            gate: Gate::Open,
            slot: Bypass::No,
            has_session: true,
            agreement: Agreement::Refused,
            over: Some(Over::Frac),
            takes_bundles: true,
            not_before: Some(now),
        };
        assert_eq!(decide(Class::Control, open), Departure::NotBefore(now));
        assert_eq!(decide(Class::Keepalive, open), Departure::Now);
        assert_eq!(decide(Class::Control, Circumstances { gate: Gate::Closed, ..open }), Departure::Held);
        assert_eq!(decide(Class::Padding, open), Departure::Never(Some(Over::Frac)));
    }
}

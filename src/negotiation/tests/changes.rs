//! Ends that are given other settings, and what they say of what they ran until then.

use super::*;

impl World {
    /// Gives an end other settings: it agrees anew.
    pub(super) fn apply(&mut self, end: usize) {
        let now = self.start + self.now;
        let mut other = negotiation(end, Arc::clone(&self.draws[end]));
        other.succeed(&self.ends[end], now, &mut self.rng);
        other.session_started(now, &mut self.rng);
        self.ends[end] = other;
        self.is_closed[end] = false;
        self.collect();
    }

    /// Gives an end settings under which it agrees on nothing.
    pub(super) fn close(&mut self, end: usize) {
        self.ends[end].close(self.start + self.now, &mut self.rng);
        self.is_closed[end] = true;
        self.collect();
    }

    fn tell_relay(&mut self, message: &Message) {
        let mut body = Vec::new();
        message.encode(&mut body);
        self.ends[1].receive(&body, true, self.start + self.now, &mut self.rng);
        self.collect();
    }

    /// Takes the messages under way that are like this away, and returns them.
    fn withhold(&mut self, is_meant: impl Fn(&Message) -> bool) -> Vec<Message> {
        let decoded = |flight: &Flight| Message::decode(&flight.0.4).unwrap();
        let (withheld, left): (Vec<_>, Vec<_>) = self.network.drain().partition(|flight| is_meant(&decoded(flight)));
        self.network.extend(left);
        withheld.iter().map(decoded).collect()
    }
}

#[test]
fn a_stop_of_an_older_run_of_the_same_number_ends_nothing() {
    let mut world = World::settled(FAIR, 100);
    let before = world.ends[1].agreed().unwrap().proof();
    world.restart(0);
    // The relay's word of what it ran is late.
    let late = world.withhold(|message| matches!(message, Message::Start(_)));
    assert_eq!(late, [Message::Start(before)]);
    world.pass(Duration::from_secs(1));
    world.assert_agreed();
    assert_eq!(world.ends[0].agreed().unwrap().epoch, before.epoch(), "both counted from 1");
    tell_client(&mut world, &late[0]);
    world.pass(Duration::from_secs(1));
    world.assert_agreed();
    assert_eq!([world.ends[0].is_confirmed(), world.ends[1].is_confirmed()], [true, true]);
    for reason in [Reason::Unknown, Reason::Requested, Reason::Unanswered] {
        world.tell_relay(&Message::Stop(Stop::of(before, reason)));
        tell_client(&mut world, &Message::Stop(Stop::of(before, reason)));
        world.pass(Duration::from_secs(1));
        world.assert_agreed();
    }
    assert_eq!(world.runs(1), 2);
}

#[test]
fn a_stop_of_an_older_version_names_the_number_alone() {
    for end in [0, 1] {
        let mut world = World::settled(FAIR, 101);
        let stop = Message::Stop(Stop::new(1, Reason::Unknown));
        match end {
            0 => tell_client(&mut world, &stop),
            _ => world.tell_relay(&stop),
        }
        assert!(world.ends[end].agreed().is_none());
        assert_eq!(world.reasons(end), [Reason::Unknown]);
    }
}

#[test]
fn a_relay_with_other_settings_is_called_as_soon_as_its_client_hears_of_it() {
    let mut world = World::settled(FAIR, 102);
    world.apply(1);
    world.pass(Duration::from_millis(200));
    world.assert_agreed();
    assert_eq!(world.reasons(0), [Reason::Unknown]);

    // It is said until the client has heard it.
    let mut world = World::settled(FAIR, 103);
    world.weather = Weather { lost: 255, ..FAIR };
    world.apply(1);
    world.pass(Duration::from_secs(6));
    world.weather = FAIR;
    world.pass(Duration::from_secs(11));
    world.assert_agreed();
    world.network.clear();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.runs(1), 2, "and not after");
}

#[test]
fn a_client_with_other_settings_calls_at_once_under_the_next_number() {
    let mut world = World::settled(FAIR, 104);
    world.apply(0);
    world.pass(Duration::from_millis(200));
    world.assert_agreed();
    assert_eq!(world.ends[0].agreed().unwrap().epoch, 2);
    assert_eq!(world.reasons(1), [Reason::Unknown], "the relay knows that its client runs it no more");
}

#[test]
fn who_agrees_on_nothing_any_more_says_so_until_it_is_heard() {
    for end in [0, 1] {
        let mut world = World::settled(FAIR, 105);
        world.weather = Weather { lost: 255, ..FAIR };
        world.close(end);
        world.pass(Duration::from_secs(6));
        assert!(!world.ends[end].is_over() && world.ends[1 - end].agreed().is_some());
        world.weather = FAIR;
        world.pass(Duration::from_secs(11));
        assert_eq!(world.reasons(1 - end), [Reason::Requested]);
        assert!(world.ends[end].is_over());
        assert_eq!(world.reasons(end), [], "its owner runs something else");
    }
}

#[test]
fn what_nobody_hears_is_said_seven_times() {
    for end in [0, 1] {
        let mut world = World::settled(FAIR, 106);
        world.weather = Weather { lost: 255, ..FAIR };
        world.close(end);
        world.pass(Duration::from_secs(55));
        assert!(world.ends[end].is_over());
    }
}

#[test]
fn a_relay_that_agrees_on_nothing_refuses_who_calls() {
    let mut world = World::settled(FAIR, 107);
    world.close(1);
    // Its word is lost, and its client calls for another reason.
    world.network.clear();
    world.ends[0].renew(world.start + world.now, &mut world.rng).unwrap();
    world.collect();
    world.pass(Duration::from_secs(12));
    assert_eq!(world.agreed(), [None, None]);
    assert_eq!(world.reasons(0), [Reason::Requested]);
    // It may be told to agree again before anybody heard that it did not.
    let mut world = World::settled(FAIR, 108);
    world.close(1);
    world.network.clear();
    world.apply(1);
    world.pass(Duration::from_millis(200));
    world.assert_agreed();
}

#[test]
fn a_word_that_the_client_wanted_none_does_not_end_what_it_wants_now() {
    let mut world = World::settled(FAIR, 109);
    world.close(0);
    let late = world.withhold(|message| matches!(message, Message::Stop(_)));
    assert_eq!(late.len(), 1);
    world.apply(0);
    world.pass(Duration::from_millis(200));
    world.assert_agreed();
    let now = world.agreed();
    world.tell_relay(&late[0]);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.agreed(), now);
}

#[test]
fn a_client_that_wants_none_ends_what_the_relay_runs_by_whatever_it_knows() {
    // What it runs; what it runs while it calls; what it has drawn and the relay has not; what the relay has started already.
    for delivered in 0..=4 {
        let mut world = World::settled(FAIR, 110);
        world.ends[0].renew(world.start + world.now, &mut world.rng).unwrap();
        world.collect();
        for _ in 0..delivered {
            let Reverse((_, _, to, _, body)) = world.network.pop().unwrap();
            world.ends[to].receive(&body, true, world.start + world.now, &mut world.rng);
            world.collect();
        }
        world.network.clear();
        world.close(0);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.agreed(), [None, None], "after {delivered} messages");
        assert_eq!(world.reasons(1), [Reason::Requested]);
        assert!(world.ends[0].is_over());
    }
}

#[test]
fn a_client_asks_at_once_where_the_relay_says_that_it_runs_nothing() {
    let mut world = World::settled(FAIR, 111);
    // The relay was started anew, and its first word comes alone.
    world.ends[1] = negotiation(1, Arc::clone(&world.draws[1]));
    tell_client(&mut world, &Message::Stop(Stop::new(NO_EPOCH, Reason::Unknown)));
    assert!(!world.ends[0].is_confirmed());
    world.pass(Duration::from_secs(1));
    world.assert_agreed();

    // One that runs it says so, however often it says other things.
    let mut world = World::settled(FAIR, 112);
    for _ in 0..100 {
        tell_client(&mut world, &Message::Stop(Stop::new(NO_EPOCH, Reason::Unknown)));
    }
    assert_eq!(world.network.len(), 1, "one question");
    world.pass(Duration::from_secs(1));
    assert!(world.ends[0].is_confirmed());
    assert_eq!([world.runs(0), world.runs(1)], [1, 1]);
}

#[test]
fn another_key_at_both_ends_is_agreed_under_at_once() {
    for first in [0, 1] {
        let mut world = World::new(FAIR, 113);
        let key = PresharedKey::from_bytes(&[9; 32]);
        let give = |world: &mut World, end: usize| {
            let now = world.start + world.now;
            world.ends[end].set_keys(private_key(end), Some(key.clone()), now, &mut world.rng);
            world.collect();
        };
        give(&mut world, first);
        world.pass(Duration::from_secs(11));
        assert_eq!(world.agreed(), [None, None], "under different keys");
        give(&mut world, 1 - first);
        world.pass(Duration::from_secs(11));
        world.assert_agreed();
    }
}

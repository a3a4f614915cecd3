//! When an end knows, of this session, that the other runs what was agreed on.

use super::*;

impl World {
    fn assured(&self) -> [bool; 2] {
        self.ends.each_ref().map(Negotiation::is_assured)
    }

    /// Hands the next message to its end, now; returns which end that is.
    fn deliver(&mut self) -> usize {
        let Reverse((_, _, to, session, body)) = self.network.pop().expect("a message is under way");
        self.ends[to].receive(&body, session == self.sessions, self.start + self.now, &mut self.rng);
        self.collect();
        to
    }

    fn renew(&mut self) {
        self.ends[0].renew(self.start + self.now, &mut self.rng).unwrap();
        self.collect();
    }

    /// Returns a world whose ends agreed, and have heard so.
    fn agreed_one(seed: u64) -> Self {
        let mut world = Self::new(FAIR, seed);
        // So long that the relay takes the next call.
        world.pass(Duration::from_secs(1));
        assert_eq!(world.assured(), [true, true]);
        world
    }
}

#[test]
fn the_client_is_assured_with_start_and_the_relay_with_started() {
    let mut world = World::new(FAIR, 40);
    // What the relay says to a client that it does not know is of no interest.
    world.network.retain(|Reverse((_, _, to, ..))| *to == 1);
    let mut seen = Vec::new();
    while !world.network.is_empty() {
        let to = world.deliver();
        seen.push((to, world.assured()));
    }
    let expected = [
        // Hello, answer, ready.
        (1, [false, false]),
        (0, [false, false]),
        (1, [false, false]),
        // Start, started.
        (0, [true, false]),
        (1, [true, true]),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_new_session_ends_it_until_the_other_has_said_so_again() {
    let mut world = World::agreed_one(41);
    world.begin_session();
    assert_eq!(world.assured(), [false, false]);
    assert!(world.ends.iter().all(|end| end.agreed().is_some()), "the agreement itself goes on");
    world.pass(Duration::from_millis(200));
    assert_eq!(world.assured(), [true, true]);
}

#[test]
fn what_the_other_said_in_an_older_session_assures_nobody() {
    let mut world = World::agreed_one(42);
    world.begin_session();
    let late = std::mem::take(&mut world.network);
    assert_eq!(late.len(), 2, "start and started");
    world.begin_session();
    world.network = late;
    let malformed = world.ends.each_ref().map(Negotiation::malformed);
    while !world.network.is_empty() {
        world.deliver();
    }
    assert_eq!(world.assured(), [false, false]);
    assert!(!world.ends[0].is_confirmed() && !world.ends[1].is_confirmed());
    assert_eq!(world.ends.each_ref().map(Negotiation::malformed), malformed, "nothing is wrong with it");
}

#[test]
fn what_waited_for_the_session_before_is_not_said_in_the_new_one() {
    let mut world = World::agreed_one(43);
    world.holds = [false, true];
    world.begin_session();
    world.network.clear();
    // The relay's start waits while the relay ends what it says to run, and a session begins.
    world.ends[1].stop(world.start + world.now, &mut world.rng);
    world.begin_session();
    world.network.clear();
    world.holds = [false; 2];
    world.collect();
    while world.network.iter().any(|Reverse((_, _, to, ..))| *to == 0) {
        world.deliver();
    }
    assert!(!world.ends[0].is_assured());
}

#[test]
fn a_renewal_of_what_was_assured_leaves_both_assured() {
    let mut world = World::agreed_one(44);
    world.renew();
    let mut confirmed = Vec::new();
    while !world.network.is_empty() {
        world.deliver();
        assert_eq!(world.assured(), [true, true]);
        confirmed.push(world.ends[1].is_confirmed());
    }
    assert_eq!(confirmed, [true, true, false, false, true], "the relay waits for the client's started");
}

#[test]
fn a_renewal_of_what_was_not_assured_assures_nobody_before_its_time() {
    let mut world = World::agreed_one(45);
    world.begin_session();
    // What both say of the first epoch is lost.
    world.network.clear();
    world.renew();
    let mut seen = Vec::new();
    while !world.network.is_empty() {
        world.deliver();
        seen.push(world.assured());
    }
    assert_eq!(seen, [[false, false], [false, false], [false, false], [true, false], [true, true]]);
}

#[test]
fn a_session_amid_a_renewal_forgets_what_the_epoch_before_assured() {
    let mut world = World::agreed_one(46);
    world.renew();
    // Hello, answer, ready: the relay runs the next epoch, the client the last one.
    (0..3).for_each(|_| _ = world.deliver());
    world.network.clear();
    world.begin_session();
    assert_eq!(world.assured(), [false, false]);
    world.pass(Duration::from_secs(30));
    assert_eq!(world.assured(), [true, true]);
    world.assert_agreed();
}

#[test]
fn who_loses_the_agreement_is_not_assured() {
    let mut world = World::agreed_one(47);
    world.ends[0].stop(world.start + world.now, &mut world.rng);
    world.collect();
    assert_eq!(world.assured(), [false, true]);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.assured(), [false, false]);

    let mut world = World::agreed_one(48);
    world.weather = Weather { lost: 255, ..FAIR };
    world.ends[1].stop(world.start + world.now, &mut world.rng);
    world.collect();
    assert_eq!(world.assured(), [true, false]);
    world.pass(Duration::from_secs(180));
    assert_eq!(world.assured(), [false, false], "in the next session nobody says anything");
}

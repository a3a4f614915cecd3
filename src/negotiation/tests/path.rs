//! The proof of a path: a challenge and its echo.

use super::*;
use crate::negotiation::path::Token;

impl World {
    fn prove_path(&mut self, end: usize) -> bool {
        let is_asked = self.ends[end].prove_path(self.start + self.now, &mut self.rng);
        self.collect();
        is_asked
    }

    fn proofs(&self, end: usize) -> usize {
        self.events[end].iter().filter(|event| matches!(event, Event::PathProven)).count()
    }

    fn tell(&mut self, end: usize, message: &Message) {
        let mut body = Vec::new();
        message.encode(&mut body);
        self.ends[end].receive(&body, true, self.start + self.now, &mut self.rng);
    }

    /// What is under way to an end.
    fn under_way(&self, end: usize) -> Vec<Message> {
        let bodies = self.network.iter().filter(|Reverse((_, _, to, ..))| *to == end);
        bodies.map(|Reverse((.., body))| Message::decode(body).unwrap()).collect()
    }

    /// Returns a world whose ends agreed a second ago.
    pub(super) fn settled(weather: Weather, seed: u64) -> Self {
        let mut world = Self::new(FAIR, seed);
        world.pass(Duration::from_secs(1));
        world.assert_agreed();
        world.weather = weather;
        world
    }
}

#[test]
fn either_end_proves_the_path_to_the_other_once() {
    for end in [0, 1] {
        let mut world = World::settled(FAIR, 60);
        assert!(world.prove_path(end));
        assert!(world.ends[end].is_proving_path());
        world.pass(Duration::from_secs(60));
        assert_eq!([world.proofs(end), world.proofs(1 - end)], [1, 0]);
        assert!(!world.ends[end].is_proving_path());
    }
}

#[test]
fn a_challenge_is_sent_again_and_comes_through_a_bad_network() {
    let mut proven = 0;
    for seed in 0..40 {
        let mut world = World::settled(Weather { lost: 80, twice: 80, slowest: 500 }, seed);
        world.prove_path(0);
        world.pass(Duration::from_secs(30));
        proven += world.proofs(0);
    }
    // Of five tries in that time each comes back with a probability of 0.47.
    assert!((35..=40).contains(&proven), "{proven} of 40");
}

#[test]
fn a_challenge_that_is_never_answered_ends() {
    let mut world = World::settled(Weather { lost: 255, ..FAIR }, 61);
    world.prove_path(1);
    world.pass(Duration::from_secs(30));
    assert!(world.ends[1].is_proving_path());
    world.pass(Duration::from_secs(25));
    assert_eq!((world.proofs(1), world.ends[1].is_proving_path()), (0, false));
}

#[test]
fn the_echo_of_an_older_challenge_and_a_wrong_token_prove_nothing() {
    let mut world = World::settled(FAIR, 62);
    world.prove_path(1);
    let [Message::Challenge(older)] = world.under_way(0)[..] else { panic!("one challenge") };
    world.network.clear();
    // The newer one waits until the older would be said again.
    world.prove_path(1);
    let since = world.now;
    while world.under_way(0).is_empty() {
        world.pass(Duration::from_millis(1));
    }
    assert!(world.now - since > Duration::from_millis(700), "{:?}", world.now - since);
    let [Message::Challenge(newer)] = world.under_way(0)[..] else { panic!("one challenge") };
    world.network.clear();
    assert_ne!(older, newer);
    for wrong in [older, Token::new([0; 16])] {
        world.tell(1, &Message::Echo(wrong));
        world.collect();
        assert_eq!(world.proofs(1), 0);
    }
    world.tell(1, &Message::Echo(newer));
    world.collect();
    assert_eq!(world.proofs(1), 1);
    // Nor does the same twice.
    world.tell(1, &Message::Echo(newer));
    world.collect();
    assert_eq!(world.proofs(1), 1);
}

#[test]
fn what_is_forgotten_is_neither_sent_nor_proven() {
    let mut world = World::settled(FAIR, 63);
    world.holds = [false, true];
    world.prove_path(1);
    world.ends[1].forget_path();
    world.holds = [false; 2];
    world.collect();
    assert_eq!(world.under_way(0), []);
    world.prove_path(1);
    world.ends[1].forget_path();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.proofs(1), 0);
}

#[test]
fn a_challenge_of_a_later_place_takes_that_of_an_earlier_one_out_of_the_queue() {
    let mut world = World::settled(FAIR, 64);
    world.holds = [false, true];
    (0..20).for_each(|_| assert!(world.prove_path(1)));
    world.holds = [false; 2];
    world.collect();
    assert_eq!(world.under_way(0).len(), 1);
    world.pass(Duration::from_millis(100));
    assert_eq!(world.proofs(1), 1);
}

#[test]
fn nothing_is_asked_without_an_agreement_or_of_a_peer_that_does_not_know_it() {
    let mut world = World::new(FAIR, 65);
    assert!(!world.prove_path(0) && !world.prove_path(1));

    let mut world = World::new(FAIR, 66);
    world.ends[1].common.config.capabilities = Capabilities::BUNDLES;
    world.pass(Duration::from_secs(1));
    world.assert_agreed();
    assert!(!world.prove_path(0) && !world.prove_path(1));
    assert!(world.network.is_empty());

    let mut world = World::settled(Weather { lost: 255, ..FAIR }, 67);
    assert!(world.prove_path(0));
    world.ends[0].stop(world.start + world.now, &mut world.rng);
    world.pass(Duration::from_secs(5));
    assert!(!world.ends[0].is_proving_path(), "with the agreement the question ends");
}

#[test]
fn a_flood_of_challenges_has_one_answer_waiting_that_crowds_out_nothing() {
    for end in [0, 1] {
        let mut world = World::settled(FAIR, 68);
        world.network.clear();
        world.holds[end] = true;
        world.ends[end].session_started(world.start + world.now, &mut world.rng);
        for number in 0..10_000_u32 {
            let mut token = [0; 16];
            token[..4].copy_from_slice(&number.to_be_bytes());
            world.tell(end, &Message::Challenge(Token::new(token)));
            assert_eq!(world.ends[end].common.messages.len(), 2);
        }
        world.holds[end] = false;
        world.collect();
        let answers = world.under_way(1 - end);
        let mut token = [0; 16];
        token[..4].copy_from_slice(&9_999_u32.to_be_bytes());
        assert!(answers.contains(&Message::Echo(Token::new(token))), "{answers:?}");
        assert_eq!(answers.len(), 2, "with what it runs: {answers:?}");
        assert_eq!(world.ends[end].malformed(), 0);
    }
}

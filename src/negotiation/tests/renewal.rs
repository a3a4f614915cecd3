//! A renewal that the relay asks for, and how often a relay's word has any effect.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::negotiation::message::Renew;
use crate::negotiation::renewal::WORD_PAUSE;

impl World {
    fn renew_at_relay(&mut self) -> Result<(), RenewError> {
        let result = self.ends[1].renew(self.start + self.now, &mut self.rng);
        self.collect();
        result
    }
}

#[test]
fn the_relay_has_both_agree_anew() {
    let mut world = World::new(FAIR, 80);
    world.pass(Duration::from_secs(1));
    let [before, _] = world.agreed();
    assert_eq!(world.renew_at_relay(), Ok(()));
    world.pass(Duration::from_secs(1));
    world.assert_agreed();
    assert_ne!(world.agreed()[0], before);
    assert_eq!([world.runs(0), world.runs(1)], [2, 2]);
    assert_eq!([world.reasons(0), world.reasons(1)], [vec![], vec![]], "without a gap");
    // Once asked for, it is not asked for again.
    world.pass(Duration::from_secs(120));
    assert_eq!([world.runs(0), world.runs(1)], [2, 2]);
}

#[test]
fn the_relays_wish_is_said_again_until_the_client_hears_it() {
    let mut renewed = 0;
    for seed in 0..20 {
        let mut world = World::new(FAIR, seed);
        world.pass(Duration::from_secs(1));
        world.weather = Weather { lost: 255, ..FAIR };
        assert_eq!(world.renew_at_relay(), Ok(()));
        world.pass(Duration::from_secs(10));
        assert_eq!(world.runs(0), 1);
        world.weather = FAIR;
        world.pass(Duration::from_secs(12));
        renewed += world.runs(0) - 1;
        world.assert_agreed();
    }
    assert_eq!(renewed, 20);
}

#[test]
fn a_wish_that_nobody_hears_ends() {
    let mut world = World::new(FAIR, 81);
    world.pass(Duration::from_secs(1));
    world.weather = Weather { lost: 255, ..FAIR };
    assert_eq!(world.renew_at_relay(), Ok(()));
    world.pass(Duration::from_secs(55));
    world.weather = FAIR;
    world.pass(Duration::from_secs(60));
    assert_eq!(world.runs(0), 1);
    // Now it is heard.
    assert_eq!(world.renew_at_relay(), Ok(()));
    world.pass(Duration::from_secs(1));
    assert_eq!(world.runs(0), 2);
}

#[test]
fn a_relay_that_cannot_have_it_is_told_why() {
    let mut world = World::new(FAIR, 82);
    assert_eq!(world.renew_at_relay(), Err(RenewError::NothingAgreed));

    let mut world = World::new(FAIR, 83);
    // A hello is under way that says what the client can do: the client that said it is of an older version.
    world.ends[0] = negotiation(0, Arc::clone(&world.draws[0]));
    world.ends[0].common.config.capabilities = Capabilities::BUNDLES;
    world.network.clear();
    world.begin_session();
    world.pass(Duration::from_secs(1));
    world.assert_agreed();
    assert_eq!(world.renew_at_relay(), Err(RenewError::Unsupported));
    assert!(world.network.is_empty());
}

/// A client whose draws are counted, and the relay that it talks to; the relay's part is played: what it says comes at once.
fn counted(seed: u64) -> (World, Arc<AtomicU32>) {
    let draws = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&draws);
    let counting: Draw = Arc::new(move |seed, choice| {
        counted.fetch_add(1, Ordering::Relaxed);
        from_defense_stream(seed, choice)
    });
    let mut world = World::with_draws(FAIR, seed, [counting, Arc::new(from_defense_stream)]);
    world.pass(Duration::from_secs(1));
    world.assert_agreed();
    draws.store(0, Ordering::Relaxed);
    (world, draws)
}

#[test]
fn a_relay_that_never_has_enough_is_obeyed_once_in_ten_seconds() {
    let (mut world, draws) = counted(84);
    let pause = u32::try_from(WORD_PAUSE.as_secs()).unwrap();
    for _ in 0..100 * 10 {
        let epoch = world.ends[0].agreed().map_or(0, |agreed| agreed.epoch);
        tell_client(&mut world, &Message::Renew(Renew { epoch }));
        world.ends[0].traffic(world.start + world.now, &mut world.rng);
        world.collect();
        world.pass(Duration::from_millis(100));
    }
    let draws = draws.load(Ordering::Relaxed);
    assert!((100 / pause - 1..=100 / pause + 1).contains(&draws), "{draws} seeds in 100 s");
}

#[test]
fn a_relay_that_forgets_what_it_agreed_on_again_and_again_is_called_once_in_ten_seconds() {
    let (mut world, draws) = counted(85);
    let stop = |epoch, reason| Message::Stop(Stop::new(epoch, reason));
    for turn in 0..100 * 10 {
        if let Some(epoch) = world.ends[0].agreed().map(|agreed| agreed.epoch) {
            // Said at once, or only that it may be called again.
            let reason = if turn % 2 == 0 { Reason::Unknown } else { Reason::Requested };
            world.ends[1].stop(world.start + world.now, &mut world.rng);
            tell_client(&mut world, &stop(epoch, reason));
        }
        tell_client(&mut world, &stop(NO_EPOCH, Reason::Unknown));
        world.pass(Duration::from_millis(100));
    }
    let draws = draws.load(Ordering::Relaxed);
    assert!((8..=11).contains(&draws), "{draws} seeds in 100 s");
    assert!(world.runs(0) + world.reasons(0).len() < 30, "events are the user's log");
}

#[test]
fn a_client_derives_no_more_than_its_rate_allows() {
    let (mut world, draws) = counted(86);
    // Each hello is answered at once, and each ready by a relay that knows nothing of it, so that the client calls again.
    world.ends[0].renew(world.start + world.now, &mut world.rng).unwrap();
    world.collect();
    for millisecond in 0..10_000 {
        let under_way = std::mem::take(&mut world.network);
        for Reverse((_, _, to, _, body)) in under_way {
            let message = Message::decode(&body).unwrap();
            if let (1, Message::Hello(hello)) = (to, &message) {
                tell_client(&mut world, &answer(hello));
            } else if let (1, Message::Ready(ready)) = (to, &message) {
                tell_client(&mut world, &Message::Stop(Stop::new(ready.proof.epoch(), Reason::Unknown)));
            }
        }
        if millisecond % 100 == 0 {
            world.ends[0].renew(world.start + world.now, &mut world.rng).unwrap();
            world.collect();
        }
        world.pass(Duration::from_millis(1));
    }
    let draws = draws.load(Ordering::Relaxed);
    assert!((5..=20).contains(&draws), "{draws} seeds in 10 s");
}

fn answer(hello: &message::Hello) -> Message {
    Message::Answer(message::Answer {
        epoch: hello.epoch,
        version: VERSION,
        hello: hello.nonce,
        nonce: [1; 32],
        capabilities: hello.capabilities,
        choice: hello.choice,
        mtu: None,
    })
}

#[test]
fn a_wish_for_another_epoch_has_no_effect() {
    let (mut world, draws) = counted(87);
    let epoch = world.ends[0].agreed().unwrap().epoch;
    for other in [0, epoch - 1, epoch + 1, u32::MAX] {
        tell_client(&mut world, &Message::Renew(Renew { epoch: other }));
    }
    world.pass(Duration::from_secs(60));
    assert_eq!(draws.load(Ordering::Relaxed), 0);
    assert!(world.ends.iter().all(|end| end.malformed() == 0));
}

#[test]
fn what_only_a_relay_says_is_counted_at_a_relay() {
    let mut world = World::new(FAIR, 88);
    world.pass(Duration::from_secs(1));
    let mut body = Vec::new();
    Message::Renew(Renew { epoch: 1 }).encode(&mut body);
    world.ends[1].receive(&body, true, world.start + world.now, &mut world.rng);
    assert_eq!(world.ends[1].malformed(), 1);
}

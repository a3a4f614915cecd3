//! Two ends and the way between them: what passes, what is lost, and what liars say of it.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::*;

const FULL: usize = 1_420;

/// Time that a frame takes.
const DELAY: Duration = Duration::from_millis(30);

/// Two ends that answer probes, and a way that takes plaintexts of so many bytes each way.
struct World {
    ends: [PathSize; 2],
    link: [usize; 2],
    now: Instant,
    /// What is under way: when it arrives, at which end, what.
    flying: Vec<(Instant, usize, PathFrame)>,
    rng: ChaCha20Rng,
    /// Of a hundred frames, so many are lost.
    loss: u32,
    sent: usize,
}

impl World {
    fn new(link: [usize; 2], loss: u32, seed: u64) -> Self {
        let mut world = Self {
            ends: Default::default(),
            link,
            now: Instant::now(),
            flying: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(seed),
            loss,
            sent: 0,
        };
        for end in &mut world.ends {
            // As the link of an Ethernet would have it.
            end.take_hint(FULL + 20, FLOOR, FULL, world.now);
        }
        world
    }

    fn agree(&mut self) {
        self.ends.iter_mut().for_each(|end| end.set_can_probe(true, FULL));
    }

    fn hint(&mut self, end: usize, hint: usize) {
        self.ends[end].take_hint(hint, FLOOR, FULL, self.now);
    }

    /// Lets time pass; there is traffic all along.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(10);
            for index in 0..2 {
                let arrived = self.flying.extract_if(.., |(at, to, _)| *to == index && *at <= self.now);
                for (_, _, frame) in Vec::from_iter(arrived) {
                    assert!(self.ends[index].receive(&frame.body, frame.size, FULL, self.now));
                }
                let end = &mut self.ends[index];
                end.traffic(FULL, self.now);
                end.handle_timeout(FULL, self.now);
                while let Some(frame) = end.next_frame(FULL, self.now, &mut self.rng) {
                    self.sent += 1;
                    let is_lost = self.rng.next_u32() % 100 < self.loss;
                    if frame.size <= self.link[index] && !is_lost {
                        self.flying.push((self.now + DELAY, 1 - index, frame));
                    }
                }
            }
        }
    }

    fn sizes(&self) -> [usize; 2] {
        [0, 1].map(|end| self.ends[end].in_use(FULL))
    }

    fn are_whole(&self) -> bool {
        self.ends.iter().all(|end| end.leaves_whole(FULL))
    }

    fn are_proven(&self) -> bool {
        self.ends.iter().all(|end| end.is_proven)
    }
}

#[test]
fn a_path_that_takes_the_full_size_is_proven_by_one_probe_each_way() {
    let mut world = World::new([FULL; 2], 0, 1);
    assert!(!world.are_whole());
    world.agree();
    world.pass(Duration::from_secs(60));
    assert_eq!((world.sizes(), world.are_proven(), world.sent), ([FULL; 2], true, 4));
}

#[test]
fn what_the_system_says_is_used_at_both_ends_once_the_full_size_is_lost() {
    for said_to in [0, 1] {
        let mut world = World::new([1_320; 2], 0, 1);
        world.agree();
        world.hint(said_to, 1_320);
        world.pass(Duration::from_secs(8));
        assert_eq!((world.sizes(), world.are_whole()), ([1_320; 2], true));
    }
}

#[test]
fn a_forged_message_changes_nothing_and_costs_a_few_probes() {
    let mut world = World::new([FULL; 2], 0, 1);
    world.agree();
    world.pass(Duration::from_secs(1));
    let before = world.sent;
    for second in 0..60 {
        world.hint(0, 0);
        world.pass(Duration::from_secs(1));
        assert_eq!(world.sizes(), [FULL; 2], "after {second} s");
    }
    assert!(world.are_whole() && world.are_proven() && world.sent - before <= 2 * 6, "{} frames", world.sent - before);
    // Ever smaller ones.
    let before = world.sent;
    for hint in (FLOOR..FULL).rev().take(60) {
        world.hint(0, hint);
        world.pass(Duration::from_secs(2));
        assert_eq!(world.sizes(), [FULL; 2], "{hint}");
    }
    assert!(world.sent - before <= 2 * 60, "{} frames", world.sent - before);
}

#[test]
fn datagrams_are_cut_from_a_contradiction_until_it_is_refuted_and_at_no_other_time() {
    let mut world = World::new([FULL; 2], 0, 1);
    world.agree();
    assert!(world.are_whole(), "as probes do");
    world.pass(Duration::from_secs(1));
    world.hint(0, 1_320);
    assert!(!world.are_whole());
    world.pass(3 * DELAY);
    assert!(world.are_whole());
    world.ends.iter_mut().for_each(|end| end.set_can_probe(false, FULL));
    assert!(!world.are_whole(), "nobody answers any more");
}

#[test]
fn where_not_even_the_floor_fits_the_system_cuts() {
    let mut world = World::new([FLOOR - 80; 2], 0, 1);
    for end in [0, 1] {
        world.hint(end, FLOOR - 80);
    }
    world.agree();
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        assert!(world.ends.iter().all(|end| !end.leaves_whole(FULL)));
    }
    assert_eq!(world.sizes(), [FLOOR; 2]);
}

#[test]
fn a_path_that_narrows_to_what_a_lie_said_is_noticed_all_the_same() {
    let mut world = World::new([FULL; 2], 0, 1);
    world.agree();
    world.hint(0, 1_320);
    world.pass(Duration::from_secs(5));
    assert_eq!((world.sizes(), world.are_whole()), ([FULL; 2], true));
    world.link = [1_320; 2];
    world.pass(RECHECK + Duration::from_secs(8));
    assert_eq!((world.sizes(), world.are_whole()), ([1_320; 2], true));
}

#[test]
fn nobody_says_a_word_and_the_size_is_found_from_the_floor_up() {
    for link in [FLOOR, 1_260, 1_320, 1_412] {
        let mut world = World::new([FULL, link], 0, 1);
        world.agree();
        world.pass(Duration::from_secs(5));
        assert!(world.sizes().iter().all(|size| *size <= link), "{:?} of {link} after 5 s", world.sizes());
        world.pass(Duration::from_secs(25));
        let [one, other] = world.sizes();
        assert!(one == other && one <= link && one + GRAIN > link, "{one} and {other} of {link}");
        assert!(world.are_whole());
    }
}

#[test]
fn a_path_that_widens_is_used_again_within_ten_minutes_of_traffic() {
    let mut world = World::new([1_320; 2], 0, 1);
    world.hint(0, 1_320);
    world.agree();
    world.pass(Duration::from_secs(10));
    assert_eq!(world.sizes(), [1_320; 2]);
    world.link = [FULL; 2];
    world.hint(0, FULL);
    world.pass(RAISE + Duration::from_secs(10));
    assert_eq!((world.sizes(), world.are_whole()), ([FULL; 2], true));
}

#[test]
fn a_peer_that_answers_no_probes_gets_what_the_system_says_and_never_less_than_the_floor() {
    let (mut end, now, mut rng) = (PathSize::default(), Instant::now(), ChaCha20Rng::seed_from_u64(1));
    for (hint, size) in [(1_440, FULL), (1_320, 1_320), (68, FLOOR), (1_412, 1_412), (FULL, FULL)] {
        end.take_hint(hint, FLOOR, FULL, now);
        assert_eq!((end.in_use(FULL), end.leaves_whole(FULL)), (size, false));
        assert_eq!(end.next_frame(FULL, now, &mut rng), None);
    }
}

#[test]
fn a_peer_that_is_gone_makes_nothing_smaller() {
    let mut world = World::new([0; 2], 0, 1);
    world.agree();
    world.pass(Duration::from_secs(60));
    assert_eq!((world.sizes(), world.are_proven()), ([FULL; 2], false));
}

#[test]
fn a_peer_may_ask_for_less_but_not_for_less_than_the_floor() {
    let mut world = World::new([FULL; 2], 0, 1);
    world.agree();
    world.pass(Duration::from_secs(1));
    let frame = |sent: u32, own: u16| {
        let mut body = [ECHO; BODY];
        body[5..9].copy_from_slice(&sent.to_be_bytes());
        body[9..].copy_from_slice(&own.to_be_bytes());
        body
    };
    let now = world.now;
    for (sent, own, size) in [(1_000, 0, FLOOR), (1_001, 1_300, 1_300), (999, 1_250, 1_300), (1_002, u16::MAX, FULL)] {
        assert!(world.ends[0].receive(&frame(sent, own), FULL, FULL, now));
        assert_eq!(world.ends[0].in_use(FULL), size, "{sent}, {own}");
    }
    for bad in [&[][..], &[PROBE; BODY - 1], &[9; BODY]] {
        assert!(!world.ends[0].receive(bad, FULL, FULL, now));
    }
}

#[test]
fn no_probe_is_answered_by_more_than_both_ends_take() {
    let mut world = World::new([FULL; 2], 0, 1);
    world.agree();
    let mut probe = [PROBE; BODY];
    probe[1..5].copy_from_slice(&7_u32.to_be_bytes());
    for (asked, answered) in [(65_475, FULL), (FULL, FULL), (FULL - 1, FULL - 1)] {
        assert!(world.ends[0].receive(&probe, asked, FULL, world.now));
        let echo = world.ends[0].next_frame(FULL, world.now, &mut world.rng).unwrap();
        assert_eq!((echo.body[0], echo.size), (ECHO, answered));
    }
}

#[test]
fn an_idle_tunnel_has_nothing_to_do() {
    let mut world = World::new([1_320; 2], 0, 1);
    world.hint(0, 1_320);
    world.agree();
    world.pass(Duration::from_secs(10));
    assert!(world.ends.iter().all(|end| end.next_timeout().is_none() && !end.owes_echo() && !end.has_probe()));
}

#[test]
fn until_anything_is_proven_an_end_may_ask_in_the_floor_and_the_other_answers_in_kind() {
    let mut world = World::new([1_250; 2], 0, 1);
    world.ends[0].set_careful(true);
    world.ends[1].note_asked_in(FLOOR);
    let asking = |world: &World| [0, 1].map(|end| world.ends[end].size_to_agree_in(FULL));
    assert_eq!((asking(&world), world.sizes()), ([FLOOR; 2], [FULL; 2]));
    // The one that knows of the agreement first is answered by the other.
    world.ends[1].set_can_probe(true, FULL);
    world.pass(Duration::from_secs(6));
    assert_eq!((asking(&world), world.sizes()[0]), ([FLOOR, world.sizes()[1]], FULL));
    world.agree();
    world.pass(Duration::from_secs(30));
    let [one, other] = world.sizes();
    assert!(one == other && (1_250 - GRAIN..=1_250).contains(&one), "{one}, {other}");
    assert_eq!(asking(&world), [one; 2]);
    world.ends[0].set_can_probe(false, FULL);
    assert_eq!(world.sizes()[0], FULL, "nothing is known of the way without the peer");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn in_the_end_both_use_about_what_the_narrower_way_takes(
        links in prop::collection::vec((FLOOR..FULL + 20, FLOOR..FULL + 20), 1..4),
        hints in prop::collection::vec((0..2usize, 0..1_600usize, 0..20_000u64), 0..8),
        loss in 0..10u32,
        seed: u64,
    ) {
        let mut world = World::new([FULL; 2], loss, seed);
        world.agree();
        for (up, down) in links {
            world.link = [up, down];
            world.ends.iter_mut().for_each(PathSize::doubt);
            world.ends.iter_mut().for_each(|end| end.session_started(FULL));
            for (end, hint, pause) in &hints {
                world.hint(*end, *hint);
                world.pass(Duration::from_millis(*pause));
                prop_assert!(world.sizes().iter().all(|size| (FLOOR..=FULL).contains(size)));
            }
        }
        world.loss = 0;
        world.pass(2 * RAISE);
        let [up, down] = world.link;
        let link = up.min(down).min(FULL);
        let [one, other] = world.sizes();
        prop_assert!(one == other && one <= link && one + GRAIN > link, "{one}, {other} of {link}");
    }
}

#[test]
fn no_probe_is_larger_than_what_has_become_of_the_one_size() {
    let (mut path, mut rng, now) = (PathSize::default(), ChaCha20Rng::seed_from_u64(1), Instant::now());
    path.set_can_probe(true, FULL);
    assert_eq!(path.next_frame(FULL, now, &mut rng).unwrap().size, FULL);
    // It is lost; meanwhile the ends have agreed anew, and the peer has a smaller MTU.
    let full = 1_280;
    let mut sizes = Vec::new();
    for second in 1..20 {
        let now = now + Duration::from_secs(second);
        path.handle_timeout(full, now);
        sizes.extend(path.next_frame(full, now, &mut rng).map(|frame| frame.size));
    }
    assert!(!sizes.is_empty() && sizes.iter().all(|size| *size <= full), "{sizes:?}");
}

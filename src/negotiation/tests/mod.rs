//! Both ends over a network that loses, delays, reorders and repeats, in virtual time.

mod assurance;
mod changes;
mod path;
mod renewal;
mod transfer;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use maybetun_machines::{Limits, Side, Strength, Tier};

use super::common::MAX_WAITING;
use super::message::Stop;
use super::*;
use crate::seed::{Nonces, Stream};

/// How often sessions are made anew while both ends talk.
const SESSION: Duration = Duration::from_secs(120);

const CHOICE: Choice = Choice { tier: 0, strength: 1, pool: [7; 32] };

/// What is done to each message on its way.
#[derive(Debug, Clone, Copy)]
struct Weather {
    /// Of 256 messages, so many are lost, and so many come twice.
    lost: u8,
    twice: u8,
    /// The longest way, in milliseconds; the shortest takes one.
    slowest: u64,
}

const FAIR: Weather = Weather { lost: 0, twice: 0, slowest: 20 };

/// A message under way: when it comes, its number, to which end, the number of its session.
type Flight = Reverse<(Duration, u64, usize, u64, Vec<u8>)>;

/// A client and a relay, the network between them, and the time.
struct World {
    ends: [Negotiation; 2],
    network: BinaryHeap<Flight>,
    count: u64,
    weather: Weather,
    start: Instant,
    now: Duration,
    session: Duration,
    /// Number of the newest session.
    sessions: u64,
    /// Whether what an end has to say waits, as while something blocks.
    holds: [bool; 2],
    /// Whether an end was told to agree on nothing.
    is_closed: [bool; 2],
    /// The proofs of what each end ran in this session, at any time.
    ran: [Vec<Proof>; 2],
    rng: ChaCha20Rng,
    events: [Vec<Event>; 2],
    draws: [Draw; 2],
}

fn from_defense_stream(seed: &Seed, choice: Choice) -> Option<Defense> {
    (choice.pool == CHOICE.pool).then(|| numbered(seed.stream(Stream::Defense).next_u32()))
}

/// A defense that differs from others by its limit.
fn numbered(number: u32) -> Defense {
    let limits = Limits { max_actions_per_second: f64::from(1 + number % 1_000_000), ..Limits::default() };
    let side = Side { machines: Vec::new().into(), limits };
    Defense::from_machines("numbered", side.clone(), side).expect("the limit is in its range")
}

fn private_key(end: usize) -> PrivateKey {
    PrivateKey::from_bytes(&[end as u8 + 1; 32]).unwrap()
}

fn negotiation(end: usize, draw: Draw) -> Negotiation {
    with_machines(end, draw, false)
}

fn with_machines(end: usize, draw: Draw, sends_machines: bool) -> Negotiation {
    Negotiation::new(Config {
        role: [Role::Client, Role::Relay][end],
        private_key: private_key(end),
        peer: private_key(1 - end).public_key(),
        preshared_key: None,
        capabilities: Capabilities::BUNDLES.with(Capabilities::PATHS).with(Capabilities::RENEWAL),
        mtu: [1_280, 1_420][end],
        choice: CHOICE,
        masking: None,
        renewal: DEFAULT_RENEWAL,
        draw,
        sends_machines,
    })
}

impl World {
    fn new(weather: Weather, seed: u64) -> Self {
        Self::with_draws(weather, seed, [Arc::new(from_defense_stream), Arc::new(from_defense_stream)])
    }

    fn with_draws(weather: Weather, seed: u64, draws: [Draw; 2]) -> Self {
        let mut world = Self {
            ends: [0, 1].map(|end| negotiation(end, Arc::clone(&draws[end]))),
            network: BinaryHeap::new(),
            count: 0,
            weather,
            start: Instant::now(),
            now: Duration::ZERO,
            session: Duration::ZERO,
            sessions: 0,
            holds: [false; 2],
            is_closed: [false; 2],
            ran: [Vec::new(), Vec::new()],
            rng: ChaCha20Rng::seed_from_u64(seed),
            events: [Vec::new(), Vec::new()],
            draws,
        };
        world.begin_session();
        world
    }

    fn begin_session(&mut self) {
        self.session = self.now;
        self.sessions += 1;
        self.ran = [Vec::new(), Vec::new()];
        for end in &mut self.ends {
            end.session_started(self.start + self.now, &mut self.rng);
        }
        self.collect();
    }

    /// Starts an end anew: it has forgotten everything, and a new session begins.
    fn restart(&mut self, end: usize) {
        self.ends[end] = negotiation(end, Arc::clone(&self.draws[end]));
        self.is_closed[end] = false;
        // What is under way to it was sealed in a session that it has forgotten; what it has sent can still be opened.
        self.network.retain(|Reverse((_, _, to, ..))| *to != end);
        self.begin_session();
    }

    fn collect(&mut self) {
        for end in 0..2 {
            let runs = self.ends[end].agreed().map(Agreed::proof);
            self.ran[end].extend(runs.filter(|runs| !self.ran[end].contains(runs)));
            self.events[end].extend(std::iter::from_fn(|| self.ends[end].poll_event()));
            if self.holds[end] {
                continue;
            }
            let mut body = Vec::new();
            while self.ends[end].poll_message(&mut body) {
                let message = std::mem::take(&mut body);
                let copies = 1 + usize::from(self.happens(self.weather.twice));
                for _ in 0..copies {
                    if !self.happens(self.weather.lost) {
                        let way = Duration::from_millis(1 + self.rng.next_u64() % self.weather.slowest);
                        self.count += 1;
                        let session = self.sessions;
                        self.network.push(Reverse((self.now + way, self.count, 1 - end, session, message.clone())));
                    }
                }
            }
        }
        for end in 0..2 {
            self.assert_assurance_is_true(end);
        }
    }

    /// An end is assured only if the other runs, or did run in this session, the same, or what that replaced here.
    fn assert_assurance_is_true(&self, end: usize) {
        if self.ends[end].is_assured() {
            let mut last = self.ran[end].iter().rev().take(2);
            assert!(last.any(|proof| self.ran[1 - end].contains(proof)), "end {end} is assured of what never ran");
        }
    }

    fn happens(&mut self, of_256: u8) -> bool {
        self.rng.next_u32() as u8 <= of_256 && of_256 > 0
    }

    /// Lets `span` pass.
    fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let timeouts = self.ends.each_ref().map(|end| end.next_timeout().map(|at| at - self.start));
            let arrival = self.network.peek().map(|Reverse((at, ..))| *at);
            let next_session = self.session + SESSION;
            let next = timeouts.into_iter().flatten().chain(arrival).chain([next_session]).min();
            let Some(next) = next.filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            let now = self.start + self.now;
            if self.now >= next_session {
                self.begin_session();
            }
            if arrival.is_some_and(|at| at <= self.now)
                && let Some(Reverse((_, _, to, session, body))) = self.network.pop()
            {
                self.ends[to].receive(&body, session == self.sessions, now, &mut self.rng);
            }
            for end in &mut self.ends {
                end.handle_timeout(now, &mut self.rng);
                end.traffic(now, &mut self.rng);
            }
            self.collect();
        }
        self.now = until;
    }

    /// What each end believes to be agreed on.
    fn agreed(&self) -> [Option<(Epoch, String, [u8; 32])>; 2] {
        self.ends.each_ref().map(|end| {
            end.agreed().map(|agreed| (agreed.epoch, agreed.fingerprint.to_string(), agreed.defense.digest().0))
        })
    }

    #[track_caller]
    fn assert_agreed(&self) {
        let [client, relay] = self.agreed();
        assert!(client.is_some(), "the client is alone; the relay: {relay:?}");
        assert_eq!(client, relay);
    }

    fn reasons(&self, end: usize) -> Vec<Reason> {
        let reason = |event: &Event| match event {
            Event::Alone(reason) => Some(*reason),
            Event::Run(_) | Event::PathProven => None,
        };
        self.events[end].iter().filter_map(reason).collect()
    }

    fn runs(&self, end: usize) -> usize {
        self.events[end].iter().filter(|event| matches!(event, Event::Run(_))).count()
    }
}

/// What a relay says that the test plays.
fn tell_client(world: &mut World, message: &Message) {
    let mut body = Vec::new();
    message.encode(&mut body);
    world.ends[0].receive(&body, true, world.start + world.now, &mut world.rng);
    world.collect();
}

#[test]
fn both_agree_within_two_round_trips() {
    let mut world = World::new(FAIR, 1);
    world.pass(Duration::from_millis(100));
    world.assert_agreed();
    assert_eq!([world.runs(0), world.runs(1)], [1, 1]);
    assert!(world.ends[0].agreed().unwrap().capabilities.contains(Capabilities::BUNDLES));
}

#[test]
fn an_agreement_is_renewed_without_a_gap() {
    let mut world = World::new(FAIR, 2);
    world.pass(Duration::from_secs(24 * 3_600));
    world.assert_agreed();
    let runs = world.runs(0);
    assert!((19..=33).contains(&runs), "{runs} epochs of an hour, a quarter more or less, in a day");
    assert_eq!(world.runs(1), runs);
    assert_eq!([world.reasons(0), world.reasons(1)], [vec![], vec![]]);
}

#[test]
fn no_two_epochs_and_no_two_connections_share_a_seed() {
    let mut fingerprints = Vec::new();
    for seed in 0..3 {
        let mut world = World::new(FAIR, seed);
        for _ in 0..20 {
            world.pass(Duration::from_secs(1));
            fingerprints.push(world.ends[0].agreed().unwrap().seed.fingerprint().to_string());
            world.ends[0].renew(world.start + world.now, &mut world.rng).unwrap();
            world.collect();
        }
    }
    let count = fingerprints.len();
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), count);
}

#[test]
fn a_peer_that_never_answers_is_asked_seven_times_and_again_later() {
    let mut world = World::new(Weather { lost: 255, ..FAIR }, 3);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.reasons(0), [Reason::Unanswered]);
    world.pass(Duration::from_secs(300));
    assert_eq!(world.reasons(0), [Reason::Unanswered], "a plain peer is left alone for a while");
    world.weather = FAIR;
    world.pass(Duration::from_secs(600));
    world.assert_agreed();
}

#[test]
fn a_relay_that_forgot_is_asked_anew_at_once() {
    let mut world = World::new(FAIR, 4);
    world.pass(Duration::from_secs(10));
    world.restart(1);
    world.pass(Duration::from_secs(2));
    world.assert_agreed();
    assert_eq!(world.reasons(0), [Reason::Unknown]);
}

#[test]
fn a_client_that_forgot_agrees_anew() {
    let mut world = World::new(FAIR, 5);
    world.pass(Duration::from_secs(10));
    world.restart(0);
    world.pass(Duration::from_secs(2));
    world.assert_agreed();
}

#[test]
fn what_the_client_stops_ends_at_both_for_good() {
    let mut world = World::new(FAIR, 6);
    world.pass(Duration::from_secs(10));
    world.ends[0].stop(world.start + world.now, &mut world.rng);
    world.collect();
    world.pass(Duration::from_secs(60));
    assert_eq!(world.agreed(), [None, None]);
    assert_eq!(world.reasons(1), [Reason::Requested]);
}

#[test]
fn different_draws_are_refused_by_both() {
    let other: Draw = Arc::new(|_, _| Some(numbered(9)));
    let mut world = World::with_draws(FAIR, 7, [Arc::new(from_defense_stream), other]);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.agreed(), [None, None]);
    assert_eq!([world.reasons(0), world.reasons(1)], [vec![Reason::Mismatch], vec![Reason::Mismatch]]);
}

#[test]
fn a_relay_that_comes_up_after_the_client_gave_up_is_asked_at_once() {
    let mut world = World::new(Weather { lost: 255, ..FAIR }, 25);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.reasons(0), [Reason::Unanswered]);
    world.weather = FAIR;
    world.ends[1] = negotiation(1, Arc::clone(&world.draws[1]));
    world.ends[1].session_started(world.start + world.now, &mut world.rng);
    world.collect();
    world.pass(Duration::from_secs(1));
    world.assert_agreed();
}

#[test]
fn a_peer_that_is_plain_from_one_session_to_the_next_is_noticed() {
    let mut world = World::new(FAIR, 24);
    world.pass(Duration::from_secs(10));
    world.assert_agreed();
    world.weather = Weather { lost: 255, ..FAIR };
    world.begin_session();
    assert!(!world.ends[0].is_confirmed());
    world.pass(Duration::from_secs(60));
    assert_eq!(world.reasons(0), [Reason::Unanswered]);
    assert!(world.ends[0].agreed().is_none());
}

#[test]
fn what_the_relay_does_not_offer_is_refused() {
    let mut world = World::with_draws(FAIR, 8, [Arc::new(from_defense_stream), Arc::new(|_, _| None)]);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.agreed(), [None, None]);
    assert_eq!(world.reasons(0), [Reason::Choice]);
}

#[test]
fn an_answer_of_less_than_was_asked_for_is_refused() {
    let mut world = World::new(FAIR, 9);
    let mut body = Vec::new();
    // The relay's part is played here: it would have the client run something weaker.
    let Some(Reverse((_, _, 1, _, hello))) = world.network.pop() else { panic!("the client calls") };
    let Ok(Message::Hello(hello)) = Message::decode(&hello) else { panic!("with a hello") };
    let weaker = message::Answer {
        epoch: hello.epoch,
        version: VERSION,
        hello: hello.nonce,
        nonce: [0; 32],
        capabilities: hello.capabilities,
        choice: Choice { strength: 0, ..hello.choice },
        mtu: None,
    };
    Message::Answer(weaker).encode(&mut body);
    world.ends[0].receive(&body, true, world.start, &mut world.rng);
    world.collect();
    assert_eq!(world.reasons(0), [Reason::Choice]);
}

#[test]
fn a_relay_derives_no_more_than_its_rate_allows() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let draws = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&draws);
    let counting: Draw = Arc::new(move |seed, choice| {
        counted.fetch_add(1, Ordering::Relaxed);
        from_defense_stream(seed, choice)
    });
    let mut relay = negotiation(1, counting);
    let (start, mut rng) = (Instant::now(), ChaCha20Rng::seed_from_u64(0));
    for millisecond in 0..2_000 {
        let hello = message::Hello {
            epoch: millisecond,
            versions: (1, 1),
            nonce: Nonces::draw(&mut rng),
            capabilities: Capabilities::default(),
            choice: CHOICE,
            mtu: None,
            masking: None,
        };
        let mut body = Vec::new();
        Message::Hello(hello).encode(&mut body);
        relay.receive(&body, true, start + Duration::from_millis(millisecond.into()), &mut rng);
    }
    assert_eq!(draws.load(Ordering::Relaxed), 4, "one in half a second");
    assert!(relay.common.messages.len() <= MAX_WAITING);
}

#[test]
fn a_newer_client_speaks_our_version_and_one_without_it_is_told() {
    for (versions, is_refused) in [((1, 9), false), ((2, 9), true), ((0, 0), true)] {
        let mut relay = negotiation(1, Arc::new(from_defense_stream));
        let mut rng = ChaCha20Rng::seed_from_u64(0);
        let (nonce, capabilities) = ([1; 32], Capabilities::BUNDLES);
        let mut body = Vec::new();
        let hello =
            message::Hello { epoch: 1, versions, nonce, capabilities, choice: CHOICE, mtu: None, masking: None };
        Message::Hello(hello).encode(&mut body);
        relay.receive(&body, true, Instant::now(), &mut rng);
        body.clear();
        assert!(relay.poll_message(&mut body));
        let said = Message::decode(&body).unwrap();
        let is_answer = matches!(&said, Message::Answer(answer) if answer.version == 1);
        let is_refusal = matches!(&said, Message::Stop(stop) if stop.reason == Reason::Version);
        assert_eq!((is_answer, is_refusal), (!is_refused, is_refused), "{said:?}");
    }
}

/// What happens to a world.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Pass(u64),
    Renew(usize),
    Stop(usize),
    Close(usize),
    Apply(usize),
    Restart(usize),
    ProvePath(usize),
    Session,
    Hold(usize, bool),
    Weather(Weather),
}

fn a_turn() -> impl Strategy<Value = Turn> {
    let weather = (0..=255u8, 0..=255u8, 1..5_000u64);
    prop_oneof![
        4 => (1..200_000u64).prop_map(Turn::Pass),
        3 => (0..2usize).prop_map(Turn::Renew),
        1 => (0..2usize).prop_map(Turn::Stop),
        1 => (0..2usize).prop_map(Turn::Close),
        2 => (0..2usize).prop_map(Turn::Apply),
        2 => (0..2usize).prop_map(Turn::Restart),
        2 => (0..2usize).prop_map(Turn::ProvePath),
        2 => Just(Turn::Session),
        2 => (0..2usize, any::<bool>()).prop_map(|(end, holds)| Turn::Hold(end, holds)),
        3 => weather.prop_map(|(lost, twice, slowest)| Turn::Weather(Weather { lost, twice, slowest })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_happened_both_ends_agree_once_the_network_is_well(
        turns in prop::collection::vec(a_turn(), 0..40),
        seed: u64,
    ) {
        let mut world = World::new(FAIR, seed);
        for turn in turns {
            match turn {
                Turn::Pass(milliseconds) => world.pass(Duration::from_millis(milliseconds)),
                Turn::Renew(end) => _ = world.ends[end].renew(world.start + world.now, &mut world.rng),
                Turn::Stop(end) => world.ends[end].stop(world.start + world.now, &mut world.rng),
                Turn::Close(end) => world.close(end),
                Turn::Apply(end) => world.apply(end),
                Turn::Restart(end) => world.restart(end),
                Turn::ProvePath(end) => _ = world.ends[end].prove_path(world.start + world.now, &mut world.rng),
                Turn::Session => world.begin_session(),
                Turn::Hold(end, holds) => world.holds[end] = holds,
                Turn::Weather(weather) => world.weather = weather,
            }
            world.collect();
        }
        (world.weather, world.holds) = (FAIR, [false; 2]);
        world.collect();
        for end in [0, 1] {
            if world.is_closed[end] {
                world.apply(end);
            }
        }
        world.pass(Duration::from_secs(4 * 120));
        let [client, relay] = world.agreed();
        prop_assert_eq!(&client, &relay);
        // Asked for again, it is agreed on again.
        world.ends[0].renew(world.start + world.now, &mut world.rng).unwrap();
        world.collect();
        world.pass(Duration::from_secs(2 * 120));
        for end in &world.ends {
            prop_assert!(!end.is_proving_path(), "a challenge ends");
        }
        let [client, relay] = world.agreed();
        prop_assert!(client.is_some());
        prop_assert_eq!(client, relay);
    }

    #[test]
    fn no_body_makes_either_end_panic_or_grow(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..50)) {
        let mut world = World::new(FAIR, 0);
        for body in &bodies {
            for end in &mut world.ends {
                end.receive(body, true, world.start, &mut world.rng);
                prop_assert!(end.common.messages.len() <= MAX_WAITING && end.common.events.len() <= MAX_WAITING);
            }
        }
    }
}

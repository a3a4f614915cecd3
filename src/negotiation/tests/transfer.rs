//! Ends whose draws differ: the client runs what the relay sends, or nothing.

use super::*;

/// A world whose client and relay draw differently, and may send each other what they drew.
fn world_of_different_pools(weather: Weather, seed: u64, sends: [bool; 2]) -> World {
    world_whose_relay_draws(weather, seed, sends, |defense| defense)
}

/// The same, where the relay changes what it draws.
fn world_whose_relay_draws(
    weather: Weather,
    seed: u64,
    sends: [bool; 2],
    change: impl Fn(Defense) -> Defense + Send + Sync + 'static,
) -> World {
    let of_relay: Draw = Arc::new(move |seed, choice| {
        let own = Choice::new(Tier::Blocking, Strength::High).pool;
        let draw = || maybetun_machines::draw(&mut seed.stream(Stream::Defense), Tier::Blocking, Strength::High);
        (choice.pool == own).then(|| change(draw()))
    });
    let mut world = World::with_draws(weather, seed, [Arc::new(from_defense_stream), of_relay]);
    for (end, sends) in sends.into_iter().enumerate() {
        world.ends[end] = with_machines(end, Arc::clone(&world.draws[end]), sends);
        world.ends[end].common.config.choice = Choice { tier: 2, strength: 3, ..CHOICE };
    }
    world.network.clear();
    world.begin_session();
    world
}

#[test]
fn where_the_draws_differ_the_client_runs_what_the_relay_sends() {
    for (seed, weather) in [(20, FAIR), (21, Weather { lost: 60, twice: 60, slowest: 500 })] {
        let mut world = world_of_different_pools(weather, seed, [true, true]);
        world.pass(Duration::from_secs(600));
        world.weather = FAIR;
        world.pass(Duration::from_secs(900));
        world.assert_agreed();
        let agreed = world.ends[0].agreed().unwrap();
        assert_eq!(agreed.defense.client().machines.len(), 5, "the relay's draw, not the client's");
    }
}

#[test]
fn where_the_draws_differ_the_client_takes_nothing_that_does_more_than_a_draw() {
    type Change = fn(Defense) -> Defense;
    let hostile: [Change; 4] = [
        |defense| {
            let limits = Limits { max_actions_per_second: 1_000_000.0, ..Limits::default() };
            defense.with_limits(Role::Client, limits).unwrap()
        },
        |defense| with_client_machines(&defense, |machine| machine.max_padding_frac = 0.0),
        |defense| with_client_machines(&defense, |machine| machine.allowed_padding_packets = u64::MAX),
        // Nothing at all is not what the client asked for either.
        |_| Defense::from_machines("none", Side::default(), Side::default()).unwrap(),
    ];
    for (number, change) in hostile.into_iter().enumerate() {
        let mut world = world_whose_relay_draws(FAIR, 26, [true, true], change);
        world.pass(Duration::from_secs(60));
        assert_eq!(world.agreed(), [None, None], "{number}");
        assert_eq!((world.reasons(0), world.runs(0)), (vec![Reason::Bounds], 0), "{number}");
    }
}

fn with_client_machines(defense: &Defense, change: impl Fn(&mut maybenot::Machine)) -> Defense {
    let Side { machines, limits } = defense.client().clone();
    let mut machines = machines.to_vec();
    machines.iter_mut().for_each(change);
    let client = Side { machines: machines.into(), limits };
    Defense::from_machines("changed", client, defense.relay().clone()).unwrap()
}

#[test]
fn where_the_draws_differ_and_one_end_does_not_take_machines_nothing_runs() {
    for sends in [[true, false], [false, true], [false, false]] {
        let mut world = world_of_different_pools(FAIR, 22, sends);
        world.pass(Duration::from_secs(60));
        assert_eq!(world.agreed(), [None, None], "{sends:?}");
        assert_eq!(world.reasons(0).len(), 1, "{sends:?}");
    }
}

#[test]
fn a_relay_that_sends_what_is_no_defense_is_refused() {
    let mut world = world_of_different_pools(FAIR, 23, [true, true]);
    let mut body = Vec::new();
    let seed = Seed::derive(
        Role::Relay,
        &private_key(1),
        &private_key(0).public_key(),
        None,
        &Nonces { client: [0; 32], relay: [0; 32] },
    );
    // Until the client is ready, and then a text that is none.
    while !matches!(&world.ends[0].end, End::Client(client) if client.is_agreeing()) {
        world.pass(Duration::from_millis(1));
    }
    let proof = Proof::new(1, seed.fingerprint());
    let text = "name = ".to_owned();
    Message::Part(message::Part { proof, length: text.len() as u32, offset: 0, text }).encode(&mut body);
    world.ends[0].receive(&body, true, world.start + world.now, &mut world.rng);
    world.collect();
    assert_eq!(world.reasons(0), [Reason::Mismatch]);
}

#[test]
fn a_part_that_is_not_the_next_is_asked_for_by_nobody() {
    let mut world = world_of_different_pools(FAIR, 89, [true, true]);
    while !matches!(&world.ends[0].end, End::Client(client) if client.is_agreeing()) {
        world.pass(Duration::from_millis(1));
    }
    world.network.clear();
    let epoch = 1;
    let proof = Proof::new(epoch, Fingerprint([7; 16]));
    let part = |offset: u32| Message::Part(message::Part { proof, length: 10_000, offset, text: "a".repeat(100) });
    tell_client(&mut world, &part(0));
    assert_eq!(world.network.len(), 1, "the next one is asked for");
    for _ in 0..100 {
        tell_client(&mut world, &part(0));
        tell_client(&mut world, &part(5_000));
    }
    assert_eq!(world.network.len(), 1);
    world.holds = [false, true];
    world.pass(Duration::from_secs(60));
    assert!(!world.ends[0].is_asking(), "it gives up in its time");
}

//! What may happen to a tunnel, and within which time it gets over it.

use std::thread;
use std::time::Duration;

use maybetun_integration_tests::defense;
use nix::sys::signal::Signal;
use rand_core::RngCore as _;
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::scene::Scene;

/// A kind of fault.
pub(crate) struct Fault {
    /// What happens.
    pub(crate) name: &'static str,
    /// How likely it is beside the others.
    pub(crate) weight: u32,
    /// Within which time a call goes on both ways, once the fault is over, or what it broke is replaced.
    pub(crate) bound: Duration,
    /// Makes it happen, and mends what does not mend itself.
    pub(crate) cause: fn(&mut Scene, &mut Xoshiro256PlusPlus),
}

/// Where the client is told: a handshake, and one more 5.3 s later should the first be lost, and as long again for a machine
/// that is busy.
const TOLD: Duration = Duration::from_secs(12);

/// Where nobody tells it: 15 to 20 s of silence, then the same.
const SILENCE: Duration = Duration::from_secs(32);

pub(crate) const FAULTS: [Fault; 12] = [
    Fault { name: "the default routes move", weight: 6, bound: TOLD, cause: move_routes },
    Fault { name: "the default routes are gone for a time", weight: 2, bound: TOLD, cause: lose_routes },
    Fault { name: "the link goes down and up", weight: 3, bound: TOLD, cause: lose_link },
    Fault { name: "the link goes down, another is there", weight: 3, bound: TOLD, cause: lose_one_of_two_links },
    Fault { name: "the addresses are replaced", weight: 3, bound: TOLD, cause: replace_addresses },
    Fault { name: "the link takes smaller packets", weight: 2, bound: TOLD, cause: change_mtu },
    Fault { name: "the client is killed, and up again", weight: 2, bound: TOLD, cause: kill_client },
    Fault { name: "the client goes down, and up again", weight: 2, bound: TOLD, cause: restart_client },
    Fault { name: "the relay is killed, and starts again", weight: 1, bound: SILENCE, cause: kill_relay },
    Fault { name: "the relay starts again", weight: 1, bound: SILENCE, cause: restart_relay },
    Fault { name: "the client's defense changes", weight: 4, bound: TOLD, cause: change_defense_of_client },
    Fault { name: "the relay's defense changes", weight: 4, bound: TOLD, cause: change_defense_of_relay },
];

/// A time for which something is gone.
fn while_away(rng: &mut Xoshiro256PlusPlus) -> Duration {
    Duration::from_millis(rng.next_u64() % 2_000)
}

fn move_routes(scene: &mut Scene, _: &mut Xoshiro256PlusPlus) {
    scene.lead_over(1 - scene.uplink);
}

fn lose_routes(scene: &mut Scene, rng: &mut Xoshiro256PlusPlus) {
    for version in [4, 6] {
        scene.near.ip(&format!("-{version} route del default"));
    }
    thread::sleep(while_away(rng));
    scene.lead_over(scene.uplink);
}

fn lose_link(scene: &mut Scene, rng: &mut Xoshiro256PlusPlus) {
    scene.set_link(scene.uplink, "down");
    thread::sleep(while_away(rng));
    scene.set_link(scene.uplink, "up");
    scene.address(scene.uplink);
    scene.lead_over(scene.uplink);
}

fn lose_one_of_two_links(scene: &mut Scene, rng: &mut Xoshiro256PlusPlus) {
    let lost = scene.uplink;
    scene.set_link(lost, "down");
    scene.lead_over(1 - lost);
    thread::sleep(while_away(rng));
    scene.set_link(lost, "up");
    scene.address(lost);
}

fn replace_addresses(scene: &mut Scene, rng: &mut Xoshiro256PlusPlus) {
    let uplink = scene.uplink;
    // Not those of the other end, 2.
    scene.numbers[uplink] = 10 + (rng.next_u32() % 200) as u8;
    scene.address(uplink);
    scene.lead_over(uplink);
}

fn change_mtu(scene: &mut Scene, rng: &mut Xoshiro256PlusPlus) {
    let mtu = [1_500, 1_400, 1_300][rng.next_u32() as usize % 3];
    scene.set_mtu(scene.uplink, mtu);
}

fn kill_client(scene: &mut Scene, _: &mut Xoshiro256PlusPlus) {
    scene.end_client(Signal::SIGKILL);
    scene.up();
}

fn restart_client(scene: &mut Scene, _: &mut Xoshiro256PlusPlus) {
    scene.end_client(Signal::SIGTERM);
    scene.up();
}

fn kill_relay(scene: &mut Scene, _: &mut Xoshiro256PlusPlus) {
    scene.restart_relay(Signal::SIGKILL);
}

fn restart_relay(scene: &mut Scene, _: &mut Xoshiro256PlusPlus) {
    scene.restart_relay(Signal::SIGTERM);
}

fn change_defense_of_client(scene: &mut Scene, rng: &mut Xoshiro256PlusPlus) {
    let line = drawn_defense(rng);
    scene.defend_client(line);
}

fn change_defense_of_relay(scene: &mut Scene, rng: &mut Xoshiro256PlusPlus) {
    let line = drawn_defense(rng);
    defense(&scene.relay, line).success();
}

fn drawn_defense(rng: &mut Xoshiro256PlusPlus) -> &'static str {
    ["off", "on ephemeral", "on ephemeral", "on front"][rng.next_u32() as usize % 4]
}

use proptest::prelude::*;
use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::*;
use crate::virtual_network::{Host as _, Packet};

/// Loses, repeats and delays segments, so many of a thousand each, and all in some times.
pub(super) fn faults(seed: u64, [lost, repeated, late]: [u64; 3], pause: (u64, u64)) -> Decide {
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let pause = MS * pause.0 as u32..MS * (pause.0 + pause.1) as u32;
    Box::new(move |seen| {
        let (draw, delay) = (rng.next_u64() % 1_000, rng.next_u64() % 300);
        match draw {
            _ if pause.contains(&seen.at) => Fate::Lose,
            _ if draw < lost => Fate::Lose,
            _ if draw < lost + repeated => Fate::Repeat,
            _ if draw < lost + repeated + late => Fate::Delay(MS * delay as u32),
            _ => Fate::Deliver,
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn all_bytes_arrive_exactly_and_the_connection_ends(
        seed in any::<u64>(),
        faults in prop::array::uniform3(0..150_u64),
        pause in (0..2_000_u64, 0..5_000_u64),
        [up, down] in prop::array::uniform2(prop::collection::vec((0..3_000_u64, 1..60_000_usize), 1..6)),
        round_trip in 1..200_u32,
        window in 2_000..200_000_usize,
    ) {
        let says = |mut turns: Vec<(u64, usize)>| {
            turns.sort_unstable();
            turns.into_iter().map(|(at, size)| (MS * at as u32, size)).collect::<Vec<_>>()
        };
        let settings = Settings { receive_buffer: window, send_buffer: window, ..Settings::default() };
        let link = Link { rate: Some(1_250_000), queue: 100_000, ..half(MS * round_trip) };
        let decide = self::faults(seed, faults, pause);
        Talk::with(&settings, &link, &says(up), &says(down), decide).finish();
    }

    /// Segments of a talk with their headers changed, in the middle of it.
    #[test]
    fn nothing_that_arrives_panics(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..60_usize, any::<[u8; 4]>(), any::<bool>()), 1..200),
        at in 5..300_u32,
    ) {
        let says: Vec<_> = (0..30).map(|turn| (10 * MS * turn, 5_000)).collect();
        let mut talk = Talk::new(&half(20 * MS), &says, &says, nothing());
        talk.network.tap.kept = Some(Vec::new());
        talk.network.run_until(MS * at);
        let packets = talk.network.tap.kept.take().unwrap_or_default();
        prop_assume!(!packets.is_empty());
        let addresses = [CLIENT, SERVER].map(|address| SocketAddr::new(address.into(), 0));
        for (which, place, bytes, is_up) in changes {
            let mut payload = packets[which.index(packets.len())].clone();
            for (byte, at) in bytes.into_iter().zip(place..) {
                if let Some(place) = payload.get_mut(at) {
                    *place = byte;
                }
            }
            let (node, [from, to]) = if is_up { (talk.server, addresses) } else { (talk.client, [addresses[1], addresses[0]]) };
            talk.network.act(node, |host, now, out| host.receive(Packet { from, to, payload }, now, out));
        }
        talk.run(10 * SECOND, |_| true);
    }
}

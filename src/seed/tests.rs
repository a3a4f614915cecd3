use proptest::prelude::*;
use rand_core::RngCore as _;

use super::*;

const STREAMS: [Stream; 4] = [Stream::ClientFramework, Stream::RelayFramework, Stream::Defense, Stream::Sessions];

/// What both ends put in.
#[derive(Debug, Clone)]
struct Input {
    client: [u8; 32],
    relay: [u8; 32],
    preshared: [u8; 32],
    nonces: Nonces,
}

impl Input {
    fn seed(&self, role: Role) -> Seed {
        let [client, relay] = [self.client, self.relay].map(|bytes| PrivateKey::from_bytes(&bytes).unwrap());
        let preshared = PresharedKey::from_bytes(&self.preshared);
        let (own, peer) = match role {
            Role::Client => (client, relay.public_key()),
            Role::Relay => (relay, client.public_key()),
        };
        Seed::derive(role, &own, &peer, Some(&preshared), &self.nonces)
    }

    fn first_numbers(&self, role: Role) -> [u64; 4] {
        let seed = self.seed(role);
        STREAMS.map(|stream| seed.stream(stream).next_u64())
    }
}

fn counting() -> [u8; 32] {
    std::array::from_fn(|index| index as u8)
}

fn an_input() -> impl Strategy<Value = Input> {
    let nonces = any::<[[u8; 32]; 2]>().prop_map(|[client, relay]| Nonces { client, relay });
    (any::<[[u8; 32]; 3]>(), nonces).prop_map(|([client, relay, preshared], nonces)| Input {
        client,
        relay,
        preshared,
        nonces,
    })
}

#[test]
fn streams_and_fingerprints_are_those_of_another_implementation() {
    // Computed in Python from RFC 7748, RFC 5869 and RFC 8439 alone.
    let reversed = std::array::from_fn(|index| 31 - index as u8);
    let vectors = [
        (
            Input {
                client: [0x11; 32],
                relay: [0x22; 32],
                preshared: [0; 32],
                nonces: Nonces { client: [0; 32], relay: [0; 32] },
            },
            "ef56e13235e7cd42a75786878041be2e",
            [0x7ed767f27104fa74, 0xa709798135902f01, 0xc542fd45e1ef28d6, 0xc340a54965e3cd8a],
        ),
        (
            Input {
                client: [0x11; 32],
                relay: [0x22; 32],
                preshared: [0x33; 32],
                nonces: Nonces { client: counting(), relay: [0xff; 32] },
            },
            "d919096ef214aa628c43df50b6d1f488",
            [0x35d068dd1f2b217a, 0xc44c2d66b8b9c899, 0xd193830444383736, 0x09e15a5429f811d7],
        ),
        (
            Input {
                client: counting(),
                relay: reversed,
                preshared: [0x80; 32],
                nonces: Nonces { client: [1; 32], relay: counting() },
            },
            "974e76268606c4aef00782c393367bbc",
            [0x82545a6c49d6fc8a, 0xc7bd9c3941c29ada, 0x60913db5b432f2a1, 0xf5f4c4dd8b0bca64],
        ),
    ];
    for (input, fingerprint, numbers) in vectors {
        for role in [Role::Client, Role::Relay] {
            assert_eq!(input.seed(role).fingerprint().to_string(), fingerprint);
            assert_eq!(input.first_numbers(role), numbers);
        }
    }
}

#[test]
fn no_preshared_key_is_one_of_zeros() {
    let (own, peer) =
        (PrivateKey::from_bytes(&[1; 32]).unwrap(), PrivateKey::from_bytes(&[2; 32]).unwrap().public_key());
    let nonces = Nonces { client: [0; 32], relay: [0; 32] };
    let derive = |key: Option<&PresharedKey>| Seed::derive(Role::Client, &own, &peer, key, &nonces);
    assert_eq!(derive(None).fingerprint(), derive(Some(&PresharedKey::from_bytes(&[0; 32]))).fingerprint());
}

#[test]
fn drawing_from_one_stream_moves_no_other() {
    let input = Input {
        client: [1; 32],
        relay: [2; 32],
        preshared: [3; 32],
        nonces: Nonces { client: [4; 32], relay: [5; 32] },
    };
    let seed = input.seed(Role::Client);
    let mut streams = STREAMS.map(|stream| seed.stream(stream));
    streams[0].fill_bytes(&mut [0; 10_000]);
    let after = [streams[1].next_u64(), streams[2].next_u64(), streams[3].next_u64()];
    assert_eq!(after, input.first_numbers(Role::Relay)[1..]);
}

#[test]
fn debug_shows_the_fingerprint_alone() {
    let input = Input {
        client: [1; 32],
        relay: [2; 32],
        preshared: [3; 32],
        nonces: Nonces { client: [4; 32], relay: [5; 32] },
    };
    let seed = input.seed(Role::Client);
    assert_eq!(format!("{seed:?}"), format!("Seed({})", seed.fingerprint()));
}

proptest! {
    #[test]
    fn both_ends_derive_the_same(input in an_input()) {
        prop_assert_eq!(input.first_numbers(Role::Client), input.first_numbers(Role::Relay));
        let fingerprints = [Role::Client, Role::Relay].map(|role| input.seed(role).fingerprint());
        prop_assert_eq!(fingerprints[0], fingerprints[1]);
    }

    #[test]
    fn another_bit_of_any_input_changes_every_stream(input in an_input(), which in 0..5usize, bit in 8..240usize) {
        // Curve25519 ignores a few bits at the ends of a private key; all between matter.
        let mut changed = input.clone();
        let bytes = match which {
            0 => &mut changed.client,
            1 => &mut changed.relay,
            2 => &mut changed.preshared,
            3 => &mut changed.nonces.client,
            _ => &mut changed.nonces.relay,
        };
        bytes[bit / 8] ^= 1 << (bit % 8);
        let [before, after] = [&input, &changed].map(|input| input.first_numbers(Role::Client));
        prop_assert!(before.iter().zip(after).all(|(before, after)| *before != after));
        prop_assert_ne!(input.seed(Role::Client).fingerprint(), changed.seed(Role::Client).fingerprint());
    }

    #[test]
    fn exchanged_nonces_and_exchanged_roles_are_another_seed(input in an_input()) {
        prop_assume!(input.nonces.client != input.nonces.relay && input.client != input.relay);
        let fingerprint = input.seed(Role::Client).fingerprint();
        let mut nonces = input.clone();
        std::mem::swap(&mut nonces.nonces.client, &mut nonces.nonces.relay);
        let mut roles = input.clone();
        std::mem::swap(&mut roles.client, &mut roles.relay);
        for other in [nonces, roles] {
            prop_assert_ne!(other.seed(Role::Client).fingerprint(), fingerprint);
        }
    }
}

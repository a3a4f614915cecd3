//! Counters that a peer with a session picks at will: none overflows, and a window says which are taken, each once.
#![no_main]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Instant;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use maybetun::keys::PrivateKey;
use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
use noise::{Identity, Initiation, KeyPair, TransportKeys};

#[allow(dead_code, reason = "what the tests of hostile peers need beside")]
#[path = "../../integration-tests/src/initiator/noise.rs"]
mod noise;

/// The counter from which on a session takes nothing (whitepaper, section 6.1).
const END: u64 = u64::MAX - (1 << 13);

/// How far behind the highest counter one is surely taken, and from where on surely not: boringtun's window.
const WINDOW: u64 = 1_024;

/// What an IP packet of the peer's is.
const PACKET: [u8; 20] = [0x45, 0, 0, 20, 0, 0, 0, 0, 64, 59, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];

/// A counter, from somewhere on.
#[derive(Arbitrary, Debug, Clone, Copy)]
enum Pick {
    Any(u64),
    FromStart(u16),
    AroundHighest(i16),
    AroundEnd(i16),
    BeforeMaximum(u16),
}

#[derive(Arbitrary, Debug, Clone, Copy)]
struct Step {
    pick: Pick,
    /// Whether the datagram authenticates.
    is_authentic: bool,
}

/// What a session should take.
#[derive(Default)]
struct Model {
    highest: Option<u64>,
    taken: HashSet<u64>,
}

impl Model {
    fn counter(&self, pick: Pick) -> u64 {
        let highest = self.highest.unwrap_or_default();
        match pick {
            Pick::Any(counter) => counter,
            Pick::FromStart(offset) => offset.into(),
            Pick::AroundHighest(offset) => highest.wrapping_add_signed(offset.into()),
            Pick::AroundEnd(offset) => END.wrapping_add_signed(offset.into()),
            Pick::BeforeMaximum(offset) => u64::MAX - u64::from(offset),
        }
    }

    /// Tells whether the counter is to be taken; `None` where that is the window's to say.
    fn takes(&self, counter: u64) -> Option<bool> {
        if counter >= END || self.taken.contains(&counter) {
            return Some(false);
        }
        match self.highest.and_then(|highest| highest.checked_sub(counter)) {
            None => Some(true),
            Some(behind) if behind < WINDOW - 1 => Some(true),
            Some(behind) if behind > WINDOW => Some(false),
            Some(_) => None,
        }
    }

    fn take(&mut self, counter: u64) {
        self.taken.insert(counter);
        self.highest = self.highest.max(Some(counter));
    }
}

fn address(last: u8) -> Endpoint {
    Endpoint::from(SocketAddr::from(([192, 0, 2, last], 51_820)))
}

/// A tunnel, and the keys of its peer's session with it.
fn connected() -> (Tunnel, TransportKeys) {
    static KEYS: LazyLock<[PrivateKey; 2]> = LazyLock::new(|| [(); 2].map(|()| PrivateKey::generate_from_os()));
    let [own, peer] = &*KEYS;
    let mut tunnel = Tunnel::new(TunnelConfig::new(own, peer.public_key(), [1; 32]));
    let identity = Identity::new(KeyPair::Secret(*peer.as_bytes()), *own.public_key().as_bytes());
    let (initiation, pending) = identity.initiate(Initiation::honest(), None);
    let (mut out, mut packet) = (DatagramBatch::new(), [0; 256]);
    tunnel.receive(&initiation, address(1), Instant::now(), |_| true, &mut packet, &mut out);
    let keys = out.iter().find_map(|datagram| pending.complete(datagram));
    (tunnel, keys.expect("the initiation is answered"))
}

fuzz_target!(|steps: Vec<Step>| {
    const { assert!(cfg!(debug_assertions), "without the checks for overflow this shows little") }
    let ((mut tunnel, keys), mut model) = (connected(), Model::default());
    let mut plaintext = PACKET.to_vec();
    plaintext.resize(32, 0);
    for Step { pick, is_authentic } in steps {
        let counter = model.counter(pick);
        let mut datagram = vec![4, 0, 0, 0];
        datagram.extend(keys.receiver.to_le_bytes());
        datagram.extend(counter.to_le_bytes());
        datagram.extend(noise::seal(&keys.sending, counter, &plaintext, &[]));
        if !is_authentic {
            *datagram.last_mut().expect("a tag") ^= 1;
        }
        let (mut out, mut packet) = (DatagramBatch::new(), [0; 256]);
        let length = tunnel.receive(&datagram, address(1), Instant::now(), |_| true, &mut packet, &mut out);
        let is_taken = length.is_some();
        assert!(!is_taken || packet[..PACKET.len()] == PACKET, "{counter:x}");
        let expected = if is_authentic { model.takes(counter) } else { Some(false) };
        assert!(expected.is_none_or(|expected| expected == is_taken), "{counter:x} after {:x?}", model.highest);
        if is_taken {
            model.take(counter);
        }
    }
});

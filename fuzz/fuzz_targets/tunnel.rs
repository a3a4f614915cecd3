//! The datagram path of a tunnel with a live session: forged datagrams change nothing, and of authentic ones only IP
//! packets from an allowed source come out.
#![no_main]

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Instant;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use maybetun::settings::{DefenseChange, EphemeralSettings, Role};
use maybetun::tunnel::{Endpoint, IpHeader, MAX_BUNDLED, Tunnel, packets};
use maybetun_lab::tunnels::{Pair, address, inner_address};
use maybetun_machines::Tier;

#[derive(Arbitrary, Debug)]
enum Step {
    /// Someone sends bytes.
    Forged { datagram: Vec<u8> },
    /// Someone changes an authentic datagram on its way.
    Altered { payload: Vec<u8>, position: u16, flip: u8 },
    /// The peer itself sends a payload, of whatever kind.
    Authentic { payload: Vec<u8> },
    /// An authentic datagram arrives twice.
    Repeated { payload: Vec<u8> },
    /// The peer sends a frame whose header is right.
    Framed { kind: u8, body: Vec<u8> },
}

/// A tunnel that is looked at, number 1, and its peer.
struct Fuzzed(Pair);

thread_local! {
    static FUZZED: RefCell<Fuzzed> = RefCell::new(Fuzzed::connected());
}

/// Where a stranger is.
fn stranger() -> Endpoint {
    address(66)
}

fn is_allowed(source: IpAddr) -> bool {
    source == inner_address(0)
}

impl Fuzzed {
    fn connected() -> Self {
        let mut pair = Pair::connected();
        let settings = EphemeralSettings { tier: Tier::Size, ..EphemeralSettings::default() };
        let change = DefenseChange::Ephemeral(settings);
        let set = |tunnel: &mut Tunnel, now, out: &mut _| tunnel.set_defense(change, Role::Relay, [1; 32], now, out);
        pair.act(1, set).0.expect("only a renewal is refused");
        Self(pair)
    }

    fn tunnel(&self) -> &Tunnel {
        &self.0.tunnels[1]
    }

    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        self.0.send(0, payload).into_iter().find(|datagram| datagram[0] == 4).unwrap_or_default()
    }

    fn receive(&mut self, datagram: &[u8], from: Endpoint) -> Option<Vec<u8>> {
        let mut packet = vec![0; datagram.len()];
        let receive =
            |tunnel: &mut Tunnel, now, out: &mut _| tunnel.receive(datagram, from, now, is_allowed, &mut packet, out);
        let length = self.0.act(1, receive).0?;
        Some(packet[..length].to_vec())
    }

    /// Sends a frame to a tunnel that takes bundles and control frames: what comes out is IP packets from the peer.
    fn receive_frame(&mut self, kind: u8, body: &[u8]) {
        let length = (4 + body.len()).next_multiple_of(16);
        let Ok(stated) = u16::try_from(length) else { return };
        let mut payload = vec![0xff, kind % 4];
        payload.extend(stated.to_be_bytes());
        payload.extend(body);
        payload.resize(length, 0);
        let datagram = self.seal(&payload);
        let received = self.receive(&datagram, address(0)).unwrap_or_default();
        assert!(received.is_empty() || kind % 4 == 1, "only bundles carry packets");
        assert_eq!(packets(&received).map(<[u8]>::len).sum::<usize>(), received.len());
        assert!(packets(&received).count() <= MAX_BUNDLED);
        for packet in packets(&received) {
            assert!(IpHeader::parse(packet).is_some_and(|header| is_allowed(header.source)));
        }
    }

    fn receive_authentic(&mut self, datagram: &[u8], payload: &[u8]) {
        let received = self.receive(datagram, address(0));
        let mut padded = payload.to_vec();
        padded.resize(datagram.len().saturating_sub(32), 0);
        let header = IpHeader::parse(&padded).filter(|header| is_allowed(header.source));
        assert_eq!(received, header.map(|header| padded[..header.length].to_vec()));
    }
}

fuzz_target!(|steps: Vec<Step>| {
    FUZZED.with_borrow_mut(|pair| {
        if pair.tunnel().last_handshake().is_none_or(|at| at.elapsed().as_secs() > 100) {
            *pair = Fuzzed::connected();
        }
        pair.0.now = Instant::now();
        for step in steps {
            match step {
                Step::Forged { datagram } => assert_eq!(pair.receive(&datagram, stranger()), None),
                Step::Altered { payload, position, flip } => {
                    let mut datagram = pair.seal(&payload);
                    let position = usize::from(position) % datagram.len();
                    datagram[position] ^= flip.max(1);
                    assert_eq!(pair.receive(&datagram, stranger()), None);
                }
                Step::Authentic { payload } => {
                    let datagram = pair.seal(&payload);
                    pair.receive_authentic(&datagram, &payload);
                }
                Step::Framed { kind, body } => pair.receive_frame(kind, &body),
                Step::Repeated { payload } => {
                    let datagram = pair.seal(&payload);
                    pair.receive_authentic(&datagram, &payload);
                    assert_eq!(pair.receive(&datagram, stranger()), None);
                }
            }
            assert_ne!(pair.tunnel().endpoint(), Some(stranger()), "a forged datagram moved the endpoint");
        }
    });
});

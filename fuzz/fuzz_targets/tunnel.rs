//! The datagram path of a tunnel with a live session: forged datagrams change nothing, and of authentic ones only IP
//! packets from an allowed source come out.
#![no_main]

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use maybetun::keys::PrivateKey;
use maybetun::settings::{DefenseChange, EphemeralSettings, Role};
use maybetun::tunnel::{DatagramBatch, Endpoint, IpHeader, MAX_BUNDLED, Tunnel, TunnelConfig, packets};
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

struct Pair {
    peer: Tunnel,
    tunnel: Tunnel,
}

thread_local! {
    static PAIR: RefCell<Pair> = RefCell::new(Pair::connected());
}

fn address(last: u8) -> Endpoint {
    Endpoint::from(SocketAddr::from(([192, 0, 2, last], 51_820)))
}

fn is_allowed(source: IpAddr) -> bool {
    source == IpAddr::from([10, 0, 0, 1])
}

impl Pair {
    fn connected() -> Self {
        let keys = [PrivateKey::generate_from_os(), PrivateKey::generate_from_os()];
        let mut peer = Tunnel::new(TunnelConfig::new(&keys[0], keys[1].public_key(), [1; 32]));
        let mut tunnel = Tunnel::new(TunnelConfig::new(&keys[1], keys[0].public_key(), [2; 32]));
        peer.set_endpoint(Some(address(2)));
        let (now, mut to_tunnel, mut to_peer) = (Instant::now(), DatagramBatch::new(), DatagramBatch::new());
        let mut packet = vec![0; 256];
        peer.start_handshake(now, &mut to_tunnel);
        for _ in 0..2 {
            for datagram in to_tunnel.iter() {
                tunnel.receive(datagram, address(1), now, is_allowed, &mut packet, &mut to_peer);
            }
            to_tunnel.clear();
            for datagram in to_peer.iter() {
                peer.receive(datagram, address(2), now, |_| true, &mut packet, &mut to_tunnel);
            }
            to_peer.clear();
        }
        assert!(tunnel.last_handshake().is_some() && peer.last_handshake().is_some());
        let settings = EphemeralSettings { tier: Tier::Size, ..EphemeralSettings::default() };
        tunnel
            .set_defense(DefenseChange::Ephemeral(settings), Role::Relay, [1; 32], now, &mut to_peer)
            .expect("only a renewal is refused");
        Self { peer, tunnel }
    }

    fn seal(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut out = DatagramBatch::new();
        let mut buffer = payload.to_vec();
        buffer.resize(payload.len() + 15, 0xaa);
        self.peer.send(&mut buffer, payload.len(), Instant::now(), &mut out);
        out.iter().find(|datagram| datagram[0] == 4).map(<[u8]>::to_vec).unwrap_or_default()
    }

    fn receive(&mut self, datagram: &[u8], from: Endpoint) -> Option<Vec<u8>> {
        let (mut out, mut packet) = (DatagramBatch::new(), vec![0; datagram.len()]);
        let length = self.tunnel.receive(datagram, from, Instant::now(), is_allowed, &mut packet, &mut out)?;
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
        let received = self.receive(&datagram, address(1)).unwrap_or_default();
        assert!(received.is_empty() || kind % 4 == 1, "only bundles carry packets");
        assert_eq!(packets(&received).map(<[u8]>::len).sum::<usize>(), received.len());
        assert!(packets(&received).count() <= MAX_BUNDLED);
        for packet in packets(&received) {
            assert!(IpHeader::parse(packet).is_some_and(|header| is_allowed(header.source)));
        }
    }

    fn receive_authentic(&mut self, datagram: &[u8], payload: &[u8]) {
        let received = self.receive(datagram, address(1));
        let mut padded = payload.to_vec();
        padded.resize(datagram.len().saturating_sub(32), 0);
        let header = IpHeader::parse(&padded).filter(|header| is_allowed(header.source));
        assert_eq!(received, header.map(|header| padded[..header.length].to_vec()));
    }
}

fuzz_target!(|steps: Vec<Step>| {
    PAIR.with_borrow_mut(|pair| {
        if pair.tunnel.last_handshake().is_none_or(|at| at.elapsed().as_secs() > 100) {
            *pair = Pair::connected();
        }
        for step in steps {
            match step {
                Step::Forged { datagram } => assert_eq!(pair.receive(&datagram, address(66)), None),
                Step::Altered { payload, position, flip } => {
                    let mut datagram = pair.seal(&payload);
                    let position = usize::from(position) % datagram.len();
                    datagram[position] ^= flip.max(1);
                    assert_eq!(pair.receive(&datagram, address(66)), None);
                }
                Step::Authentic { payload } => {
                    let datagram = pair.seal(&payload);
                    pair.receive_authentic(&datagram, &payload);
                }
                Step::Framed { kind, body } => pair.receive_frame(kind, &body),
                Step::Repeated { payload } => {
                    let datagram = pair.seal(&payload);
                    pair.receive_authentic(&datagram, &payload);
                    assert_eq!(pair.receive(&datagram, address(66)), None);
                }
            }
            assert_ne!(pair.tunnel.endpoint(), Some(address(66)), "a forged datagram moved the endpoint");
        }
    });
});

//! A relay that lies in all that it says: its client's uplink, memory and log stay within bounds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ciborium::{Value, cbor};
use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::negotiation::Choice;
use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::initiator::frame::{SIZE, control, field, frame, message};
use maybetun_integration_tests::{
    Config, End, Host, Keys, Network, PeerConfig, Wire, block_and_pause, defense, resident, runaway,
};
use maybetun_machines::{Strength, Tier};

/// How long it lies.
const TIME: Duration = Duration::from_secs(20);

/// The most that the client sends meanwhile, in bytes: what a draw of its own may, beside an answer to each lie.
const UPLINK: usize = 4 << 20;

struct Relay {
    tunnel: Tunnel,
    socket: UdpSocket,
    client: Option<SocketAddr>,
    received: usize,
    /// Fields of the last hello: its epoch and its nonce.
    hello: Option<(Value, Value)>,
    state: u64,
}

impl Relay {
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    fn transmit(&self, out: &DatagramBatch) {
        for datagram in out.iter() {
            if let Some(client) = self.client {
                self.socket.send_to(datagram, client).unwrap();
            }
        }
    }

    /// Seals whatever is given as one payload.
    fn seal(&mut self, mut payload: Vec<u8>) {
        let length = payload.len();
        payload.resize(length + 15, 0);
        let mut out = DatagramBatch::new();
        self.tunnel.send(&mut payload, length, Instant::now(), &mut out);
        self.transmit(&out);
    }

    fn frame(&mut self, kind: u8, body: &[u8]) {
        self.seal(frame(kind, body, SIZE));
    }

    fn say(&mut self, message: &Value) {
        self.seal(control(message));
    }

    /// Takes what the client sent, and answers hellos so that it goes on.
    fn listen(&mut self) {
        let mut datagram = vec![0; 2_000];
        let Ok((length, from)) = self.socket.recv_from(&mut datagram) else { return };
        self.received += length + 28;
        self.client = Some(from);
        let (mut plaintext, mut out) = (vec![0; length], DatagramBatch::new());
        let from = Endpoint::from(from);
        self.tunnel.receive(&datagram[..length], from, Instant::now(), |_| true, &mut plaintext, &mut out);
        self.transmit(&out);
        let Some((name, fields)) = message(&plaintext) else { return };
        if name == "h" {
            self.hello = field(&fields, "e").cloned().zip(field(&fields, "n").cloned());
        }
        if let ("r", Some(proof)) = (name.as_str(), field(&fields, "p")) {
            self.send_machines(proof);
        }
    }

    /// Sends machines of a hostile kind, as a relay that drew something else.
    fn send_machines(&mut self, proof: &Value) {
        let machines = [runaway(), block_and_pause(3_600e6, 0.0)];
        let side = format!("machines = [\"{}\"]", machines[self.random() as usize % 2]);
        let text = format!("name = \"lie\"\n[client]\n{side}\n[relay]\n{side}\n");
        for offset in (0..text.len()).step_by(400) {
            let part = &text[offset..text.len().min(offset + 400)];
            let (length, offset) = (text.len() as u64, offset as u64);
            self.say(&cbor!({"m" => {"p" => proof, "l" => length, "o" => offset, "t" => part}}).unwrap());
        }
    }

    fn lie(&mut self) {
        let (kind, number, byte) = (self.random() % 14, self.random() as u32, self.random() as u8);
        let bytes = |length: usize| Value::Array(vec![Value::from(byte); length]);
        let proof = cbor!({"e" => number % 4, "f" => bytes(16)}).unwrap();
        let choice = Choice::new(Tier::Padding, Strength::High);
        let choice = cbor!({"t" => choice.tier, "s" => choice.strength, "p" => choice.pool}).unwrap();
        let (epoch, nonce) = self.hello.clone().unwrap_or((Value::from(1), bytes(32)));
        match kind {
            0 | 1 => {
                let answer = cbor!({"a" => {"e" => epoch, "v" => 1, "h" => nonce, "n" => bytes(32), "c" => 0xffff_u32, "d" => choice, "m" => 1_420}});
                self.say(&answer.unwrap());
            }
            2 => self.say(&cbor!({"s" => proof}).unwrap()),
            3 => self.say(&cbor!({"x" => {"e" => number % 4, "r" => byte % 9}}).unwrap()),
            4 => self.say(&cbor!({"p" => {"t" => bytes(16)}}).unwrap()),
            5 => self.say(&cbor!({"q" => {"t" => bytes(16)}}).unwrap()),
            6 => self.say(&cbor!({"n" => {"e" => number % 4}}).unwrap()),
            7 => self.say(&cbor!({"m" => {"p" => proof, "l" => number, "o" => number, "t" => "lie"}}).unwrap()),
            8 => self.say(
                &cbor!({"h" => {"e" => number, "v" => [1, 1], "n" => bytes(32), "c" => 0, "d" => choice}}).unwrap(),
            ),
            9 => self.say(&cbor!({"c" => {"p" => proof, "q" => true}}).unwrap()),
            10 => self.frame(byte, &[byte; 100]),
            11 => self.frame(1, &[0x45; 900]),
            12 => self.seal(vec![byte; usize::from(byte) + 1]),
            _ => self.frame(2, &[byte; 200]),
        }
    }
}

#[test]
fn a_relay_that_lies_costs_its_client_little() {
    let (host, relay_host) = (Host::new(), Host::new());
    let _wire = Wire::between(&host, &relay_host, Network::First, 1_500);
    let (keys, relay_keys) = (Keys::new(), Keys::new());
    let address = SocketAddr::new(Network::First.v4(2), 51820);
    let peer = PeerConfig {
        public_key: relay_keys.public.clone(),
        preshared_key: None,
        endpoint: Some(address),
        allowed_ips: "10.9.0.2/32".to_owned(),
    };
    let config = Config { private_key: keys.private, listen_port: 51820, peers: vec![peer] };
    let socket = relay_host.inside(|| UdpSocket::bind(address)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let key = PrivateKey::from_base64(&relay_keys.private).unwrap();
    let client = PublicKey::from_base64(&keys.public).unwrap();
    let mut tunnel = Tunnel::new(TunnelConfig::new(&key, client, [1; 32]));
    tunnel.set_endpoint(Some(Endpoint::from(SocketAddr::new(Network::First.v4(1), 51820))));
    let mut relay = Relay { tunnel, socket, client: None, received: 0, hello: None, state: 1 };

    let end = End::start(host, Maybetun, config, keys.public, 1, SIZE as u16);
    defense(&end, "on ephemeral --tier padding --strength high").success();
    let began = Instant::now();
    while relay.hello.is_none() {
        assert!(began.elapsed() < Duration::from_secs(60), "the client says hello");
        relay.listen();
    }
    let (before, lines) = (resident(end.daemon.id()), end.daemon.log().lines().count());
    let began = Instant::now();
    relay.received = 0;
    while began.elapsed() < TIME {
        relay.listen();
        relay.lie();
    }
    assert!(relay.received < UPLINK, "{} bytes", relay.received);
    let after = resident(end.daemon.id());
    assert!(after < before + 4_096, "{before} KiB before, {after} KiB after");
    let log = end.daemon.log();
    assert!(log.lines().count() - lines <= 20, "{log}");
    println!("{} bytes up, {before} to {after} KiB", relay.received);
}

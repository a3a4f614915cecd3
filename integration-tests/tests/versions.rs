//! A relay of this version and clients of the next, which are played here: real datagrams, and messages by hand.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ciborium::{Value, cbor};
use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::negotiation::{Choice, Reason};
use maybetun::seed::{Nonces, Seed};
use maybetun::settings::Role;
use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{Config, End, Host, Keys, Network, PeerConfig, Wire, defense, eventually, shown_peer};
use maybetun_machines::{Strength, Tier};

const MTU: usize = 1_420;

/// A client that seals what the test writes, and shows what the relay says.
struct Client {
    key: PrivateKey,
    relay_key: PublicKey,
    tunnel: Tunnel,
    socket: UdpSocket,
    relay: SocketAddr,
    end: End,
    _host: Host,
}

impl Client {
    /// Starts a relay that is to agree, and opens a session with it.
    fn new() -> Self {
        let (host, relay_host) = (Host::new(), Host::new());
        let _wire = Wire::between(&host, &relay_host, Network::First, 1_500);
        let (keys, relay_keys) = (Keys::new(), Keys::new());
        let peer = PeerConfig {
            public_key: keys.public.clone(),
            preshared_key: None,
            endpoint: None,
            allowed_ips: "10.9.0.1/32".to_owned(),
        };
        let config = Config { private_key: relay_keys.private, listen_port: 51820, peers: vec![peer] };
        let end = End::start(relay_host, Maybetun, config, relay_keys.public.clone(), 2, MTU as u16);
        defense(&end, "on ephemeral --tier size").success();

        let relay = SocketAddr::new(Network::First.v4(2), 51820);
        let socket = host.inside(|| UdpSocket::bind((Network::First.v4(1), 0))).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let key = PrivateKey::from_base64(&keys.private).unwrap();
        let relay_key = PublicKey::from_base64(&relay_keys.public).unwrap();
        let mut tunnel = Tunnel::new(TunnelConfig::new(&key, relay_key, [1; 32]));
        tunnel.set_endpoint(Some(Endpoint::from(relay)));
        let mut client = Self { key, relay_key, tunnel, socket, relay, end, _host: host };
        let mut out = DatagramBatch::new();
        client.tunnel.start_handshake(Instant::now(), &mut out);
        client.transmit(&out);
        while client.tunnel.last_handshake().is_none() {
            client.receive();
        }
        client
    }

    fn transmit(&self, out: &DatagramBatch) {
        for datagram in out.iter() {
            self.socket.send_to(datagram, self.relay).unwrap();
        }
    }

    /// Returns what the next datagram held, if one comes soon.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut datagram = vec![0; 2_000];
        let (length, _) = self.socket.recv_from(&mut datagram).ok()?;
        let (mut plaintext, mut out) = (vec![0; length], DatagramBatch::new());
        let from = Endpoint::from(self.relay);
        // A tunnel that negotiates nothing ignores control frames; they stay where they were opened.
        self.tunnel.receive(&datagram[..length], from, Instant::now(), |_| true, &mut plaintext, &mut out);
        self.transmit(&out);
        Some(plaintext)
    }

    /// Sends a message in a control frame.
    fn say(&mut self, message: &Value) {
        let mut encoded = Vec::new();
        ciborium::into_writer(message, &mut encoded).unwrap();
        let mut frame = vec![0xff, 2];
        frame.extend((MTU as u16).to_be_bytes());
        frame.extend((encoded.len() as u16).to_be_bytes());
        frame.extend(encoded);
        frame.resize(MTU + 15, 0);
        let mut out = DatagramBatch::new();
        self.tunnel.send(&mut frame, MTU, Instant::now(), &mut out);
        self.transmit(&out);
    }

    /// Waits for a message of the relay with this name, and returns its fields.
    fn hear(&mut self, name: &str) -> Value {
        let end = Instant::now() + Duration::from_secs(60);
        while Instant::now() < end {
            let Some(plaintext) = self.receive() else { continue };
            let Some(body) = plaintext.strip_prefix(&[0xff, 2]) else { continue };
            let length = usize::from(u16::from_be_bytes([body[2], body[3]]));
            let message: Value = ciborium::from_reader(&body[4..4 + length]).unwrap();
            let (said, fields) = &message.as_map().unwrap()[0];
            if said.as_text() == Some(name) {
                return fields.clone();
            }
        }
        panic!("the relay does not say {name}");
    }

    /// A hello with everything that a later version may add.
    fn hello(&mut self, versions: (u8, u8), nonce: [u8; 32]) -> Value {
        let choice = Choice::new(Tier::Size, Strength::Low);
        cbor!({"h" => {
            "e" => 1, "v" => [versions.0, versions.1], "n" => bytes(&nonce), "c" => 0xffff_ffff_u32,
            "d" => {"t" => choice.tier, "s" => choice.strength, "p" => bytes(&choice.pool), "new" => 1},
            "z" => "of a later version"
        }})
        .unwrap()
    }
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Array(bytes.iter().copied().map(Value::from).collect())
}

fn field<'a>(fields: &'a Value, key: &str) -> &'a Value {
    let entry = fields.as_map().unwrap().iter().find(|(name, _)| name.as_text() == Some(key));
    &entry.unwrap_or_else(|| panic!("no {key} in {fields:?}")).1
}

fn number(value: &Value) -> u64 {
    u64::try_from(value.as_integer().unwrap()).unwrap()
}

#[test]
fn a_newer_client_that_still_speaks_this_version_agrees() {
    let mut client = Client::new();
    // A message that this version does not know has no effect.
    client.say(&cbor!({"future" => {"e" => 1}}).unwrap());
    let nonce = [7; 32];
    let hello = client.hello((1, 2), nonce);
    client.say(&hello);
    let answer = client.hear("a");
    assert_eq!((number(field(&answer, "v")), number(field(&answer, "c"))), (1, 15), "what both know, and no more");

    let relay: Vec<u8> = field(&answer, "n").as_array().unwrap().iter().map(|byte| number(byte) as u8).collect();
    let nonces = Nonces { client: nonce, relay: relay.try_into().unwrap() };
    let seed = Seed::derive(Role::Client, &client.key, &client.relay_key, None, &nonces);
    let drawn = Choice::draw(&seed, Choice::new(Tier::Size, Strength::Low)).unwrap();
    let (fingerprint, digest) = (seed.fingerprint(), drawn.digest());
    let ready = cbor!({"r" => {
        "p" => {"e" => 1, "f" => bytes(&fingerprint.0), "new" => [1, 2]}, "d" => bytes(&digest.0), "y" => 0
    }});
    client.say(&ready.unwrap());
    let start = client.hear("s");
    assert_eq!(number(field(&start, "e")), 1);
    eventually("the relay is protected", Duration::from_secs(30), || {
        shown_peer(&client.end)["protection"] == "protected"
    });
    let epoch = &shown_peer(&client.end)["negotiation"]["epoch"];
    assert_eq!(epoch["fingerprint"], fingerprint.to_string());
    assert_eq!(shown_peer(&client.end)["dropped"]["malformed"], 1, "the message of the future");
}

#[test]
fn a_client_that_has_left_this_version_behind_is_told() {
    let mut client = Client::new();
    let hello = client.hello((2, 3), [7; 32]);
    client.say(&hello);
    loop {
        // The relay says first that it may be called.
        let stop = client.hear("x");
        if number(field(&stop, "e")) == 1 {
            assert_eq!(number(field(&stop, "r")) as u8, u8::from(Reason::Version));
            break;
        }
    }
    assert_eq!(shown_peer(&client.end)["protection"], "one-sided");
}

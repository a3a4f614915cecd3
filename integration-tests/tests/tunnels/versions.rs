//! A relay of this version and clients of the next, which are played here: real datagrams, and messages by hand.

use std::net::SocketAddr;
use std::time::Duration;

use ciborium::{Value, cbor};
use maybetun::negotiation::{Choice, Reason};
use maybetun::seed::Nonces;
use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::initiator::Initiator;
use maybetun_integration_tests::initiator::frame::{bytes, bytes_of, number};
use maybetun_integration_tests::{Config, End, Host, Keys, Network, PeerConfig, Wire, defense, eventually, shown_peer};
use maybetun_machines::{Strength, Tier};

/// How long the relay may take for a word.
const PATIENCE: Duration = Duration::from_secs(60);

/// A client that says what the test writes, and the relay that it talks to.
struct Client {
    initiator: Initiator,
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
        let end = End::start(relay_host, Maybetun, config, relay_keys.public.clone(), 2, 1_420);
        defense(&end, "on ephemeral --tier size").success();
        let relay = SocketAddr::new(Network::First.v4(2), 51820);
        let initiator = Initiator::call(&host, relay, &keys, &relay_keys.public);
        Self { initiator, end, _host: host }
    }

    /// Waits for a message of the relay with this name, and returns its fields.
    fn hear(&mut self, name: &str) -> Value {
        let heard = self.initiator.hear_message(name, PATIENCE);
        heard.unwrap_or_else(|| panic!("the relay does not say {name}"))
    }

    /// Says hello, with everything that a later version may add.
    fn hello(&mut self, versions: [u8; 2], nonce: [u8; 32]) {
        let choice = Choice::new(Tier::Size, Strength::Low);
        let hello = cbor!({"h" => {
            "e" => 1, "v" => versions, "n" => bytes(&nonce), "c" => 0xffff_ffff_u32,
            "d" => {"t" => choice.tier, "s" => choice.strength, "p" => bytes(&choice.pool), "new" => 1},
            "z" => "of a later version"
        }});
        self.initiator.say(&hello.unwrap());
    }
}

#[test]
fn a_newer_client_that_still_speaks_this_version_agrees() {
    let mut client = Client::new();
    // A message that this version does not know has no effect.
    client.initiator.say(&cbor!({"future" => {"e" => 1}}).unwrap());
    let nonce = [7; 32];
    client.hello([1, 2], nonce);
    let answer = client.hear("a");
    let said = (number(&answer, "v"), number(&answer, "c"));
    assert_eq!(said, (Some(1), Some(0b11_1111)), "what both know, and no more");

    let seed = client.initiator.seed(&Nonces { client: nonce, relay: bytes_of(&answer, "n").unwrap() });
    let drawn = Choice::draw(&seed, Choice::new(Tier::Size, Strength::Low)).unwrap();
    let (fingerprint, digest) = (seed.fingerprint(), drawn.digest());
    let ready = cbor!({"r" => {
        "p" => {"e" => 1, "f" => bytes(&fingerprint.0), "new" => [1, 2]}, "d" => bytes(&digest.0), "y" => 0
    }});
    client.initiator.say(&ready.unwrap());
    let start = client.hear("s");
    assert_eq!(number(&start, "e"), Some(1));
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
    client.hello([2, 3], [7; 32]);
    loop {
        // The relay says first that it may be called.
        let stop = client.hear("x");
        if number(&stop, "e") == Some(1) {
            assert_eq!(number(&stop, "r"), Some(u8::from(Reason::Version).into()));
            break;
        }
    }
    assert_eq!(shown_peer(&client.end)["protection"], "one-sided");
}

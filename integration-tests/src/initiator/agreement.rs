//! Speaking the negotiation as the client does, up to an agreement.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ciborium::{Value, cbor};
use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::negotiation::Choice;
use maybetun::seed::{Nonces, Seed};
use maybetun::settings::Role;

use super::frame::{SIZE, bytes, bytes_of, control, message};
use super::{Initiator, noise};

impl Initiator {
    /// Sends a message in a control frame.
    pub fn say(&mut self, message: &Value) {
        self.data(&control(message));
    }

    /// Waits for a message with this name, and returns its fields; `None` if none comes within `patience`.
    pub fn hear_message(&mut self, name: &str, patience: Duration) -> Option<Value> {
        let end = Instant::now() + patience;
        while let Some(plaintext) = self.hear(end) {
            if let Some((_, fields)) = message(&plaintext).filter(|(said, _)| said == name) {
                return Some(fields);
            }
        }
        None
    }

    /// Derives the seed of both nonces.
    ///
    /// # Panics
    /// Panics if the relay's key is of small order.
    pub fn seed(&self, nonces: &Nonces) -> Seed {
        let own = PrivateKey::from_bytes(&self.identity.own.secret()).expect("a key that is not zeros");
        let relay = PublicKey::from_base64(&BASE64.encode(self.identity.peer)).expect("the relay's key is one");
        Seed::derive(Role::Client, &own, &relay, None, nonces)
    }

    /// Says hello, with everything as an honest client of this version does, and returns the nonce.
    pub fn hello(&mut self, epoch: u32, choice: Choice) -> [u8; 32] {
        let nonce = noise::random();
        let choice = cbor!({"t" => choice.tier, "s" => choice.strength, "p" => bytes(&choice.pool)});
        let choice = choice.expect("a value of plain fields");
        let hello =
            cbor!({"h" => {"e" => epoch, "v" => [1, 1], "n" => bytes(&nonce), "c" => 15, "d" => choice, "m" => SIZE}});
        self.say(&hello.expect("a value of plain fields"));
        nonce
    }

    /// Agrees with the relay on what both draw, as an honest client does, and returns the proof; `None` if it does not come to
    /// that within `patience` for each of its words.
    pub fn agree(&mut self, epoch: u32, choice: Choice, patience: Duration) -> Option<Value> {
        let client = self.hello(epoch, choice);
        let answer = self.hear_message("a", patience)?;
        let seed = self.seed(&Nonces { client, relay: bytes_of(&answer, "n")? });
        let digest = Choice::draw(&seed, choice)?.digest();
        let proof = cbor!({"e" => epoch, "f" => bytes(&seed.fingerprint().0)}).ok()?;
        self.say(&cbor!({"r" => {"p" => proof, "d" => bytes(&digest.0)}}).ok()?);
        self.hear_message("s", patience)?;
        self.say(&cbor!({"c" => {"p" => proof, "q" => false}}).ok()?);
        Some(proof)
    }
}

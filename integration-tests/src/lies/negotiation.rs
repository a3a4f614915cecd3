//! Lies in the negotiation of a defense.

use ciborium::{Value, cbor};
use maybetun::negotiation::Choice;
use maybetun_machines::{Strength, Tier};

use super::{DATAGRAMS, Liar, PATIENCE};
use crate::initiator::frame::{CONTROL, SIZE, bytes, control, frame};
use crate::machine::{block_and_pause, runaway};

/// Most bytes of a message (`docs/negotiation.md`).
const MAX_MESSAGE: usize = 576;

/// What the liar asks for.
fn choice() -> Choice {
    Choice::new(Tier::Padding, Strength::High)
}

impl Liar {
    /// Agrees, unless that was done in this session; tells whether there is an agreement.
    pub(super) fn agree(&mut self) -> bool {
        if self.proof.is_none() {
            self.epoch += 1;
            self.proof = self.initiator.agree(self.epoch, choice(), PATIENCE);
        }
        self.proof.is_some()
    }

    fn say(&mut self, message: Result<Value, ciborium::value::Error>) {
        self.initiator.say(&message.expect("a value of plain fields"));
    }

    /// A proof of the liar's last agreement; of none if there was none.
    fn proof(&mut self) -> Value {
        self.proof.clone().unwrap_or_else(|| self.false_proof())
    }

    fn false_proof(&mut self) -> Value {
        let (epoch, fingerprint) = (self.below(4), self.noise(16));
        cbor!({"e" => epoch, "f" => bytes(&fingerprint)}).expect("a value of plain fields")
    }
}

/// Hello and stop in turn: each hello is answered by a derivation, each stop ends what ran.
pub fn hello_and_stop(liar: &mut Liar) {
    for _ in 0..DATAGRAMS / 2 {
        liar.epoch += 1;
        let epoch = liar.epoch;
        liar.initiator.hello(epoch, choice());
        liar.say(cbor!({"x" => {"e" => epoch, "r" => 6}}));
    }
    liar.proof = None;
}

/// Hellos of every version, choice, capability and MTU, and of epochs that go up and down.
pub fn hellos_of_every_kind(liar: &mut Liar) {
    let pool = choice().pool;
    for _ in 0..DATAGRAMS {
        let [epoch, versions, said, capabilities, mtu] = std::array::from_fn(|_| liar.random());
        let pool = if said % 3 == 0 { liar.noise(32) } else { pool.to_vec() };
        let nonce = liar.noise(32);
        let choice = cbor!({"t" => said as u8 % 5, "s" => (said >> 8) as u8 % 5, "p" => bytes(&pool)});
        let choice = choice.expect("a value of plain fields");
        let versions = [versions as u8 % 4, (versions >> 8) as u8 % 4];
        let masking = masking(liar, said);
        liar.say(cbor!({"h" => {
            "e" => epoch as u32, "v" => versions, "n" => bytes(&nonce), "c" => capabilities as u32, "d" => choice,
            "m" => mtu as u16, "k" => masking
        }}));
    }
    liar.proof = None;
}

/// Wishes for masking without a bound, or that mean nothing.
fn masking(liar: &mut Liar, said: u64) -> Value {
    let amount = liar.random();
    let most = cbor!([amount, u64::MAX, null, u16::MAX, 0]);
    let most = most.expect("a value of plain fields");
    let wish = match said % 4 {
        0 => cbor!([said as u8, null, most, most, true, false]),
        1 => cbor!([1, [amount as u16, said as u16], [null, null, null, null, null], null, false, true]),
        2 => cbor!([amount, said]),
        _ => cbor!("as much as there is"),
    };
    wish.expect("a value of plain fields")
}

/// Proofs of epochs that nobody agreed on, and digests of what nobody drew.
pub fn proofs_of_nothing(liar: &mut Liar) {
    for number in 0..DATAGRAMS {
        let proof = if number % 2 == 0 { liar.proof() } else { liar.false_proof() };
        let digest = liar.noise(32);
        match number % 4 {
            0 | 1 => liar.say(cbor!({"r" => {"p" => proof, "d" => bytes(&digest)}})),
            2 => liar.say(cbor!({"c" => {"p" => proof, "q" => true}})),
            _ => liar.say(cbor!({"s" => proof})),
        }
    }
}

/// Machines that do more than any draw may, in parts that nobody asked for: too many, too long, in no order.
pub fn parts_unasked(liar: &mut Liar) {
    let machines = [runaway(), block_and_pause(3_600e6, 0.0)];
    let side = format!("machines = {machines:?}");
    let text = format!("name = \"lie\"\n[client]\n{side}\n[relay]\n{side}\n");
    for number in 0..DATAGRAMS {
        let proof = liar.proof();
        let offset = liar.below(text.len() / 400 + 1) * 400;
        let part = &text[offset.min(text.len())..text.len().min(offset + 400)];
        let length = if number % 4 == 0 { liar.random() as u32 } else { text.len() as u32 };
        liar.say(cbor!({"m" => {"p" => proof, "l" => length, "o" => offset as u32, "t" => part}}));
    }
}

/// The relay's machines, asked for from everywhere, after a digest that makes it offer them.
pub fn fetches_without_end(liar: &mut Liar) {
    liar.epoch += 1;
    let epoch = liar.epoch;
    liar.initiator.hello(epoch, choice());
    for number in 0..DATAGRAMS {
        let offset = if number % 2 == 0 { liar.random() as u32 } else { 400 * number as u32 };
        liar.say(cbor!({"f" => {"e" => epoch, "o" => offset}}));
    }
    liar.proof = None;
}

/// Challenges without an end, echoes of tokens that nobody sent, and one datagram with a challenge from many addresses.
pub fn path_tokens(liar: &mut Liar) {
    liar.agree();
    for number in 0..DATAGRAMS {
        let token = liar.noise(16);
        let name = if number % 2 == 0 { "p" } else { "q" };
        liar.say(cbor!({name => {"t" => bytes(&token)}}));
    }
    let token = liar.noise(16);
    let challenge = cbor!({"p" => {"t" => bytes(&token)}}).expect("a value of plain fields");
    let Some(session) = &mut liar.initiator.session else { return };
    let datagram = session.seal(&control(&challenge));
    (3_000..3_016).for_each(|port| liar.transmit_from(liar.outer, port, &datagram));
}

/// Control frames that hold no message: noise, nothing, depth without end, lengths that lie.
pub fn messages_of_noise(liar: &mut Liar) {
    for number in 0..DATAGRAMS {
        let stated = [0, 1, 40, MAX_MESSAGE as u16, MAX_MESSAGE as u16 + 1, u16::MAX][liar.below(6)];
        // Arrays, maps and texts of CBOR that go on and on, or are as long as a number can say.
        let contents = match number % 5 {
            0 => vec![0x81; MAX_MESSAGE],
            1 => vec![0x9f; MAX_MESSAGE],
            2 => [&[0x9b][..], &[0xff; 8]].concat(),
            3 => [&[0xa1, 0x61, b'm', 0x7b][..], &[0xff; 8]].concat(),
            _ => liar.noise(MAX_MESSAGE),
        };
        let body = [&stated.to_be_bytes()[..], &contents].concat();
        liar.initiator.data(&frame(CONTROL, &body, SIZE));
    }
}

/// An agreement, and then data of other sizes than what was agreed on, a proof of another epoch, and silence.
pub fn agreements_broken(liar: &mut Liar) {
    liar.agree();
    for length in [28, 100, 1_000, 1_419] {
        let mut packet = liar.honest_packet();
        packet.resize(length, 0);
        liar.initiator.data(&packet);
    }
    let proof = liar.false_proof();
    liar.say(cbor!({"c" => {"p" => proof, "q" => true}}));
    liar.hang_up();
}

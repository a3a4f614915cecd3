use ciborium::{Value, cbor};
use proptest::prelude::*;

use super::*;
use crate::masking::{Allowance, Band, MaskingMode};

fn hello() -> Hello {
    let choice = Choice { tier: 0, strength: 1, pool: [0xff; 32] };
    Hello {
        epoch: u32::MAX,
        versions: (1, 1),
        nonce: [0xff; 32],
        capabilities: Capabilities::BUNDLES,
        choice,
        mtu: Some(u16::MAX),
        masking: Some(longest_terms()),
    }
}

/// Terms of which nothing is short.
fn longest_terms() -> Terms {
    let allowance = Allowance {
        per_second: Some(u64::MAX),
        per_hour: Some(u64::MAX),
        per_day: Some(u64::MAX),
        of_user: Some(u16::MAX),
        of_link: Some(u16::MAX),
    };
    Terms {
        mode: MaskingMode::Adaptive,
        band: Band::new(9_999, 10_000),
        masking_budget: allowance,
        padding_budget: Some(allowance),
        is_metered: true,
        saves_battery: true,
    }
}

fn answer() -> Answer {
    let Hello { epoch, nonce, capabilities, choice, mtu, .. } = hello();
    Answer { epoch, version: 255, hello: nonce, nonce, capabilities, choice, mtu }
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut body = Vec::new();
    message.encode(&mut body);
    body
}

#[test]
fn every_message_survives_its_bytes_and_fits() {
    let proof = Proof::new(7, Fingerprint([0xff; 16]));
    let stop = |reason| Message::Stop(Stop::of(proof, reason));
    let stop_any = |reason| Message::Stop(Stop::new(7, reason));
    let all = [
        Message::Hello(hello()),
        Message::Answer(answer()),
        Message::Ready(Ready { proof, digest: [0xff; 32] }),
        Message::Start(proof),
        Message::Started(Started { proof, asks: true }),
        Message::Fetch(Fetch { epoch: u32::MAX, offset: u32::MAX }),
        Message::Part(Part { proof, length: u32::MAX, offset: u32::MAX, text: "a".repeat(400) }),
        Message::Renew(Renew { epoch: u32::MAX }),
        Message::Challenge(Token::new([0xff; 16])),
        Message::Echo(Token::new([0xff; 16])),
    ];
    let reasons = (0..9).map(Reason::from);
    for message in all.into_iter().chain(reasons.flat_map(|reason| [stop(reason), stop_any(reason)])) {
        let mut body = encoded(&message);
        assert!(body.len() <= MAX_MESSAGE + 2, "{} bytes", body.len());
        body.resize(1_416, 0);
        assert_eq!(Message::decode(&body), Ok(message));
    }
}

#[test]
fn a_later_version_may_add_fields_messages_and_reasons() {
    let value = |message: &Message| Value::serialized(message).unwrap();
    let body = |value: &Value| {
        let mut bytes = vec![0; 2];
        ciborium::into_writer(value, &mut bytes).unwrap();
        let length = (bytes.len() - 2) as u16;
        bytes[..2].copy_from_slice(&length.to_be_bytes());
        bytes
    };
    let mut newer = value(&Message::Hello(hello()));
    let Value::Map(message) = &mut newer else { panic!("{newer:?}") };
    let Value::Map(fields) = &mut message[0].1 else { panic!("{message:?}") };
    fields.push((Value::from("later"), cbor!({"deep" => [1, 2, {"deeper" => null}]}).unwrap()));
    assert_eq!(Message::decode(&body(&newer)), Ok(Message::Hello(hello())));

    assert_eq!(Message::decode(&body(&cbor!({"later" => {"e" => 1}}).unwrap())), Err(DecodeError::Contents));
    let stop = cbor!({"x" => {"e" => 3, "r" => 99}}).unwrap();
    assert_eq!(Message::decode(&body(&stop)), Ok(Message::Stop(Stop::new(3, Reason::Other))));
}

#[test]
fn a_length_that_is_too_large_or_lies_is_refused() {
    let mut body = encoded(&Message::Hello(hello()));
    assert_eq!(Message::decode(&body[..body.len() - 1]), Err(DecodeError::Length));
    assert_eq!(Message::decode(&body[..1]), Err(DecodeError::Length));
    body.resize(2_000, 0);
    body[..2].copy_from_slice(&(MAX_MESSAGE as u16 + 1).to_be_bytes());
    assert_eq!(Message::decode(&body), Err(DecodeError::Length));
    body[..2].copy_from_slice(&[0, 0]);
    assert_eq!(Message::decode(&body), Err(DecodeError::Contents));
}

#[test]
fn tiers_and_strengths_have_the_numbers_of_the_protocol() {
    let numbers = |tier, strength| {
        let choice = Choice::new(tier, strength);
        assert_eq!(choice.names(), Some((tier, strength)));
        (choice.tier, choice.strength)
    };
    assert_eq!(numbers(Tier::Size, Strength::Low), (0, 1));
    assert_eq!(numbers(Tier::Padding, Strength::Medium), (1, 2));
    assert_eq!(numbers(Tier::Blocking, Strength::High), (2, 3));
    let choice = Choice::new(Tier::Size, Strength::Low);
    for unknown in [Choice { tier: 3, ..choice }, Choice { strength: 0, ..choice }, Choice { strength: 4, ..choice }] {
        assert_eq!(unknown.names(), None);
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(body in prop::collection::vec(any::<u8>(), 0..700)) {
        let _ = Message::decode(&body);
    }

    #[test]
    fn no_change_of_a_byte_panics(at in 0..300usize, byte: u8) {
        let mut body = encoded(&Message::Answer(answer()));
        let at = at % body.len();
        body[at] = byte;
        let _ = Message::decode(&body);
    }
}

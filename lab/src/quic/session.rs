//! A handshake with the messages, sizes and turns of TLS 1.3 over QUIC (RFC 9001, section 4), and without its secrets.

use std::any::Any;
use std::sync::Arc;

use quinn_proto::crypto::{self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, UnsupportedVersion};
use quinn_proto::transport_parameters::TransportParameters;
use quinn_proto::{ConnectError, ConnectionId, Side, TransportError, TransportErrorCode};

use super::keys::{Generation, keys, packet_keys};

/// Bytes of a message's head: its type, and how long the rest is (RFC 8446, section 4).
const HEAD: usize = 4;

/// The longest message that is read.
const LONGEST: usize = 1 << 13;

/// The messages that are seen on the way. Several that go together are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Message {
    ClientHello = 1,
    ServerHello = 2,
    NewSessionTicket = 4,
    Certificates = 11,
    Finished = 20,
}

impl Message {
    /// Returns its bytes with the head.
    const fn length(self) -> usize {
        match self {
            // As over TCP: padded, as browsers do.
            Self::ClientHello => 517,
            // RFC 8446, section 4.1.3, with a key of X25519 and the version, and no session to echo (RFC 9001, section 8.4).
            Self::ServerHello => 90,
            // A server sends no more than three times what it has received until it knows that the client is where it says (RFC 9000,
            // section 8.1): the client's first datagram has 1,200 bytes, and certificates that are compressed (RFC 8879), as browsers ask
            // for, fit three of them. Over TCP they have some 4,000, where that makes no difference.
            Self::Certificates => 2_900,
            // The head and a hash of SHA-384.
            Self::Finished => 52,
            // As over TCP, without the record.
            Self::NewSessionTicket => 9,
        }
    }

    /// Tells whether the sender's transport parameters are in it (RFC 9001, section 8.2).
    fn has_parameters(self) -> bool {
        matches!(self, Self::ClientHello | Self::Certificates)
    }

    fn write(self, parameters: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let parameters = if self.has_parameters() { parameters } else { &[] };
        let length = self.length().max(HEAD + 2 + parameters.len());
        out.extend(((length - HEAD) as u32).to_be_bytes());
        out[start] = self as u8;
        if self.has_parameters() {
            out.extend((parameters.len() as u16).to_be_bytes());
            out.extend(parameters);
        }
        out.resize(start + length, 0);
    }
}

/// Who does what next.
#[derive(Debug, Clone, Copy)]
enum Step {
    Read(Message),
    Write(Message),
    /// Other keys are used from now on.
    Switch,
    /// A message, the last before other keys.
    WriteAndSwitch(Message),
}

const CLIENT: &[Step] = &[
    Step::Write(Message::ClientHello),
    Step::Read(Message::ServerHello),
    Step::Switch,
    Step::Read(Message::Certificates),
    Step::WriteAndSwitch(Message::Finished),
    Step::Read(Message::NewSessionTicket),
];

const SERVER: &[Step] = &[
    Step::Read(Message::ClientHello),
    Step::WriteAndSwitch(Message::ServerHello),
    Step::WriteAndSwitch(Message::Certificates),
    Step::Read(Message::Finished),
    Step::Write(Message::NewSessionTicket),
];

/// One end of a handshake.
struct Session {
    steps: std::iter::Copied<std::slice::Iter<'static, Step>>,
    next: Option<Step>,
    /// The last keys that were given out.
    generation: Generation,
    side: Side,
    ours: Vec<u8>,
    theirs: Option<Vec<u8>>,
    /// What has come of a message that is not whole.
    read: Vec<u8>,
}

impl Session {
    fn new(side: Side, parameters: &TransportParameters) -> Self {
        let mut ours = Vec::new();
        parameters.write(&mut ours);
        let mut steps = if side.is_client() { CLIENT } else { SERVER }.iter().copied();
        let next = steps.next();
        Self { steps, next, generation: 0, side, ours, theirs: None, read: Vec::new() }
    }

    fn advance(&mut self) {
        self.next = self.steps.next();
    }

    fn next_generation(&mut self) -> Generation {
        self.generation += 1;
        self.generation
    }
}

fn wrong(reason: String) -> TransportError {
    // TLS's alert `unexpected_message` (RFC 8446, section 6).
    TransportError { code: TransportErrorCode::crypto(10), frame: None, reason }
}

impl crypto::Session for Session {
    fn initial_keys(&self, _: &ConnectionId, _: Side) -> Keys {
        keys(0)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        None
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        None
    }

    fn early_data_accepted(&self) -> Option<bool> {
        None
    }

    fn is_handshaking(&self) -> bool {
        !matches!(
            self.next,
            None | Some(Step::Read(Message::NewSessionTicket) | Step::Write(Message::NewSessionTicket))
        )
    }

    fn read_handshake(&mut self, bytes: &[u8]) -> Result<bool, TransportError> {
        self.read.extend_from_slice(bytes);
        while !self.read.is_empty() {
            let Some(Step::Read(expected)) = self.next else {
                return Err(wrong(format!("{} bytes of a handshake, expected none", self.read.len())));
            };
            if self.read[0] != expected as u8 {
                return Err(wrong(format!("a message of type {}, expected {expected:?}", self.read[0])));
            }
            let Some([_, length @ ..]) = self.read.first_chunk::<HEAD>().copied() else { break };
            let length = HEAD + u32::from_be_bytes([0, length[0], length[1], length[2]]) as usize;
            if length > LONGEST {
                return Err(wrong(format!("{expected:?} of {length} bytes, expected {LONGEST} at most")));
            }
            if self.read.len() < length {
                break;
            }
            if expected.has_parameters() {
                let parameters = parameters(&self.read[HEAD..length]);
                self.theirs = Some(parameters.ok_or_else(|| wrong(format!("{expected:?} that is cut")))?.to_vec());
            }
            self.read.drain(..length);
            self.advance();
        }
        Ok(false)
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        let read = |bytes: &Vec<u8>| TransportParameters::read(self.side, &mut bytes.as_slice());
        Ok(self.theirs.as_ref().map(read).transpose()?)
    }

    fn write_handshake(&mut self, out: &mut Vec<u8>) -> Option<Keys> {
        let (message, is_last) = match self.next? {
            Step::Read(_) => return None,
            Step::Write(message) => (Some(message), false),
            Step::Switch => (None, true),
            Step::WriteAndSwitch(message) => (Some(message), true),
        };
        if let Some(message) = message {
            message.write(&self.ours, out);
        }
        self.advance();
        is_last.then(|| keys(self.next_generation()))
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        Some(packet_keys(self.next_generation()))
    }

    fn is_valid_retry(&self, _: &ConnectionId, _: &[u8], _: &[u8]) -> bool {
        false
    }

    fn export_keying_material(&self, _: &mut [u8], _: &[u8], _: &[u8]) -> Result<(), ExportKeyingMaterialError> {
        Err(ExportKeyingMaterialError)
    }
}

/// Finds the transport parameters in a message without its head.
fn parameters(message: &[u8]) -> Option<&[u8]> {
    let (length, rest) = message.split_first_chunk()?;
    rest.get(..u16::from_be_bytes(*length).into())
}

/// Begins handshakes, at either end.
pub(super) struct Handshakes;

impl crypto::ClientConfig for Handshakes {
    fn start_session(
        self: Arc<Self>,
        _: u32,
        _: &str,
        parameters: &TransportParameters,
    ) -> Result<Box<dyn crypto::Session>, ConnectError> {
        Ok(Box::new(Session::new(Side::Client, parameters)))
    }
}

impl crypto::ServerConfig for Handshakes {
    fn initial_keys(&self, _: u32, _: &ConnectionId) -> Result<Keys, UnsupportedVersion> {
        Ok(keys(0))
    }

    fn retry_tag(&self, _: u32, _: &ConnectionId, _: &[u8]) -> [u8; 16] {
        // No retry is asked for.
        [0; 16]
    }

    fn start_session(self: Arc<Self>, _: u32, parameters: &TransportParameters) -> Box<dyn crypto::Session> {
        Box::new(Session::new(Side::Server, parameters))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use quinn_proto::crypto::Session as _;

    use super::*;

    /// Parameters of which none is said.
    fn defaults() -> TransportParameters {
        TransportParameters::read(Side::Client, &mut [].as_slice()).unwrap()
    }

    fn ends() -> [Session; 2] {
        [Side::Client, Side::Server].map(|side| Session::new(side, &defaults()))
    }

    #[test]
    fn both_ends_send_the_messages_of_tls_in_turn() {
        let [mut client, mut server] = ends();
        // Who writes, how many bytes, and whether other keys follow.
        for (is_client, bytes, is_last) in [
            (true, 517, false),
            (false, 90, true),
            (true, 0, true),
            (false, 2_900, true),
            (true, 52, true),
            (false, 9, false),
        ] {
            let (from, to) = if is_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let mut written = Vec::new();
            assert_eq!(from.write_handshake(&mut written).is_some(), is_last, "{bytes} bytes");
            assert_eq!(written.len(), bytes);
            for piece in written.chunks(100) {
                to.read_handshake(piece).unwrap();
            }
        }
        for end in [&mut client, &mut server] {
            assert!(!end.is_handshaking());
            assert_eq!(end.transport_parameters().unwrap(), Some(defaults()));
            assert!(end.write_handshake(&mut Vec::new()).is_none());
        }
    }

    #[test]
    fn a_message_out_of_turn_is_refused_by_its_name() {
        let refused = |bytes: &[u8]| ends()[1].read_handshake(bytes).unwrap_err().reason;
        assert_eq!(refused(&[20, 0, 0, 0]), "a message of type 20, expected ClientHello");
        assert_eq!(refused(&[1, 0, 0x20, 0]), "ClientHello of 8196 bytes, expected 8192 at most");
        assert_eq!(refused(&[1, 0, 0, 3, 0, 2, 0]), "ClientHello that is cut");
        assert_eq!(refused(&[1, 0, 0, 2, 0, 0, 9]), "1 bytes of a handshake, expected none");
    }

    proptest! {
        #[test]
        fn whatever_is_read_does_not_panic_and_is_bounded(
            pieces in prop::collection::vec(prop::collection::vec(0..22_u8, 1..2_000), 1..40),
            start in prop::option::of(Just([1, 0, 0x10, 0])),
        ) {
            for mut end in ends() {
                end.write_handshake(&mut Vec::new());
                for piece in start.iter().map(|start| start.as_slice()).chain(pieces.iter().map(Vec::as_slice)) {
                    if end.read_handshake(piece).is_err() {
                        break;
                    }
                    prop_assert!(end.read.len() < LONGEST);
                    let _ = end.transport_parameters();
                }
            }
        }
    }
}

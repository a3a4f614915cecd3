//! Frames and messages of the negotiation, written by hand (`docs/negotiation.md`).

use ciborium::Value;

/// The size of a frame where all have one: the tunnel's MTU, in bytes.
pub const SIZE: usize = 1_420;

/// A frame that carries nothing.
pub const PADDING: u8 = 0;

/// A frame of several IP packets.
pub const BUNDLE: u8 = 1;

/// A frame of a message of the negotiation.
pub const CONTROL: u8 = 2;

/// A frame that keeps a session alive.
pub const KEEPALIVE: u8 = 3;

/// A frame that tells of the path, or probes it.
pub const PATH: u8 = 4;

/// Returns a plaintext of `size` bytes: a frame of any kind, with any body that has room.
pub fn frame(kind: u8, body: &[u8], size: usize) -> Vec<u8> {
    let mut frame = vec![0xff, kind];
    frame.extend((size as u16).to_be_bytes());
    frame.extend(body);
    frame.resize(size, 0);
    frame
}

/// Returns a control frame with a message.
pub fn control(message: &Value) -> Vec<u8> {
    let mut encoded = Vec::new();
    ciborium::into_writer(message, &mut encoded).expect("a value is written to memory");
    let body = [&(encoded.len() as u16).to_be_bytes()[..], &encoded].concat();
    frame(CONTROL, &body, SIZE)
}

/// Reads the name and the fields of the message in a plaintext; `None` if it holds none.
pub fn message(plaintext: &[u8]) -> Option<(String, Value)> {
    let body = plaintext.strip_prefix(&[0xff, CONTROL])?.get(2..)?;
    let (length, rest) = body.split_first_chunk::<2>()?;
    let encoded = rest.get(..usize::from(u16::from_be_bytes(*length)))?;
    let Value::Map(entries) = ciborium::from_reader(encoded).ok()? else { return None };
    let (name, fields) = entries.into_iter().next()?;
    Some((name.into_text().ok()?, fields))
}

/// Returns bytes as the protocol has them: an array of numbers.
pub fn bytes(bytes: &[u8]) -> Value {
    Value::Array(bytes.iter().copied().map(Value::from).collect())
}

/// Returns a field of a message.
pub fn field<'a>(fields: &'a Value, key: &str) -> Option<&'a Value> {
    let entry = fields.as_map()?.iter().find(|(name, _)| name.as_text() == Some(key));
    entry.map(|(_, value)| value)
}

/// Returns a number in a field of a message.
pub fn number(fields: &Value, key: &str) -> Option<u64> {
    field(fields, key)?.as_integer()?.try_into().ok()
}

/// Returns the bytes in a field of a message.
pub fn bytes_of<const N: usize>(fields: &Value, key: &str) -> Option<[u8; N]> {
    let byte = |value: &Value| value.as_integer().and_then(|number| u8::try_from(number).ok());
    let bytes: Option<Vec<u8>> = field(fields, key)?.as_array()?.iter().map(byte).collect();
    bytes?.try_into().ok()
}

//! A growing buffer for text that holds keys: wiped when it grows and when it is dropped.

use std::fmt;

use zeroize::Zeroizing;

/// Bytes that hold secrets. No copy of them stays behind in memory, also when the buffer has to move to grow.
pub(crate) struct SecretBuffer {
    bytes: Zeroizing<Vec<u8>>,
}

impl SecretBuffer {
    /// Returns an empty buffer with room for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::with_capacity(capacity)) }
    }

    /// Appends `bytes`.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let needed = self.bytes.len() + bytes.len();
        if needed > self.bytes.capacity() {
            // `Vec` would free its old allocation unwiped.
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.bytes.capacity())));
            larger.extend_from_slice(&self.bytes);
            self.bytes = larger;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Appends `key`, `separator`, `value` and a line end.
    pub(crate) fn line(&mut self, key: &str, separator: &str, value: impl fmt::Display) {
        // Only a `Display` that fails by itself can fail here, and those of numbers, addresses and text do not.
        let _ = fmt::Write::write_fmt(self, format_args!("{key}{separator}{value}\n"));
    }

    /// Takes the first `count` bytes out, as text; `None` unless they are UTF-8. Either way they leave the buffer.
    #[cfg(feature = "uapi")]
    pub(crate) fn take_text(&mut self, count: usize) -> Option<Zeroizing<String>> {
        let taken = std::str::from_utf8(&self.bytes[..count]).map(|text| Zeroizing::new(text.to_owned())).ok();
        self.bytes.drain(..count);
        taken
    }

    /// Returns the text written with `fmt::Write`.
    pub(crate) fn into_text(mut self) -> Zeroizing<String> {
        let text = String::from_utf8(std::mem::take(&mut *self.bytes)).unwrap_or_else(|error| {
            // Only reached if bytes that are not UTF-8 were pushed.
            drop(Zeroizing::new(error.into_bytes()));
            String::new()
        });
        Zeroizing::new(text)
    }

    /// Returns the bytes.
    #[cfg(feature = "uapi")]
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Write for SecretBuffer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_what_was_pushed() {
        let mut buffer = SecretBuffer::with_capacity(1);
        for _ in 0..100 {
            buffer.push(b"0123456789");
        }
        assert_eq!(*buffer.into_text(), "0123456789".repeat(100));
    }

    #[cfg(feature = "uapi")]
    #[test]
    fn taken_text_leaves_the_rest_in_place() {
        let mut buffer = SecretBuffer::with_capacity(0);
        buffer.push(b"first\xffrest");
        assert_eq!(buffer.take_text(5).unwrap().as_str(), "first");
        assert_eq!(buffer.take_text(1), None);
        assert_eq!(buffer.as_bytes(), b"rest");
    }
}

//! Where secrets are while they are worked with: a growing buffer for text that holds keys, and a stack that is wiped.

use std::fmt;
use std::hint::black_box;

use zeroize::Zeroizing;

/// How much of the stack is wiped, in bytes: an engine of boringtun's has 11 KiB, and is moved a few times as it is made,
/// which takes more than 32 KiB where nothing is optimized.
const WIPED_STACK: usize = 96 * 1024;

/// Runs `work`, which moves keys by value, and overwrites the stack that it used. What it returns must hold no key itself,
/// only what points to one.
#[inline(never)]
pub(crate) fn on_wiped_stack<T>(work: impl FnOnce() -> T) -> T {
    // Both are called from here, so the stack of one lies where that of the other was.
    let result = on_own_frame(work);
    wipe_stack();
    result
}

#[inline(never)]
fn on_own_frame<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn wipe_stack() {
    black_box(&mut [0_u8; WIPED_STACK]);
}

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
        // `Vec` would leave the end of what moves where it was.
        self.bytes.copy_within(count.., 0);
        let rest = self.bytes.len() - count;
        zeroize::Zeroize::zeroize(&mut self.bytes[rest..]);
        self.bytes.truncate(rest);
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

//! What each datagram of a defended tunnel carries, told to who asks for it: the tests that compare this with what an
//! observer sees.

use super::frame::{Frame, FrameKind};

/// Where the log has it. Whoever reads it tells padding from normal packets: it is for tests.
const TARGET: &str = "maybetun::sealed";

/// Logs what the datagram that was just sealed carries: `content` is its plaintext as far as it is not zeros.
pub(super) fn trace(content: &[u8], datagram: &[u8]) {
    tracing::trace!(
        target: TARGET,
        kind = Frame::kind_of(content).map_or("normal", FrameKind::name),
        receiver = field(datagram, 4, 8),
        counter = field(datagram, 8, 16),
        "sealed"
    );
}

/// Reads a number of a datagram, in little endian.
fn field(datagram: &[u8], from: usize, to: usize) -> u64 {
    datagram.get(from..to).into_iter().flatten().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

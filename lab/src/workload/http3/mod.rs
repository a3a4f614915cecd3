//! Requests over QUIC: a connection for each origin, a stream for each request.
//!
//! A request is an [`Ask`](super::framing::Ask) and the end of its stream, an answer one [`Part`](super::framing::Part) and the end. Answers
//! take turns as `quinn-proto` has them do: all alike, whichever has room. Of HTTP/3 itself there are no more than sizes: no control
//! streams, no QPACK, no priority (RFC 9218). Each page begins with whole handshakes: no 0-RTT, no tokens.

mod client;
mod server;
#[cfg(test)]
mod tests;

pub(super) use client::Client;
pub(super) use server::Server;

use quinn_proto::{Connection, ReadError, StreamId};

use super::framing::Outgoing;

/// What has become of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Open,
    /// All that will come has come.
    Ended,
    /// The other end has given it up, or there is none.
    Broken,
}

/// Reads what has come on a stream.
fn read(connection: &mut Connection, id: StreamId, mut take: impl FnMut(&[u8])) -> Stream {
    let mut stream = connection.recv_stream(id);
    let Ok(mut chunks) = stream.read(true) else { return Stream::Broken };
    let became = loop {
        match chunks.next(usize::MAX) {
            Ok(Some(chunk)) => take(&chunk.bytes),
            Ok(None) => break Stream::Ended,
            Err(ReadError::Blocked) => break Stream::Open,
            Err(ReadError::Reset(_)) => break Stream::Broken,
        }
    };
    // Who acts sends afterwards whatever there is.
    let _ = chunks.finalize();
    became
}

/// Writes what there is room for, and ends the stream when that is all.
fn write(connection: &mut Connection, id: StreamId, out: &mut Outgoing) -> Stream {
    if out.is_empty() {
        return Stream::Ended;
    }
    let mut stream = connection.send_stream(id);
    out.flush(|bytes| stream.write(bytes).unwrap_or(0));
    if !out.is_empty() {
        return Stream::Open;
    }
    // One that the other end has stopped is over, too.
    let _ = stream.finish();
    Stream::Ended
}

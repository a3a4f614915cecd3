//! TCP transfers whose every byte is compared.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::host::{Background, Host};
use crate::wait::eventually;

/// A million bytes.
pub const MEGABYTE: u64 = 1_000_000;

/// How long a transfer may stand still before the test is given up.
const STANDSTILL: Duration = Duration::from_secs(60);

/// A TCP transfer from one host to another that goes on until it is finished.
///
/// What happens between two calls of [`Stream::advance`] happens mid-transfer, however fast the tunnel is.
#[derive(Debug)]
pub struct Stream {
    received: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sender: Background<u64>,
    receiver: Background<u64>,
}

impl Stream {
    /// Starts a transfer from `from` to `to`, which is reached at `address`.
    #[track_caller]
    pub fn start(from: &Host, to: &Host, address: SocketAddr) -> Self {
        Self::start_paced(from, to, address, Duration::ZERO)
    }

    /// Does the same, with a pause between blocks of a hundred thousand bytes.
    #[track_caller]
    pub fn start_paced(from: &Host, to: &Host, address: SocketAddr, pause: Duration) -> Self {
        let listener = to.inside(|| TcpListener::bind(address));
        let listener = listener.unwrap_or_else(|error| panic!("cannot listen on {address}: {error}"));
        let received = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let receiver = {
            let received = Arc::clone(&received);
            to.spawn(move || receive(&listener, &received))
        };
        let sender = {
            let stop = Arc::clone(&stop);
            from.spawn(move || send(address, pause, &stop))
        };
        Self { received, stop, sender, receiver }
    }

    /// Waits until `bytes` more than now have arrived.
    #[track_caller]
    pub fn advance(&self, bytes: u64) {
        self.advance_within(bytes, STANDSTILL);
    }

    /// Does the same; the transfer may stand still for `patience`, which is less than a minute.
    #[track_caller]
    pub fn advance_within(&self, bytes: u64, patience: Duration) {
        let goal = self.received.load(Ordering::Relaxed) + bytes;
        while self.received.load(Ordering::Relaxed) < goal {
            let before = self.received.load(Ordering::Relaxed);
            let moved = || self.received.load(Ordering::Relaxed) > before || self.receiver.is_finished();
            eventually(&format!("the transfer goes on after {before} bytes"), patience, moved);
            assert!(!self.receiver.is_finished(), "the transfer broke off after {before} bytes");
        }
    }

    /// Sends no more; what was sent goes on to arrive.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Ends the transfer, checks that all that was sent has arrived, and returns how many bytes that was.
    #[track_caller]
    pub fn finish(self) -> u64 {
        self.stop();
        let sent = self.sender.finish();
        let received = self.receiver.finish();
        assert_eq!(received, sent, "bytes sent and received differ");
        received
    }
}

fn send(address: SocketAddr, pause: Duration, stop: &AtomicBool) -> u64 {
    let pattern = pattern();
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
    stream.set_write_timeout(Some(STANDSTILL)).expect("a time-out is set");
    stream.set_read_timeout(Some(STANDSTILL)).expect("a time-out is set");
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(&pattern).unwrap_or_else(|error| panic!("cannot send after {sent} bytes: {error}"));
        sent += pattern.len() as u64;
        thread::sleep(pause);
    }
    stream.shutdown(std::net::Shutdown::Write).expect("the end is sent");
    // The receiver's end says that it has read everything.
    let rest = stream.read(&mut [0; 1]).expect("the receiver closes");
    assert_eq!(rest, 0, "the receiver sends nothing");
    sent
}

fn receive(listener: &TcpListener, received: &AtomicU64) -> u64 {
    let pattern = pattern();
    let (mut stream, _) = listener.accept().expect("a connection");
    stream.set_read_timeout(Some(STANDSTILL)).expect("a time-out is set");
    let mut buffer = vec![0; 1 << 18];
    let mut offset = 0;
    loop {
        let room = buffer.len().min(pattern.len() - offset);
        let total = received.load(Ordering::Relaxed);
        let length = match stream.read(&mut buffer[..room]) {
            // Tests of one program share its signals.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result.unwrap_or_else(|error| panic!("cannot receive after {total} bytes: {error}")),
        };
        if length == 0 {
            return total;
        }
        assert!(buffer[..length] == pattern[offset..offset + length], "wrong bytes after {total}");
        offset = (offset + length) % pattern.len();
        received.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Returns the block that a transfer repeats: its length is odd, so that no packet boundary recurs in it soon.
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let xorshift = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[7]
    };
    std::iter::repeat_with(xorshift).take(100_003).collect()
}

//! An initiator of WireGuard that the test plays itself, and whose every field it may lie about.
//!
//! It shares no code with what it talks to but the arithmetic: what it gets through is the protocol's, not a bug that both
//! ends have.

mod agreement;
pub mod frame;
pub mod noise;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::host::Host;
use crate::tunnel::Keys;
use noise::{Identity, Initiation, KeyPair, TransportKeys};

/// How long an initiation is waited for before the next.
const RETRY: Duration = Duration::from_millis(500);

/// Where the counter of a transport data message ends, and its ciphertext begins.
const DATA_HEADER: usize = 16;

/// An initiator at work on a socket of its own.
#[derive(Debug)]
pub struct Initiator {
    /// Its keys.
    pub identity: Identity,
    /// Its session, if it has one.
    pub session: Option<Session>,
    socket: UdpSocket,
    relay: SocketAddr,
    cookie: Option<[u8; 16]>,
}

/// A session as the initiator knows it.
#[derive(Debug, Clone, Copy)]
pub struct Session {
    /// The keys, and the index that the relay knows.
    pub keys: TransportKeys,
    /// The counter of the next datagram that says nothing else.
    pub next: u64,
}

impl Session {
    /// Seals a plaintext with any counter, for the session that `receiver` names.
    pub fn seal_for(&self, receiver: u32, counter: u64, plaintext: &[u8]) -> Vec<u8> {
        let mut datagram = vec![4, 0, 0, 0];
        datagram.extend(receiver.to_le_bytes());
        datagram.extend(counter.to_le_bytes());
        datagram.extend(noise::seal(&self.keys.sending, counter, plaintext, &[]));
        datagram
    }

    /// Seals a plaintext with the next counter.
    pub fn seal(&mut self, plaintext: &[u8]) -> Vec<u8> {
        self.next += 1;
        self.seal_for(self.keys.receiver, self.next - 1, plaintext)
    }

    /// Opens a datagram of this session; `None` if it is of another, or not authentic.
    fn open(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        if datagram.len() < DATA_HEADER || datagram[0] != 4 {
            return None;
        }
        let counter = u64::from_le_bytes(datagram[8..DATA_HEADER].try_into().ok()?);
        noise::open(&self.keys.receiving, counter, &datagram[DATA_HEADER..])
    }
}

impl Initiator {
    /// Opens a socket on `host`, at a port of the system's choice, for the relay at `relay` with this public key in base64.
    #[track_caller]
    pub fn new(host: &Host, relay: SocketAddr, keys: &Keys, relay_key: &str) -> Self {
        let socket = host.inside(|| UdpSocket::bind("0.0.0.0:0")).expect("a free port");
        let identity = Identity::new(KeyPair::Secret(key(&keys.private)), key(relay_key));
        Self { identity, session: None, socket, relay, cookie: None }
    }

    /// Opens a socket as [`new`](Self::new) does, and a session.
    #[track_caller]
    pub fn call(host: &Host, relay: SocketAddr, keys: &Keys, relay_key: &str) -> Self {
        let mut initiator = Self::new(host, relay, keys, relay_key);
        assert!(initiator.open_session(Duration::from_secs(60)), "{relay} does not answer");
        initiator
    }

    /// Opens a session in the place of the last one, with a cookie if one is asked for; tells whether it came to one within
    /// `patience`.
    pub fn open_session(&mut self, patience: Duration) -> bool {
        self.session = None;
        let end = Instant::now() + patience;
        while self.session.is_none() && Instant::now() < end {
            let (message, pending) = self.identity.initiate(Initiation::honest(), self.cookie.take());
            self.transmit(&message);
            let retry = Instant::now() + RETRY;
            while let Some(datagram) = self.receive(retry) {
                if let Some(keys) = pending.complete(&datagram) {
                    self.session = Some(Session { keys, next: 0 });
                    // The relay takes the session into use when it is.
                    self.data(&[]);
                    break;
                }
                self.cookie = pending.cookie(&datagram);
                if self.cookie.is_some() {
                    break;
                }
            }
        }
        self.session.is_some()
    }

    /// Returns where this initiator's socket is bound.
    #[track_caller]
    pub fn port(&self) -> u16 {
        self.socket.local_addr().expect("a bound socket has an address").port()
    }

    /// Returns where the relay is.
    pub fn relay(&self) -> SocketAddr {
        self.relay
    }

    /// Sends a datagram just as it is. One that the system does not take is lost, as on any network.
    pub fn transmit(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.relay).ok();
    }

    /// Sends a plaintext in the session, with the next counter; nothing without a session.
    pub fn data(&mut self, plaintext: &[u8]) {
        if let Some(session) = &mut self.session {
            let datagram = session.seal(plaintext);
            self.transmit(&datagram);
        }
    }

    /// Sends a plaintext in the session, with any counter; nothing without a session.
    pub fn data_at(&self, counter: u64, plaintext: &[u8]) {
        if let Some(session) = &self.session {
            self.transmit(&session.seal_for(session.keys.receiver, counter, plaintext));
        }
    }

    /// Waits until `end` for the next plaintext of the session.
    pub fn hear(&mut self, end: Instant) -> Option<Vec<u8>> {
        while let Some(datagram) = self.receive(end) {
            if let Some(plaintext) = self.session.as_ref().and_then(|session| session.open(&datagram)) {
                return Some(plaintext);
            }
        }
        None
    }

    /// Throws away what has come and was not heard.
    pub fn drain(&self) {
        self.socket.set_nonblocking(true).expect("a socket can be made non-blocking");
        while self.socket.recv(&mut [0; 1]).is_ok() {}
        self.socket.set_nonblocking(false).expect("a socket can be made blocking");
    }

    /// Waits until `end` for a datagram.
    fn receive(&self, end: Instant) -> Option<Vec<u8>> {
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        self.socket.set_read_timeout(Some(left)).expect("a time-out that is not zero");
        let mut datagram = vec![0; 1 << 16];
        let length = self.socket.recv(&mut datagram).ok()?;
        datagram.truncate(length);
        Some(datagram)
    }
}

/// Reads a key in base64.
#[track_caller]
pub fn key(base64: &str) -> [u8; 32] {
    let bytes = BASE64.decode(base64).expect("a key in base64");
    bytes.try_into().expect("a key of 32 bytes")
}

//! A host in the middle that forwards datagrams, and adds spoilt ones of its own.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rand_core::{OsRng, RngCore, TryRngCore as _};

use crate::host::{Background, Host};

/// The largest payload of a UDP datagram over IPv4.
const LARGEST: usize = 65_507;

/// What a [`Meddler`] sends beside what it forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// The beginning of the datagram.
    Truncated,
    /// The datagram with more bytes behind it, up to the largest that UDP carries.
    Oversized,
    /// The datagram once more, at once and again later.
    Replayed,
    /// The datagram with one bit changed.
    BitFlipped,
    /// Random bytes of any length, half of them behind the type byte of a WireGuard message.
    Random,
}

/// A UDP forwarder between a client and a relay. Every datagram goes through unharmed; every fourth, and every
/// handshake message, is followed by a spoilt one from the same address.
#[derive(Debug)]
pub struct Meddler {
    stop: Arc<AtomicBool>,
    added: Arc<AtomicU64>,
    threads: Vec<Background<()>>,
}

impl Meddler {
    /// Starts forwarding between whoever sends to `listen` on `host`, and `relay`.
    #[track_caller]
    pub fn start(host: &Host, listen: SocketAddr, relay: SocketAddr, meddling: Meddling) -> Self {
        let (front, back) = host.inside(|| {
            let front = UdpSocket::bind(listen).unwrap_or_else(|error| panic!("cannot bind {listen}: {error}"));
            let back = UdpSocket::bind(("0.0.0.0", 0)).expect("a free port");
            back.connect(relay).unwrap_or_else(|error| panic!("cannot connect to {relay}: {error}"));
            // The threads look at `stop` this often.
            for socket in [&front, &back] {
                socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time-out is set");
            }
            (Arc::new(front), Arc::new(back))
        });
        let stop = Arc::new(AtomicBool::new(false));
        let added = Arc::new(AtomicU64::new(0));
        let client = Arc::new(std::sync::Mutex::new(None));
        let upward = {
            let (front, back, stop) = (Arc::clone(&front), Arc::clone(&back), Arc::clone(&stop));
            let (client, mut spoiler) = (Arc::clone(&client), Spoiler::new(meddling, &added));
            host.spawn(move || {
                let mut buffer = vec![0; LARGEST];
                while !stop.load(Ordering::Relaxed) {
                    let Ok((length, from)) = front.recv_from(&mut buffer) else { continue };
                    *client.lock().expect("no thread panics while it holds the lock") = Some(from);
                    spoiler.forward(&buffer[..length], |datagram| drop(back.send(datagram)));
                }
            })
        };
        let downward = {
            let (stop, mut spoiler) = (Arc::clone(&stop), Spoiler::new(meddling, &added));
            host.spawn(move || {
                let mut buffer = vec![0; LARGEST];
                while !stop.load(Ordering::Relaxed) {
                    let Ok(length) = back.recv(&mut buffer) else { continue };
                    let known = *client.lock().expect("no thread panics while it holds the lock");
                    let Some(to) = known else { continue };
                    spoiler.forward(&buffer[..length], |datagram| drop(front.send_to(datagram, to)));
                }
            })
        };
        Self { stop, added, threads: vec![upward, downward] }
    }

    /// Stops forwarding and returns how many datagrams were added.
    #[track_caller]
    pub fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(Background::finish);
        self.added.load(Ordering::Relaxed)
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

struct Spoiler {
    meddling: Meddling,
    added: Arc<AtomicU64>,
    forwarded: u64,
    earlier: Vec<Vec<u8>>,
}

impl Spoiler {
    /// How many datagrams are kept to be replayed later; the oldest give way.
    const KEPT: usize = 64;

    fn new(meddling: Meddling, added: &Arc<AtomicU64>) -> Self {
        Self { meddling, added: Arc::clone(added), forwarded: 0, earlier: Vec::new() }
    }

    fn forward(&mut self, datagram: &[u8], mut send: impl FnMut(&[u8])) {
        send(datagram);
        self.forwarded += 1;
        let is_transport = datagram.first() == Some(&4);
        if is_transport && !self.forwarded.is_multiple_of(4) {
            return;
        }
        for extra in self.spoil(datagram) {
            send(&extra);
            self.added.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn spoil(&mut self, datagram: &[u8]) -> Vec<Vec<u8>> {
        let mut rng = OsRng.unwrap_err();
        let mut below = |bound: usize| (rng.next_u64() % bound as u64) as usize;
        match self.meddling {
            Meddling::Truncated => vec![datagram[..below(datagram.len())].to_vec()],
            Meddling::Oversized => {
                let more = if self.forwarded.is_multiple_of(16) { LARGEST - datagram.len() } else { 1 + below(64) };
                vec![[datagram, &random(more)].concat()]
            }
            Meddling::Replayed => {
                let place = below(Self::KEPT);
                if self.earlier.len() < Self::KEPT {
                    self.earlier.push(datagram.to_vec());
                    return vec![datagram.to_vec()];
                }
                vec![std::mem::replace(&mut self.earlier[place], datagram.to_vec()), datagram.to_vec()]
            }
            Meddling::BitFlipped => {
                let mut copy = datagram.to_vec();
                let bit = below(copy.len() * 8);
                copy[bit / 8] ^= 1 << (bit % 8);
                vec![copy]
            }
            Meddling::Random => {
                let mut noise = random(below(1500));
                if let [kind, reserved @ .., _] = &mut noise[..]
                    && below(2) == 0
                {
                    *kind = 1 + below(4) as u8;
                    reserved.iter_mut().take(3).for_each(|byte| *byte = 0);
                }
                vec![noise]
            }
        }
    }
}

fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    OsRng.unwrap_err().fill_bytes(&mut bytes);
    bytes
}

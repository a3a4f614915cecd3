//! A flood of handshake initiations from many addresses.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::host::{Background, Host};
use crate::initiator::key;
use crate::initiator::noise::{INITIATION, random, write_macs};

/// How many addresses a flood comes from.
const SOURCES: u16 = 512;

/// A flood of handshake initiations: well formed and with a valid first MAC, but for nobody's key pair.
#[derive(Debug)]
pub struct Flood {
    stop: Arc<AtomicBool>,
    cookies: Arc<AtomicU64>,
    thread: Option<Background<Flooded>>,
}

/// What a flood did.
#[derive(Debug, Clone, Copy)]
pub struct Flooded {
    /// How many initiations were sent.
    pub sent: u64,
    /// How many datagrams other than cookie replies came back.
    pub others: u64,
}

impl Flood {
    /// Starts a flood from `host`, from 512 addresses of 198.18.0.0/15 (RFC 2544), on the port of the peer whose public
    /// key, in base64, is given. The target needs a route back to those addresses.
    #[track_caller]
    pub fn start(host: &Host, target: SocketAddr, public_key: &str) -> Self {
        host.ip("route add local 198.18.0.0/15 dev lo");
        let sockets: Vec<UdpSocket> = host.inside(|| (0..SOURCES).map(|number| source(number, target)).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let cookies = Arc::new(AtomicU64::new(0));
        let thread = {
            let (stop, cookies, public_key) = (Arc::clone(&stop), Arc::clone(&cookies), public_key.to_owned());
            host.spawn(move || flood(&sockets, &public_key, &stop, &cookies))
        };
        Self { stop, cookies, thread: Some(thread) }
    }

    /// Returns how many cookie replies have come back so far.
    pub fn cookies(&self) -> u64 {
        self.cookies.load(Ordering::Relaxed)
    }

    /// Ends the flood.
    #[track_caller]
    pub fn finish(mut self) -> Flooded {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("the flood runs until it is finished").finish()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[track_caller]
fn source(number: u16, target: SocketAddr) -> UdpSocket {
    let [high, low] = number.to_be_bytes();
    let address = Ipv4Addr::new(198, 18, high, low.max(1));
    let socket = UdpSocket::bind((address, 0)).unwrap_or_else(|error| panic!("cannot bind {address}: {error}"));
    socket.connect(target).unwrap_or_else(|error| panic!("cannot connect {address} to {target}: {error}"));
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    socket
}

fn flood(sockets: &[UdpSocket], public_key: &str, stop: &AtomicBool, cookies: &AtomicU64) -> Flooded {
    let mut result = Flooded { sent: 0, others: 0 };
    while !stop.load(Ordering::Relaxed) {
        for socket in sockets {
            // Full buffers and unreachable targets are part of a flood.
            socket.send(&handshake_initiation(public_key)).ok();
            result.sent += 1;
            let mut reply = [0; 256];
            while let Ok(length) = socket.recv(&mut reply) {
                let is_cookie = length == 64 && reply[..4] == [3, 0, 0, 0];
                if is_cookie {
                    cookies.fetch_add(1, Ordering::Relaxed);
                } else {
                    result.others += 1;
                }
            }
        }
        // Some ten thousand a second: far more than a handshake's worth of work, and time left for the transfer.
        thread::sleep(Duration::from_millis(25));
    }
    result
}

/// Makes a handshake initiation (whitepaper §5.4.2) with random contents and a valid first MAC (§5.4.4) for the peer
/// whose public key is given in base64.
#[track_caller]
pub fn handshake_initiation(public_key: &str) -> [u8; INITIATION] {
    let mut message = random();
    message[..4].copy_from_slice(&[1, 0, 0, 0]);
    write_macs(&mut message, &key(public_key), None);
    message
}

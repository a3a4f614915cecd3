//! A call between two hosts: small datagrams both ways, as of speech, and when they get through.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::{Background, Host};
use crate::wait::eventually;

/// Pause between two datagrams of one side.
const PAUSE: Duration = Duration::from_millis(20);

/// Bytes of a datagram.
const SIZE: usize = 160;

/// How long a receiver waits before it looks whether the call is over.
const PATIENCE: Duration = Duration::from_millis(50);

/// A call that goes on until it is dropped.
#[derive(Debug)]
pub struct Call {
    start: Instant,
    /// When the latest datagram was sent that each side has received, in microseconds since the start.
    heard: [Arc<AtomicU64>; 2],
    stop: Arc<AtomicBool>,
    threads: Vec<Background<()>>,
}

impl Call {
    /// Starts one between two hosts, at these addresses of theirs. An address or a way that is missing for a time only keeps
    /// datagrams from being sent.
    #[track_caller]
    pub fn start(hosts: [&Host; 2], addresses: [SocketAddr; 2]) -> Self {
        let mut call = Self { start: Instant::now(), heard: Default::default(), stop: Arc::default(), threads: vec![] };
        for (side, host) in hosts.into_iter().enumerate() {
            let (own, other) = (addresses[side], addresses[1 - side]);
            let socket = host.inside(|| UdpSocket::bind(own));
            let socket = socket.unwrap_or_else(|error| panic!("cannot listen on {own}: {error}"));
            socket.set_read_timeout(Some(PATIENCE)).expect("a time-out is set");
            let sending = socket.try_clone().expect("a second descriptor");
            let (stop, start) = (Arc::clone(&call.stop), call.start);
            call.threads.push(host.spawn(move || send(&sending, other, start, &stop)));
            let (stop, heard) = (Arc::clone(&call.stop), Arc::clone(&call.heard[side]));
            call.threads.push(host.spawn(move || receive(&socket, &heard, &stop)));
        }
        call
    }

    /// Waits until each side has received what the other sent after this moment, and returns how long that took.
    #[track_caller]
    pub fn goes_on(&self, patience: Duration) -> Duration {
        let now = Instant::now();
        let since = (now - self.start).as_micros() as u64;
        eventually("the call goes on both ways", patience, || {
            self.heard.iter().all(|heard| heard.load(Ordering::Relaxed) > since)
        });
        now.elapsed()
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.wait();
        }
    }
}

fn send(socket: &UdpSocket, to: SocketAddr, start: Instant, stop: &AtomicBool) {
    let mut datagram = [0; SIZE];
    while !stop.load(Ordering::Relaxed) {
        datagram[..8].copy_from_slice(&(start.elapsed().as_micros() as u64).to_le_bytes());
        // While there is no way, nothing leaves.
        let _ = socket.send_to(&datagram, to);
        thread::sleep(PAUSE);
    }
}

fn receive(socket: &UdpSocket, heard: &AtomicU64, stop: &AtomicBool) {
    let mut datagram = [0; SIZE];
    while !stop.load(Ordering::Relaxed) {
        if let Ok(SIZE) = socket.recv(&mut datagram) {
            let sent = u64::from_le_bytes(datagram[..8].try_into().expect("eight bytes"));
            heard.fetch_max(sent, Ordering::Relaxed);
        }
    }
}

//! A flood of UDP datagrams at a given rate.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::{Background, Host};

/// Bytes of each datagram.
const DATAGRAM: usize = 1_200;

/// How long the sender rests between bursts.
const REST: Duration = Duration::from_millis(1);

/// How much more than asked is sent, so that the time of a last burst does not bring it below that.
const SURPLUS: f64 = 1.02;

/// A flood of UDP datagrams in bursts, some milliseconds apart, of as many as are due. It ends when dropped.
#[derive(Debug)]
pub struct UdpFlood {
    stop: Arc<AtomicBool>,
    thread: Option<Background<Offered>>,
}

/// What a flood has handed to its socket.
#[derive(Debug, Clone, Copy)]
pub struct Offered {
    /// Bytes of payload in the datagrams that the socket took.
    pub bytes: u64,
    /// How long that took.
    pub time: Duration,
}

impl Offered {
    /// Returns the load in bits of payload a second.
    pub fn bits_per_second(self) -> u64 {
        (self.bytes as f64 * 8.0 / self.time.as_secs_f64()) as u64
    }
}

impl UdpFlood {
    /// Starts a flood from `host`, of at least `bits_per_second` as long as the machine can do it.
    pub fn start(host: &Host, target: SocketAddr, bits_per_second: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = host.spawn(move || flood(target, bits_per_second, &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// Ends the flood.
    #[track_caller]
    pub fn finish(mut self) -> Offered {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("the flood runs until it is finished").finish()
    }
}

impl Drop for UdpFlood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn flood(target: SocketAddr, bits_per_second: u64, stop: &AtomicBool) -> Offered {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap_or_else(|error| panic!("cannot bind a socket: {error}"));
    // A full queue must drop, not slow the flood down.
    socket.set_nonblocking(true).expect("a socket can be made non-blocking");
    let (started, mut bytes) = (Instant::now(), 0);
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        let due = (started.elapsed().as_secs_f64() * bits_per_second as f64 / 8.0 * SURPLUS) as u64;
        while bytes < due {
            let Ok(sent) = socket.send_to(&[0; DATAGRAM], target) else { break };
            bytes += sent as u64;
        }
        if stopped {
            return Offered { bytes, time: started.elapsed() };
        }
        thread::sleep(REST);
    }
}

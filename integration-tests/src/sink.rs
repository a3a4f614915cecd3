//! Counts the datagrams that arrive at an address.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::host::{Background, Host};

/// A socket that takes all that comes. It is closed when dropped.
#[derive(Debug)]
pub struct Sink {
    stop: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    thread: Option<Background<()>>,
}

impl Sink {
    /// Binds `address` on `host`.
    #[track_caller]
    pub fn start(host: &Host, address: SocketAddr) -> Self {
        let socket = host.inside(|| UdpSocket::bind(address)).unwrap_or_else(|error| panic!("{address}: {error}"));
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket takes a timeout");
        let (stop, bytes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&bytes));
        let thread = host.spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut buffer) {
                    counted.fetch_add(length as u64, Ordering::Relaxed);
                }
            }
        });
        Self { stop, bytes, thread: Some(thread) }
    }

    /// Returns the bytes of payload that have come so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take().filter(|_| !std::thread::panicking()) {
            thread.finish();
        }
    }
}

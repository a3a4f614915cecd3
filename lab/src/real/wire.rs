//! The network between client and relay, in real time: a thread that carries IP packets between two TUN devices as links have them.
//!
//! The kernel cuts batches of datagrams before they enter a device without offload, so that each packet is seen as it is.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::EventFd;
use nix::sys::prctl::set_timerslack;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use super::sockets::wait;
use crate::tunnels::{RELAY, client};
use crate::virtual_network::{Lane, Link, Passed};

/// MTU of the network in bytes: Ethernet's.
const MTU: u16 = 1_500;

/// Packets that wait in a device: as many as the thread may be late for at full speed.
const DEVICE_QUEUE: u32 = 10_000;

/// Packets that are read at once before those that are due are delivered.
const AT_ONCE: usize = 64;

/// One end of the wire: a TUN device in the network namespace of the thread that makes it.
pub(super) struct Plug(SyncDevice);

impl Plug {
    /// Makes one with an address, and a route to all others of its network.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn new(name: &str, address: Ipv4Addr) -> io::Result<Self> {
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .ipv4(address, 24, None)
            .mtu(MTU)
            .tx_queue_len(DEVICE_QUEUE)
            .build_sync()?;
        let flags = OFlag::from_bits_truncate(fcntl(&device, FcntlArg::F_GETFL)?);
        fcntl(&device, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self(device))
    }
}

/// A wire in use. Dropping it ends it.
pub(super) struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

struct Shared {
    state: Mutex<State>,
    woken: EventFd,
}

#[derive(Default)]
struct State {
    /// What has passed beside the client: since the wire's start.
    passed: Vec<Passed>,
    /// Other links from now on, to the client and from it.
    links: Option<[Link; 2]>,
    is_over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    /// Joins a client's end to the relay's, by a link to the client and one from it. What they draw is from `seed`; times are since
    /// `start`.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(super) fn start(ends: [Plug; 2], links: [Link; 2], seed: u64, start: Instant) -> io::Result<Self> {
        let shared = Arc::new(Shared { state: Mutex::default(), woken: EventFd::new()? });
        let [client, relay] = ends;
        let mut lanes = [Lane::new(seed), Lane::new(!seed)];
        set(&mut lanes, links);
        let carrier = Carrier {
            ends: [client.0, relay.0],
            lanes,
            under_way: BTreeMap::new(),
            taken: 0,
            start,
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("wire".into()).spawn(move || carrier.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Has other links from now on.
    pub(super) fn set(&self, links: [Link; 2]) {
        self.shared.lock().links = Some(links);
        self.wake();
    }

    /// Takes what has passed since it was taken last.
    pub(super) fn take_passed(&self) -> Vec<Passed> {
        std::mem::take(&mut self.shared.lock().passed)
    }

    /// Makes sure that it has not broken.
    ///
    /// # Errors
    /// When it has, or had before.
    pub(super) fn check(&mut self) -> io::Result<()> {
        let Some(ended) = self.thread.take_if(|thread| thread.is_finished()) else {
            return if self.thread.is_some() { Ok(()) } else { Err(ErrorKind::BrokenPipe.into()) };
        };
        // It ends by itself only when it fails.
        let ended = ended.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        Err(ended.err().unwrap_or_else(|| ErrorKind::BrokenPipe.into()))
    }

    fn wake(&self) {
        // It fails when it would overflow, and then it is woken already.
        let _ = self.shared.woken.write(1);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.wake();
        // That it broke was for who used it to ask.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The links of the lanes from the client and from the relay.
fn set(lanes: &mut [Lane; 2], [down, up]: [Link; 2]) {
    // What a device has are whole packets.
    lanes[0].set(Link { headers: 0, ..up });
    lanes[1].set(Link { headers: 0, ..down });
}

/// What the thread has. An end is a number: 0 is the client's.
struct Carrier {
    ends: [SyncDevice; 2],
    /// From each.
    lanes: [Lane; 2],
    /// Packets by when they arrive, and in the order in which they were taken; and from which end.
    under_way: BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    taken: u64,
    start: Instant,
    shared: Arc<Shared>,
}

impl Carrier {
    fn run(mut self) -> io::Result<()> {
        // Without, the kernel may be 50 µs late on purpose.
        set_timerslack(1)?;
        let shared = Arc::clone(&self.shared);
        let mut buffer = vec![0; usize::from(MTU)];
        loop {
            {
                let mut state = shared.lock();
                if state.is_over {
                    return Ok(());
                }
                if let Some(links) = state.links.take() {
                    set(&mut self.lanes, links);
                }
            }
            let is_more = self.take(0, &mut buffer)? | self.take(1, &mut buffer)?;
            self.deliver()?;
            let due = self.under_way.keys().next().map(|(at, _)| self.start + *at);
            let until = if is_more { Some(self.start) } else { due };
            let mut watched = [self.ends[0].as_fd(), self.ends[1].as_fd(), shared.woken.as_fd()]
                .map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
            wait(&mut watched, until)?;
            if watched[2].any().unwrap_or(false) {
                shared.woken.read()?;
            }
        }
    }

    /// Takes what an end sends; tells whether there may be more.
    fn take(&mut self, end: usize, buffer: &mut [u8]) -> io::Result<bool> {
        for _ in 0..AT_ONCE {
            let size = match self.ends[end].recv(buffer) {
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            // The kernel sends of its own, to find neighbours: none of it is the tunnel's.
            if buffer[0] >> 4 != 4 {
                continue;
            }
            let now = self.start.elapsed();
            if end == 0 {
                self.note(0, now, size);
            }
            let Ok((arrives, again)) = self.lanes[end].take(size, now) else { continue };
            for at in [Some(arrives), again].into_iter().flatten() {
                self.taken += 1;
                self.under_way.insert((at, self.taken), (end, buffer[..size].to_vec()));
            }
        }
        Ok(true)
    }

    /// Delivers what is due.
    fn deliver(&mut self) -> io::Result<()> {
        while let Some(entry) = self.under_way.first_entry() {
            let now = self.start.elapsed();
            if entry.key().0 > now {
                break;
            }
            let (from, packet) = entry.remove();
            if from == 1 {
                self.note(1, now, packet.len());
            }
            match self.ends[1 - from].send(&packet) {
                // A device whose interface is going away loses what comes.
                Err(error) if !matches!(error.raw_os_error(), Some(nix::libc::EIO | nix::libc::ENOBUFS)) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Notes what passes beside the client.
    fn note(&self, from: usize, at: Duration, size: usize) {
        let ends = [client(0), RELAY];
        self.shared.lock().passed.push(Passed { at, from: ends[from], to: ends[1 - from], size });
    }
}

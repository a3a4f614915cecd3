//! Captures of what passes an interface: a packet socket and a thread that reads it.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use thiserror::Error;

use crate::datagram::ETHERNET;

/// Room for frames that wait to be read, in bytes, where the kernel lets us have it.
const RECEIVE_BUFFER: usize = 64 << 20;

/// How often the thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// The kinds of interface whose frames start with Ethernet's header (`linux/if_arp.h`): its own, and loopback.
const ETHERNET_KINDS: [u16; 2] = [1, 772];

/// What a packet socket calls a frame that leaves by its interface (`linux/if_packet.h`).
const PACKET_OUTGOING: u8 = 4;

/// Why there is no capture, or not all of it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There is no interface of that name.
    #[error("there is no interface {link}")]
    NoInterface {
        /// The name.
        link: String,
        /// What the kernel said.
        source: Errno,
    },
    /// The kernel refuses the socket.
    #[error("cannot capture on the wire (packet sockets, CONFIG_PACKET)")]
    Open(#[source] io::Error),
    /// There is nobody to read it.
    #[error("cannot start the observer's thread")]
    Thread(#[source] io::Error),
    /// The thread panicked.
    #[error("the observer's thread panicked")]
    Panicked,
    /// Reading the socket failed.
    #[error("the capture on the wire broke off")]
    Broken(#[source] io::Error),
}

/// A frame that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// When it passed, since 1970.
    pub at: Duration,
    /// Whether this host sent it by the interface; else it came in by it.
    pub is_outgoing: bool,
    /// Its bytes, as many as the capture takes, from the link layer's header on.
    pub bytes: Vec<u8>,
    /// How many of them are that header: Ethernet's 14, or none on a TUN device.
    pub link: usize,
}

impl Frame {
    /// Returns what is behind the link layer's header.
    pub fn packet(&self) -> &[u8] {
        self.bytes.get(self.link..).unwrap_or_default()
    }
}

/// Everything that one capture has got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Captured {
    /// When it began, since 1970.
    pub since: Duration,
    /// The frames that it took, in the order in which the kernel gave them.
    pub frames: Vec<Frame>,
    /// Frames that passed while it was too slow to take them. The kernel tells it with the next frame: of such that none
    /// followed nothing is known.
    pub missed: u64,
}

/// Tells of a frame whether a capture takes it.
type Filter = Box<dyn Fn(&Frame) -> bool + Send>;

/// A capture that runs. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    end: End,
    taken: Arc<AtomicUsize>,
    thread: JoinHandle<io::Result<Captured>>,
}

impl Capture {
    /// Starts to capture what passes on interface `link` of the current thread's network, either way, up to `length` bytes
    /// of each frame: those that `is_wanted` accepts.
    ///
    /// # Errors
    /// When the interface is not there, or the kernel refuses the socket.
    pub fn start(
        link: &str,
        length: u16,
        is_wanted: impl Fn(&Frame) -> bool + Send + 'static,
    ) -> Result<Self, CaptureError> {
        let no_interface = |source| CaptureError::NoInterface { link: link.to_owned(), source };
        let index = if_nametoindex(link).map_err(no_interface)?;
        let socket = open(index, length).map_err(CaptureError::Open)?;
        let end = End::default();
        let taken = Arc::new(AtomicUsize::new(0));
        let mut reader = Reader {
            socket,
            index,
            frame: vec![0; length.into()],
            is_wanted: Box::new(is_wanted),
            end: Arc::clone(&end.0),
            taken: Arc::clone(&taken),
        };
        let since = now();
        let thread = std::thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || reader.read(since))
            .map_err(CaptureError::Thread)?;
        Ok(Self { end, taken, thread })
    }

    /// Returns how many frames it has taken.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Stops once everything that has passed is read, and returns it.
    ///
    /// # Errors
    /// When reading the socket failed.
    pub fn finish(self) -> Result<Captured, CaptureError> {
        drop(self.end);
        self.thread.join().map_err(|_| CaptureError::Panicked)?.map_err(CaptureError::Broken)
    }
}

/// When a capture ends, since 1970: once this is dropped. Frames that pass later are no more part of it.
#[derive(Debug, Default)]
struct End(Arc<OnceLock<Duration>>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.get_or_init(now);
    }
}

/// What the observer's thread has.
struct Reader {
    socket: Socket,
    index: u32,
    frame: Vec<u8>,
    is_wanted: Filter,
    end: Arc<OnceLock<Duration>>,
    taken: Arc<AtomicUsize>,
}

impl Reader {
    fn read(&mut self, since: Duration) -> io::Result<Captured> {
        let mut captured = Captured { since, ..Captured::default() };
        let mut control = nix::cmsg_space!(TimeSpec, u32);
        loop {
            // Looked at first: what has passed by then is waiting to be read.
            let end = self.end.get();
            let mut parts = [IoSliceMut::new(&mut self.frame)];
            let descriptor = self.socket.as_raw_fd();
            let (frame, index) =
                match recvmsg::<LinkAddr>(descriptor, &mut parts, Some(&mut control), MsgFlags::empty()) {
                    Ok(message) => {
                        let mut at = now();
                        for attachment in message.cmsgs()? {
                            if let ControlMessageOwned::ScmTimestampns(time) = attachment {
                                at = Duration::from(time);
                            } else if let ControlMessageOwned::RxqOvfl(missed) = attachment {
                                captured.missed = u64::from(missed);
                            }
                        }
                        let length = message.bytes;
                        let Some(address) = message.address else { continue };
                        let is_outgoing = address.pkttype() == PACKET_OUTGOING;
                        let link = if ETHERNET_KINDS.contains(&address.hatype()) { ETHERNET } else { 0 };
                        let bytes = self.frame[..length].to_vec();
                        (Frame { at, is_outgoing, bytes, link }, address.ifindex())
                    }
                    Err(Errno::EAGAIN) if end.is_some() => return Ok(captured),
                    Err(Errno::EAGAIN | Errno::EINTR) => continue,
                    Err(errno) => return Err(errno.into()),
                };
            // Processors stamp side by side: only what is clearly later has nothing earlier behind it.
            if end.is_some_and(|end| frame.at > *end + LOOK) {
                return Ok(captured);
            }
            let is_late = end.is_some_and(|end| frame.at > *end);
            // Before the filter is in place, the socket gets the frames of every interface.
            if index == self.index as usize && !is_late && (self.is_wanted)(&frame) {
                captured.frames.push(frame);
                self.taken.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Opens a packet socket that gets `length` bytes of every frame on interface `index`.
fn open(index: u32, length: u16) -> io::Result<Socket> {
    // linux/if_ether.h; only this "protocol" shows outgoing frames too. It is given in network byte order.
    const ETH_P_ALL: u16 = 0x0003;
    // linux/filter.h: the ancillary word at -0x1000 + 8 is the index of the frame's interface.
    const INTERFACE_INDEX: u32 = 0xffff_f000 + 8;
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;

    let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(ETH_P_ALL.to_be()))))?;
    socket.attach_filter(&[
        SockFilter::new(LOAD_WORD, 0, 0, INTERFACE_INDEX),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, index),
        SockFilter::new(RETURN, 0, 0, length.into()),
        SockFilter::new(RETURN, 0, 0, 0),
    ])?;
    if setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        // In a user namespace the system's limit holds; what is missed then is counted.
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    }
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true)?;
    setsockopt(&socket, sockopt::RxqOvfl, &1)?;
    socket.set_read_timeout(Some(LOOK))?;
    Ok(socket)
}

/// The clock that the kernel stamps frames with.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

//! The observer's place on the wire: a packet socket and a thread that reads it.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::observer::{Observation, Packet};
use super::packet::{self, Ends, HEADER_BYTES};

/// Room for frames that wait to be read, in bytes, where the kernel lets us have it.
const RECEIVE_BUFFER: usize = 16 << 20;

/// How often the thread looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(20);

/// A capture that runs.
#[derive(Debug)]
pub(super) struct Capture {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<io::Result<Observation>>,
}

impl Capture {
    /// Starts to capture what passes on interface `link`, either way.
    ///
    /// # Errors
    /// When the interface is not there, or the kernel refuses the socket.
    pub(super) fn start(link: &str, ends: Ends) -> anyhow::Result<Self> {
        let index = if_nametoindex(link).with_context(|| format!("there is no interface {link}"))?;
        let socket = open(index).context("cannot capture on the wire (packet sockets, CONFIG_PACKET)")?;
        let since = now();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("observer".to_owned())
            .spawn(move || read(&socket, ends, since, &stopped))
            .context("cannot start the observer's thread")?;
        Ok(Self { stop, thread })
    }

    /// Stops once everything that has passed is read, and returns it.
    ///
    /// # Errors
    /// When reading the socket failed.
    pub(super) fn finish(self) -> anyhow::Result<Observation> {
        self.stop.store(true, Ordering::Relaxed);
        let observation = self.thread.join().map_err(|_| anyhow!("the observer's thread panicked"))?;
        observation.context("the capture on the wire broke off")
    }
}

/// Opens a packet socket that gets the headers of every frame on interface `index`.
fn open(index: u32) -> io::Result<Socket> {
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
        SockFilter::new(RETURN, 0, 0, HEADER_BYTES as u32),
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

fn read(socket: &Socket, ends: Ends, since: Duration, stop: &AtomicBool) -> io::Result<Observation> {
    let mut observation = Observation::default();
    let mut frame = [0; HEADER_BYTES];
    let mut control = nix::cmsg_space!(TimeSpec, u32);
    loop {
        let last_look = stop.load(Ordering::Relaxed);
        let mut parts = [IoSliceMut::new(&mut frame)];
        let (length, at) = match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()) {
            Ok(message) => {
                let mut at = now();
                for attachment in message.cmsgs()? {
                    if let ControlMessageOwned::ScmTimestampns(time) = attachment {
                        at = Duration::from(time);
                    } else if let ControlMessageOwned::RxqOvfl(missed) = attachment {
                        observation.missed_frames = u64::from(missed);
                    }
                }
                (message.bytes, at)
            }
            Err(Errno::EAGAIN) if last_look => return Ok(observation),
            Err(Errno::EAGAIN | Errno::EINTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        match packet::parse(&frame[..length], ends) {
            Some(datagram) => {
                let at_us = u64::try_from(at.saturating_sub(since).as_micros()).unwrap_or(u64::MAX);
                observation.packets.push(Packet { at_us, datagram });
            }
            None => observation.other_frames += 1,
        }
    }
}

/// The clock that the kernel stamps frames with.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

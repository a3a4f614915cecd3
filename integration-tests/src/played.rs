//! A relay that the test plays itself: it opens every datagram, and so knows padding from packets.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use crate::host::{Background, Host};
use crate::tunnel::Keys;

/// What a datagram carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carried {
    /// A handshake message.
    Handshake,
    /// Packets of the user's.
    Packets,
    /// Nothing of the user's.
    Padding,
}

/// A datagram that came from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// When the kernel received it, since 1970.
    pub at: Duration,
    /// What it carried.
    pub carried: Carried,
}

/// The first byte of a transport data message.
const DATA: u8 = 4;

/// The relay of one client. It answers handshakes and nothing else: after 15 s its client asks for another session.
#[derive(Debug)]
pub struct PlayedRelay {
    stop: Arc<AtomicBool>,
    thread: Option<Background<Vec<Read>>>,
}

impl PlayedRelay {
    /// Starts to play a relay with `keys` at `address` of `host`, for the client with this public key in base64.
    #[track_caller]
    pub fn start(host: &Host, address: SocketAddr, keys: &Keys, client: &str) -> Self {
        let socket = host.inside(|| UdpSocket::bind(address)).expect("a free port");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket takes a time-out");
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("the kernel tells times");
        setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).expect("root may have large buffers");
        let private = PrivateKey::from_base64(&keys.private).expect("a key");
        let client = PublicKey::from_base64(client).expect("a key");
        let tunnel = Tunnel::new(TunnelConfig::new(&private, client, [0x52; 32]));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = host.spawn(move || play(&socket, tunnel, &stopped));
        Self { stop, thread: Some(thread) }
    }

    /// Ends it, and returns the datagrams that came, in order.
    #[track_caller]
    pub fn finish(mut self) -> Vec<Read> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("it is played until it is finished").finish()
    }
}

impl Drop for PlayedRelay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Receives until it is to stop. What carries data is opened afterwards, so that it does not slow anything down.
fn play(socket: &UdpSocket, mut tunnel: Tunnel, stop: &AtomicBool) -> Vec<Read> {
    let (mut came, mut buffer) = (Vec::new(), vec![0; 1 << 16]);
    let (mut packet, mut out) = (vec![0; 1 << 16], DatagramBatch::new());
    while !stop.load(Ordering::Relaxed) {
        let Some((length, from, at)) = receive(socket, &mut buffer) else { continue };
        let datagram = &buffer[..length];
        if datagram.first() != Some(&DATA) {
            tunnel.receive(datagram, Endpoint::from(from), Instant::now(), |_| true, &mut packet, &mut out);
            for answer in out.iter() {
                // As on any network, some may be lost.
                socket.send_to(answer, from).ok();
            }
            out.clear();
        }
        came.push((at, from, datagram.to_vec()));
    }
    let read = |(at, from, datagram): (Duration, SocketAddr, Vec<u8>)| {
        if datagram.first() != Some(&DATA) {
            return Read { at, carried: Carried::Handshake };
        }
        out.clear();
        let packets = tunnel.receive(&datagram, Endpoint::from(from), Instant::now(), |_| true, &mut packet, &mut out);
        Read { at, carried: if packets.is_some() { Carried::Packets } else { Carried::Padding } }
    };
    came.into_iter().map(read).collect()
}

/// Receives one datagram, if one comes in time.
fn receive(socket: &UdpSocket, buffer: &mut [u8]) -> Option<(usize, SocketAddr, Duration)> {
    let mut slices = [IoSliceMut::new(buffer)];
    let mut space = nix::cmsg_space!(TimeSpec);
    let flags = MsgFlags::empty();
    let message = recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags).ok()?;
    let at = message.cmsgs().ok()?.find_map(|control| {
        let ControlMessageOwned::ScmTimestampns(at) = control else { return None };
        Some(Duration::from(at))
    })?;
    let from = message.address?;
    let from = match (from.as_sockaddr_in(), from.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::new(IpAddr::V4(v4.ip()), v4.port()),
        (None, Some(v6)) => SocketAddr::new(IpAddr::V6(v6.ip()), v6.port()),
        (None, None) => return None,
    };
    Some((message.bytes, from, at))
}

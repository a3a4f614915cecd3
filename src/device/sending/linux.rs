//! `sendmsg(2)` of Linux and Android.

use std::io::{self, IoSlice};
use std::net::{IpAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{ControlMessage, GetSockOpt as _, MsgFlags, SockaddrStorage, sendmsg, setsockopt, sockopt};
use quinn_udp::UdpSocketState;

use super::Transmit;
use crate::tunnel::{Ecn, Endpoint, Run};

/// What goes with every datagram of a run, as the kernel wants it.
struct Ancillary {
    source: Option<Source>,
    /// The second byte of an IPv4 header, the traffic class of an IPv6 one.
    mark: u8,
    is_v4: bool,
}

enum Source {
    V4(in_pktinfo),
    V6(in6_pktinfo),
}

impl Ancillary {
    fn new(mark: Ecn, to: Endpoint) -> Self {
        let source = to.local.map(|address| match address {
            IpAddr::V4(address) => {
                let none = in_addr { s_addr: 0 };
                let address = in_addr { s_addr: u32::from_ne_bytes(address.octets()) };
                Source::V4(in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address, ipi_addr: none })
            }
            IpAddr::V6(address) => {
                Source::V6(in6_pktinfo { ipi6_ifindex: 0, ipi6_addr: in6_addr { s6_addr: address.octets() } })
            }
        });
        Self { source, mark: mark as u8, is_v4: to.remote.is_ipv4() }
    }

    /// Gives `send` the messages.
    fn with<R>(&self, segment: Option<&u16>, send: impl FnOnce(&[ControlMessage<'_>]) -> R) -> R {
        let (class, mut messages) = (i32::from(self.mark), Vec::with_capacity(3));
        match &self.source {
            Some(Source::V4(source)) => messages.push(ControlMessage::Ipv4PacketInfo(source)),
            Some(Source::V6(source)) => messages.push(ControlMessage::Ipv6PacketInfo(source)),
            None => {}
        }
        // Without a mark the socket's own header field is what we want: zero.
        if self.mark != 0 {
            messages.push(match self.is_v4 {
                true => ControlMessage::Ipv4Tos(&self.mark),
                false => ControlMessage::Ipv6TClass(&class),
            });
        }
        messages.extend(segment.map(ControlMessage::UdpGsoSegments));
        send(&messages)
    }
}

/// Most datagrams that the kernel cuts one into: `UDP_MAX_SEGMENTS` (linux/udp.h) of the kernels that have the fewest.
const MAX_SEGMENTS: usize = 64;

/// A socket, as datagrams leave through it.
#[derive(Debug)]
pub(in crate::device) struct SystemSocket(pub(in crate::device) UdpSocket);

impl SystemSocket {
    /// Returns the socket; the state of receiving has no part in sending.
    pub(in crate::device) fn new(socket: UdpSocket, _: &Arc<UdpSocketState>) -> Self {
        Self(socket)
    }

    /// Returns how many datagrams one call may send.
    ///
    /// It asks the kernel whether it knows the option. Nothing is sent to find out, so nothing that a network or a peer does
    /// changes the answer.
    pub(in crate::device) fn max_segments(&self) -> usize {
        const SEGMENT: i32 = 1_200;
        let socket = &self.0;
        let test = || {
            setsockopt(socket, sockopt::UdpGsoSegment, &SEGMENT)?;
            let segment = sockopt::UdpGsoSegment.get(socket);
            // From here on each send says it for itself.
            setsockopt(socket, sockopt::UdpGsoSegment, &0)?;
            segment
        };
        match test() {
            Ok(SEGMENT) => MAX_SEGMENTS,
            Ok(_) => 1,
            Err(error) => {
                tracing::debug!(%error, "the system has no segmentation offload of datagrams");
                1
            }
        }
    }
}

impl Transmit for SystemSocket {
    fn send_whole(&self, run: Run<'_>, to: Endpoint) -> io::Result<()> {
        let segment = u16::try_from(run.segment_size).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (contents, address) = ([IoSlice::new(run.contents)], SockaddrStorage::from(to.remote));
        Ancillary::new(run.mark.ecn, to).with(Some(&segment), |messages| {
            let send = || sendmsg(self.0.as_raw_fd(), &contents, messages, MsgFlags::empty(), Some(&address));
            Ok(again(send).map(drop)?)
        })
    }

    /// A call for each: what counts those of `sendmmsg` in `nix` reads addresses that nobody wrote.
    fn send_each(&self, run: Run<'_>, to: Endpoint) -> io::Result<usize> {
        let address = SockaddrStorage::from(to.remote);
        Ancillary::new(run.mark.ecn, to).with(None, |messages| {
            let mut sent = 0;
            for datagram in run.datagrams() {
                let contents = [IoSlice::new(datagram)];
                let send = || sendmsg(self.0.as_raw_fd(), &contents, messages, MsgFlags::empty(), Some(&address));
                match again(send) {
                    Ok(_) => sent += 1,
                    Err(error) if sent == 0 => return Err(error.into()),
                    // The next call is told.
                    Err(_) => break,
                }
            }
            Ok(sent)
        })
    }
}

/// Calls until no signal interrupts it.
fn again<R>(mut call: impl FnMut() -> nix::Result<R>) -> nix::Result<R> {
    loop {
        match call() {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::device::sending::{Offload, Segmentation, Sent, send};

    #[test]
    fn a_signal_ends_no_send() {
        let mut answers = vec![Ok(7), Err(Errno::EINTR), Err(Errno::EINTR)];
        assert_eq!(again(|| answers.pop().expect("no more calls than answers")), Ok(7));
    }

    #[test]
    fn a_destination_that_the_system_refuses_leaves_offload_to_the_others() {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let socket = SystemSocket(socket);
        assert_eq!(socket.max_segments(), MAX_SEGMENTS, "this system has segmentation offload");
        let run = Run { contents: &[7; 300], segment_size: 100, mark: Ecn::Capable0.into() };
        let nowhere = Endpoint::from(std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        let (mut offload, mut sent) = (Offload::default(), Sent::default());
        for _ in 0..200 {
            send(&socket, run, Segmentation::Kernel, nowhere, &mut offload, &mut sent, std::time::Instant::now());
        }
        assert_eq!(sent.failed, 600);
        assert_eq!(socket.max_segments(), MAX_SEGMENTS);
        socket.send_whole(run, receiver.local_addr().unwrap().into()).unwrap();
        let mut buffer = [0; 1_000];
        assert_eq!([(); 3].map(|()| receiver.recv(&mut buffer).unwrap()), [100; 3]);
    }
}

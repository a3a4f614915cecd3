//! Hands datagrams to the operating system, without waiting.
//!
//! On Linux and Android by ourselves: several datagrams as one that the kernel cuts (segmentation offload), or each by
//! itself. What one destination refuses changes nothing for others.

use std::io;
use std::net::UdpSocket;

use quinn_udp::UdpSocketState;

use crate::tunnel::{Endpoint, Run};

/// Who cuts a run into datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segmentation {
    /// The kernel, on its way to the network. On IPv4 the identifiers of what was sent at once show that it was.
    Kernel,
    /// The sender: each datagram looks as if it were alone.
    Sender,
}

/// Sends the run as one that the kernel cuts.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn send_whole(socket: &UdpSocket, _: &UdpSocketState, run: Run<'_>, to: Endpoint) -> io::Result<()> {
    linux::send_whole(socket, run, to)
}

/// Sends the first datagrams of the run, each by itself, and returns how many: at least one.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn send_each(socket: &UdpSocket, _: &UdpSocketState, run: Run<'_>, to: Endpoint) -> io::Result<usize> {
    linux::send_each(socket, run, to)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use elsewhere::{send_each, send_whole};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux {
    use std::io::{self, IoSlice};
    use std::net::{IpAddr, UdpSocket};
    use std::os::fd::AsRawFd as _;

    use nix::errno::Errno;
    use nix::libc::{in_addr, in_pktinfo, in6_addr, in6_pktinfo};
    use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg};

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

    pub(super) fn send_whole(socket: &UdpSocket, run: Run<'_>, to: Endpoint) -> io::Result<()> {
        let segment = u16::try_from(run.segment_size).map_err(|_| io::ErrorKind::InvalidInput)?;
        let (contents, address) = ([IoSlice::new(run.contents)], SockaddrStorage::from(to.remote));
        Ancillary::new(run.ecn, to).with(Some(&segment), |messages| {
            let send = || sendmsg(socket.as_raw_fd(), &contents, messages, MsgFlags::empty(), Some(&address));
            Ok(again(send).map(drop)?)
        })
    }

    /// A call for each: what counts those of `sendmmsg` in `nix` reads addresses that nobody wrote.
    pub(super) fn send_each(socket: &UdpSocket, run: Run<'_>, to: Endpoint) -> io::Result<usize> {
        let address = SockaddrStorage::from(to.remote);
        Ancillary::new(run.ecn, to).with(None, |messages| {
            let mut sent = 0;
            for datagram in run.datagrams() {
                let contents = [IoSlice::new(datagram)];
                let send = || sendmsg(socket.as_raw_fd(), &contents, messages, MsgFlags::empty(), Some(&address));
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

    /// Calls until no signal interrupts it.
    fn again<R>(mut call: impl FnMut() -> nix::Result<R>) -> nix::Result<R> {
        loop {
            match call() {
                Err(Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere {
    use std::io;
    use std::net::UdpSocket;

    use quinn_udp::{EcnCodepoint, Transmit, UdpSocketState};

    use crate::tunnel::{Endpoint, Run};

    pub(in crate::device) fn send_whole(
        socket: &UdpSocket,
        state: &UdpSocketState,
        run: Run<'_>,
        to: Endpoint,
    ) -> io::Result<()> {
        let transmit = Transmit {
            destination: to.remote,
            ecn: EcnCodepoint::from_bits(run.ecn as u8),
            contents: run.contents,
            segment_size: (run.contents.len() > run.segment_size).then_some(run.segment_size),
            src_ip: to.local,
        };
        state.try_send(socket.into(), &transmit)
    }

    pub(in crate::device) fn send_each(
        socket: &UdpSocket,
        state: &UdpSocketState,
        run: Run<'_>,
        to: Endpoint,
    ) -> io::Result<usize> {
        let Some(datagram) = run.datagrams().next() else { return Ok(0) };
        send_whole(socket, state, Run { contents: datagram, segment_size: datagram.len(), ecn: run.ecn }, to)
            .map(|()| 1)
    }
}

//! What `quinn-udp` does on systems other than Linux and Android.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;

use quinn_udp::{EcnCodepoint, Transmit as Datagrams, UdpSocketState};

use super::Transmit;
use crate::tunnel::{Endpoint, Run};

/// A socket, as datagrams leave through it.
#[derive(Debug)]
pub(in crate::device) struct SystemSocket(pub(in crate::device) UdpSocket, Arc<UdpSocketState>);

impl SystemSocket {
    /// Returns the socket, whose state it shares with the receiving side.
    pub(in crate::device) fn new(socket: UdpSocket, state: &Arc<UdpSocketState>) -> Self {
        Self(socket, Arc::clone(state))
    }

    /// Returns how many datagrams one call may send.
    pub(in crate::device) fn max_segments(&self) -> usize {
        self.1.max_gso_segments()
    }
}

impl Transmit for SystemSocket {
    fn send_whole(&self, run: Run<'_>, to: Endpoint) -> io::Result<()> {
        let datagrams = Datagrams {
            destination: to.remote,
            ecn: EcnCodepoint::from_bits(run.mark.ecn as u8),
            contents: run.contents,
            segment_size: (run.contents.len() > run.segment_size).then_some(run.segment_size),
            src_ip: to.local,
        };
        self.1.try_send((&self.0).into(), &datagrams)
    }

    fn send_each(&self, run: Run<'_>, to: Endpoint) -> io::Result<usize> {
        let Some(datagram) = run.datagrams().next() else { return Ok(0) };
        self.send_whole(Run { contents: datagram, segment_size: datagram.len(), mark: run.mark }, to).map(|()| 1)
    }
}

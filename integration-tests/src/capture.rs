//! Captures of what crosses a wire.

use std::thread;
use std::time::Duration;

use maybetun_lab::capture::{self, Captured, Frame};
use maybetun_lab::datagram::Datagram;

use crate::host::Host;
use crate::wait::eventually;

/// Bytes of each frame that hold its headers.
const HEADERS: u16 = 128;

/// Bytes of each frame that hold all of it, but for a burst that the kernel has not cut.
const WHOLE: u16 = 16_384;

/// Protocol numbers of ICMP of both IP versions.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A running capture of what passes an interface. Dropping it ends it.
#[derive(Debug)]
pub struct Capture(capture::Capture);

impl Capture {
    /// Starts to capture the headers of UDP datagrams over both IP versions, and returns once what passes is seen.
    #[track_caller]
    pub fn start(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, HEADERS, is_datagram)
    }

    /// Does the same for whole datagrams; for [`payloads`](Self::payloads).
    #[track_caller]
    pub fn start_payloads(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, WHOLE, is_datagram)
    }

    /// Starts to capture the ICMP messages of both IP versions that quote a packet; for [`packets`](Self::packets).
    #[track_caller]
    pub fn start_errors(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, WHOLE, |frame| match icmp(frame) {
            Some((ICMP, kind)) => kind == 3 || kind == 11,
            Some((_, kind)) => kind < 128,
            None => false,
        })
    }

    /// Starts to capture every packet, up to 16,384 bytes of it, but for what hosts say of themselves; for
    /// [`packets`](Self::packets).
    #[track_caller]
    pub fn start_whole(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, WHOLE, |frame| match ip(frame) {
            Some([version, ..]) if version >> 4 == 6 => frame.packet().get(6) != Some(&ICMPV6),
            Some(_) => true,
            None => false,
        })
    }

    /// Does the same for packets that the interface gives the host; for [`packets`](Self::packets).
    #[track_caller]
    pub fn start_delivered(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, WHOLE, |frame| !frame.is_outgoing)
    }

    /// Starts to capture the headers of every frame, whatever it is; for [`packets`](Self::packets).
    #[track_caller]
    pub(crate) fn start_everything(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, HEADERS, |_| true)
    }

    /// Starts to capture the headers of UDP datagrams of both IP versions; for [`timed_packets`](Self::timed_packets).
    #[track_caller]
    pub fn start_headers(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, HEADERS, is_datagram)
    }

    #[track_caller]
    fn begin(host: &Host, interface: &str, length: u16, is_wanted: fn(&Frame) -> bool) -> Self {
        let started = host.inside(|| capture::Capture::start(interface, length, is_wanted));
        Self(started.unwrap_or_else(|error| panic!("no capture on {interface}: {error:?}")))
    }

    /// Ends the capture and returns the datagrams that passed, in order.
    #[track_caller]
    pub fn finish(self) -> Vec<Datagram> {
        self.payloads().into_iter().map(|(datagram, _)| datagram).collect()
    }

    /// Ends the capture and returns the datagrams that passed, in order, each with its UDP payload as far as it was
    /// captured.
    #[track_caller]
    pub fn payloads(self) -> Vec<(Datagram, Vec<u8>)> {
        let frames = self.frames();
        let parsed = frames.iter().filter_map(|frame| Datagram::parse(frame.at, frame.packet()));
        let mut datagrams: Vec<_> = parsed.map(|(datagram, payload)| (datagram, payload.to_vec())).collect();
        // What passes on several processors at once may be taken out of order.
        datagrams.sort_by_key(|(datagram, _)| datagram.at);
        datagrams
    }

    /// Ends the capture once nothing more passes, and returns the packets that passed, in order, without `link` bytes of
    /// link-layer header: 14 on Ethernet, none on a TUN device.
    #[track_caller]
    pub fn packets(self, link: usize) -> Vec<Vec<u8>> {
        self.settle();
        self.timed_packets(link).into_iter().map(|(_, packet)| packet).collect()
    }

    /// Does the same at once, while more may pass, and tells when each passed, since 1970.
    #[track_caller]
    pub fn timed_packets(self, link: usize) -> Vec<(Duration, Vec<u8>)> {
        self.frames().into_iter().map(|frame| (frame.at, frame.bytes[link..].to_vec())).collect()
    }

    #[track_caller]
    fn settle(&self) {
        let mut before = self.0.taken();
        eventually("nothing more passes", Duration::from_secs(30), || {
            thread::sleep(Duration::from_millis(500));
            let now = self.0.taken();
            std::mem::replace(&mut before, now) == now
        });
    }

    #[track_caller]
    fn frames(self) -> Vec<Frame> {
        let captured = self.0.finish().unwrap_or_else(|error| panic!("the capture failed: {error:?}"));
        let Captured { frames, missed, .. } = captured;
        assert_eq!(missed, 0, "frames that the capture was too slow for");
        frames
    }
}

fn is_datagram(frame: &Frame) -> bool {
    Datagram::parse(frame.at, frame.packet()).is_some()
}

/// Returns the IP packet in a frame.
fn ip(frame: &Frame) -> Option<&[u8]> {
    let packet = frame.packet();
    matches!(packet.first()? >> 4, 4 | 6).then_some(packet)
}

/// Returns the protocol and the type of an ICMP message of either version.
fn icmp(frame: &Frame) -> Option<(u8, u8)> {
    let packet = ip(frame)?;
    if packet[0] >> 4 == 6 {
        return (*packet.get(6)? == ICMPV6).then_some((ICMPV6, *packet.get(40)?));
    }
    let header = usize::from(packet[0] & 15) * 4;
    (*packet.get(9)? == ICMP).then_some((ICMP, *packet.get(header)?))
}

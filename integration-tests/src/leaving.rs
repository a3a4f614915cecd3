//! What leaves a host by a wire, and a prober that tries to get everything out.

use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use maybetun_lab::datagram::Datagram;

use crate::capture::Capture;
use crate::host::{Background, Host};
use crate::wait::eventually;

/// Bytes of Ethernet's header, and where it has sender and protocol.
const ETHERNET: usize = 14;
const SENDER: std::ops::Range<usize> = 6..12;
const PROTOCOL: std::ops::Range<usize> = 12..14;

/// EtherTypes and IP protocol numbers.
const ARP: [u8; 2] = [0x08, 0x06];
const HOP_BY_HOP: u8 = 0;
const ICMPV6: u8 = 58;

/// What a frame is that left a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Left {
    /// A WireGuard message.
    Message,
    /// A part of neighbour discovery: ARP, or ICMPv6 of types 133 to 136 and 143.
    Discovery,
    /// A datagram of DHCP, of either version.
    Dhcp,
    /// Anything else: IP version, protocol, destination.
    Other(u8, u8, IpAddr),
}

/// A capture of what leaves a host by one of its interfaces.
#[derive(Debug)]
pub struct Leaving {
    capture: Capture,
    /// The interface's link-layer address.
    address: [u8; 6],
}

impl Leaving {
    /// Starts the capture, and returns once what passes is seen.
    #[track_caller]
    pub fn start(host: &Host, interface: &str) -> Self {
        let link = host.ip(&format!("-o link show dev {interface}"));
        let address = link.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an address");
        let bytes: Vec<u8> = address.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("a byte")).collect();
        let address = bytes.try_into().expect("six bytes");
        Self { capture: Capture::start_everything(host, interface), address }
    }

    /// Ends the capture and returns what left, in order.
    #[track_caller]
    pub fn finish(self) -> Vec<Left> {
        let frames = self.capture.packets(0);
        frames.iter().filter(|frame| frame[SENDER] == self.address).map(|frame| left(frame)).collect()
    }

    /// Ends the capture, returns how many WireGuard messages left, and panics if anything left that no kill switch lets
    /// through.
    #[track_caller]
    pub fn only_tunnel(self) -> usize {
        let left = self.finish();
        let others: std::collections::BTreeSet<_> =
            left.iter().filter(|left| matches!(left, Left::Other(..))).collect();
        assert!(others.is_empty(), "this left: {others:?}");
        left.iter().filter(|left| **left == Left::Message).count()
    }
}

fn left(frame: &[u8]) -> Left {
    let packet = &frame[ETHERNET..];
    if frame[PROTOCOL] == ARP {
        return Left::Discovery;
    }
    if let Some((datagram, _)) = Datagram::parse(Duration::ZERO, packet) {
        let is_message = (1..=4).contains(&datagram.message.kind) && datagram.message.reserved == [0; 3];
        return match datagram.ports {
            [68, 67] | [546, 547] => Left::Dhcp,
            ports if is_message && ports.contains(&51820) => Left::Message,
            _ => Left::Other(packet[0] >> 4, 17, datagram.destination),
        };
    }
    if packet[0] >> 4 == 4 {
        let destination: [u8; 4] = packet[16..20].try_into().expect("four bytes");
        return Left::Other(4, packet[9], destination.into());
    }
    let destination: [u8; 16] = packet[24..40].try_into().expect("sixteen bytes");
    let (protocol, payload) = match packet[6] {
        HOP_BY_HOP => (packet[40], &packet[48 + 8 * usize::from(packet[41])..]),
        protocol => (protocol, &packet[40..]),
    };
    match (protocol, payload[0]) {
        (ICMPV6, 133..=136 | 143) => Left::Discovery,
        _ => Left::Other(6, protocol, destination.into()),
    }
}

/// Tries on and on to reach addresses: by questions to their DNS port, TCP connections and pings.
#[derive(Debug)]
pub struct Prober {
    stop: Arc<AtomicBool>,
    attempts: Arc<AtomicU64>,
    threads: Vec<Background<()>>,
    pings: Vec<Child>,
}

impl Prober {
    /// Starts on `host`.
    #[track_caller]
    pub fn start(host: &Host, addresses: &[&str]) -> Self {
        let (stop, attempts) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        let mut pings = Vec::new();
        for address in addresses {
            let address: IpAddr = address.parse().expect("an address");
            for probe in [ask, connect] {
                let (stop, attempts) = (Arc::clone(&stop), Arc::clone(&attempts));
                threads.push(host.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        probe(address);
                        attempts.fetch_add(1, Ordering::Relaxed);
                    }
                }));
            }
            let mut ping = host.command("ping");
            ping.args(["-n", "-q", "-i", "0.02", "-W", "1", &address.to_string()]);
            ping.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            pings.push(ping.spawn().expect("ping runs"));
        }
        Self { stop, attempts, threads, pings }
    }

    /// Waits until it has tried some 200 more times.
    #[track_caller]
    pub fn go_on(&self) {
        let before = self.attempts.load(Ordering::Relaxed);
        eventually("the prober goes on", Duration::from_secs(60), || {
            self.attempts.load(Ordering::Relaxed) > before + 200
        });
    }

    /// Stops it.
    #[track_caller]
    pub fn finish(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        std::mem::take(&mut self.threads).into_iter().for_each(Background::finish);
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for ping in &mut self.pings {
            ping.kill().ok();
            ping.wait().ok();
        }
    }
}

/// Asks for the address of `a.example`. Nobody has to answer.
fn ask(address: IpAddr) {
    const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sent = UdpSocket::bind(any).and_then(|socket| socket.send_to(QUESTION, SocketAddr::new(address, 53)));
    // What is dropped is refused, at once.
    drop(sent);
    thread::sleep(Duration::from_micros(500));
}

fn connect(address: IpAddr) {
    drop(TcpStream::connect_timeout(&SocketAddr::new(address, 80), Duration::from_millis(5)));
    thread::sleep(Duration::from_micros(500));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(protocol: [u8; 2], packet: &[u8]) -> Vec<u8> {
        [&[2; 12][..], &protocol, packet].concat()
    }

    #[test]
    fn frames_are_told_apart() {
        let v4 = |protocol: u8, payload: &[u8]| {
            let header = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
            left(&frame([8, 0], &[&header, payload].concat()))
        };
        let udp = |from: u16, to: u16, payload: &[u8]| {
            let length = (8 + payload.len() as u16).to_be_bytes();
            v4(17, &[&from.to_be_bytes()[..], &to.to_be_bytes(), &length, &[0, 0], payload].concat())
        };
        let relay = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(udp(1234, 51820, &[4, 0, 0, 0, 1]), Left::Message);
        assert_eq!(udp(1234, 51820, &[4, 1, 0, 0, 1]), Left::Other(4, 17, relay));
        assert_eq!(udp(1234, 53, &[4, 0, 0, 0, 1]), Left::Other(4, 17, relay));
        assert_eq!(udp(68, 67, &[1; 8]), Left::Dhcp);
        assert_eq!(v4(1, &[8; 8]), Left::Other(4, 1, relay));
        assert_eq!(left(&frame(ARP, &[0; 28])), Left::Discovery);
        let v6 = |next: u8, payload: &[u8]| {
            let header = [&[0x60, 0, 0, 0, 0, 8, next, 255][..], &[0x20; 32]].concat();
            left(&frame([0x86, 0xdd], &[&header, payload].concat()))
        };
        assert_eq!(v6(58, &[135, 0, 0, 0]), Left::Discovery);
        assert_eq!(v6(0, &[58, 0, 5, 2, 0, 0, 1, 0, 143, 0, 0, 0]), Left::Discovery);
        assert_eq!(v6(58, &[128, 0, 0, 0]), Left::Other(6, 58, IpAddr::from([0x20; 16])));
    }
}

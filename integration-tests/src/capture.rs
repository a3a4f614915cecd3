//! Captures of what crosses a wire.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::host::Host;
use crate::wait::eventually;

/// Bytes of the file's header, of each packet's, and of Ethernet's (pcap-savefile(5), LINKTYPE_ETHERNET).
const FILE_HEADER: usize = 24;
const PACKET_HEADER: usize = 16;
const ETHERNET: usize = 14;

/// The first byte of a transport data message.
const DATA: u8 = 4;

/// A datagram on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// When it passed, since 1970.
    pub at: Duration,
    /// Where it came from.
    pub source: Ipv4Addr,
    /// Bytes of UDP payload.
    pub length: usize,
    /// Whether it is a transport data message.
    pub is_data: bool,
}

/// A running capture of the IPv4 UDP datagrams on an interface. Dropping it ends it.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    directory: TempDir,
}

impl Capture {
    /// Starts to capture, and returns once what passes is seen.
    #[track_caller]
    pub fn start(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, "64", "ip and udp")
    }

    /// Starts to capture every packet, up to 16,384 bytes of it, but for what hosts say of themselves; for
    /// [`packets`](Self::packets).
    #[track_caller]
    pub fn start_whole(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, "16384", "not icmp6 and not arp")
    }

    /// Starts to capture the headers of UDP datagrams of both IP versions; for [`timed_packets`](Self::timed_packets).
    #[track_caller]
    pub fn start_headers(host: &Host, interface: &str) -> Self {
        Self::begin(host, interface, "128", "udp")
    }

    #[track_caller]
    fn begin(host: &Host, interface: &str, length: &str, filter: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut command = host.command("tcpdump");
        // As root: in its own account tcpdump could not write into the directory.
        command.args(["-i", interface, "-n", "-s", length]);
        command.args(["-B", "65536", "--immediate-mode", "-U", "-Z", "root", "-w"]);
        command.arg(directory.path().join("capture")).arg(filter);
        let spawned = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.unwrap_or_else(|error| panic!("cannot run tcpdump: {error}"));
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().expect("standard error is piped"));
        while !said.contains("listening on") {
            let read = lines.read_line(&mut said).expect("tcpdump speaks text");
            assert!(read > 0, "tcpdump ended: {said}");
        }
        // The rest is little enough for the pipe.
        child.stderr = Some(lines.into_inner());
        Self { child, directory }
    }

    /// Ends the capture and returns the datagrams that passed, in order.
    #[track_caller]
    pub fn finish(self) -> Vec<Datagram> {
        parse(&self.file())
    }

    /// Ends the capture and returns the packets that passed, in order, without `link` bytes of link-layer header: 14 on
    /// Ethernet, none on a TUN device.
    #[track_caller]
    pub fn packets(self, link: usize) -> Vec<Vec<u8>> {
        self.settle();
        records(&self.file()).map(|(_, packet)| packet[link..].to_vec()).collect()
    }

    /// Does the same at once, while more may pass, and tells when each passed, since 1970.
    #[track_caller]
    pub fn timed_packets(self, link: usize) -> Vec<(Duration, Vec<u8>)> {
        records(&self.file()).map(|(at, packet)| (at, packet[link..].to_vec())).collect()
    }

    /// Waits until nothing more is written: tcpdump throws away what it has not read when it ends.
    #[track_caller]
    fn settle(&self) {
        let length = || fs::metadata(self.directory.path().join("capture")).map_or(0, |file| file.len());
        let mut before = length();
        eventually("the capture is complete", Duration::from_secs(30), || {
            thread::sleep(Duration::from_millis(500));
            let now = length();
            std::mem::replace(&mut before, now) == now
        });
    }

    #[track_caller]
    fn file(mut self) -> Vec<u8> {
        let id = Pid::from_raw(self.child.id().try_into().expect("a process id is positive"));
        kill(id, Signal::SIGINT).expect("tcpdump runs");
        self.child.wait().expect("tcpdump is our child");
        let said = self.child.stderr.take().map(std::io::read_to_string);
        let said = said.expect("standard error is piped").expect("tcpdump speaks text");
        assert!(said.contains("\n0 packets dropped by kernel") || said.starts_with("0 packets dropped"), "{said}");
        fs::read(self.directory.path().join("capture")).expect("tcpdump wrote the file")
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the packets of a capture, each with the time it passed.
fn records(file: &[u8]) -> impl Iterator<Item = (Duration, &[u8])> {
    assert!(file.starts_with(&0xa1b2_c3d4_u32.to_le_bytes()), "a capture in microseconds, of this machine");
    let mut rest = &file[FILE_HEADER..];
    std::iter::from_fn(move || {
        let (header, behind) = rest.split_at_checked(PACKET_HEADER)?;
        let field = |index: usize| u32::from_le_bytes(header[4 * index..4 * index + 4].try_into().expect("four bytes"));
        let at = Duration::from_secs(field(0).into()) + Duration::from_micros(field(1).into());
        let (packet, behind) = behind.split_at(field(2) as usize);
        rest = behind;
        Some((at, packet))
    })
}

fn parse(file: &[u8]) -> Vec<Datagram> {
    let datagram = |(at, packet): (Duration, &[u8])| {
        let ip = &packet[ETHERNET..];
        let udp = &ip[usize::from(ip[0] & 15) * 4..];
        Datagram {
            at,
            source: Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]),
            length: usize::from(u16::from_be_bytes([udp[4], udp[5]])) - 8,
            is_data: udp.get(8) == Some(&DATA),
        }
    };
    let mut datagrams: Vec<_> = records(file).map(datagram).collect();
    // What passes on several processors at once may be written out of order.
    datagrams.sort_by_key(|datagram| datagram.at);
    datagrams
}

//! Captures as tcpdump and Wireshark write them, read for what passed (feature `capture`).
//!
//! Classic pcap and pcapng of Ethernet, Linux's cooked frames (versions 1 and 2) or IP alone. A capture may be of any size and from
//! anyone: what is kept of it are the bins of [`Traffic`], and a buffer of [`MAX_BLOCK`].

mod frame;

use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, PcapHeader, create_reader};
use thiserror::Error;

use self::frame::Packet;
use super::Direction;
use super::derive::Traffic;

/// Bound of a packet or other block, in bytes.
pub const MAX_BLOCK: usize = 1 << 20;

/// Most interfaces of a section of a pcapng file.
const MAX_INTERFACES: usize = 1_024;

/// What a capture was read for.
#[derive(Debug, Clone)]
pub struct Capture {
    /// What passed to and from the client, by the lengths that IP headers state.
    pub traffic: Traffic,
    /// The addresses of the client.
    pub clients: Vec<IpAddr>,
    /// Packets of others, and frames in which there is no IP packet with a whole header.
    pub others: u64,
}

/// Why a capture cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// It does not begin as a capture does.
    #[error("neither pcap nor pcapng")]
    Unknown,
    /// Something in it is not valid.
    #[error("at byte {at}, after {packets} packets: {problem}")]
    Invalid {
        /// Where the block or packet begins.
        at: u64,
        /// Packets before it, those of others included.
        packets: u64,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads a capture to its end. The client is whoever has one of the addresses or, if there are none, sent the first packet.
///
/// # Errors
/// When it is no capture, of a kind of link that is not read, damaged, or ends in the middle of a packet.
pub fn read(reader: impl Read + Send, clients: &[IpAddr]) -> Result<Capture, CaptureError> {
    let mut blocks = create_reader(2 * MAX_BLOCK, reader).map_err(|_| CaptureError::Unknown)?;
    let mut reading = Reading {
        capture: Capture { traffic: Traffic::new(), clients: clients.to_vec(), others: 0 },
        interfaces: Vec::new(),
    };
    let (mut at, mut packets) = (0, 0);
    loop {
        let invalid = |problem: String| CaptureError::Invalid { at, packets, problem };
        match blocks.next() {
            Ok((length, block)) => {
                if length > MAX_BLOCK {
                    return Err(invalid(format!("{length} bytes, expected at most {MAX_BLOCK}")));
                }
                packets += u64::from(reading.block(&block).map_err(invalid)?);
                at += length as u64;
                blocks.consume(length);
            }
            Err(PcapError::Eof) => return Ok(reading.capture),
            Err(PcapError::Incomplete(_)) => {
                let before = blocks.data().len();
                blocks.refill().map_err(|error| invalid(problem(&error)))?;
                // A buffer that is full asks for more without end.
                if blocks.data().len() == before && !blocks.reader_exhausted() {
                    return Err(invalid(problem(&PcapError::<()>::BufferTooSmall)));
                }
            }
            Err(error) => return Err(invalid(problem(&error))),
        }
    }
}

fn problem<I>(error: &PcapError<I>) -> String {
    match error {
        PcapError::Eof | PcapError::UnexpectedEof | PcapError::Incomplete(_) => {
            "the file ends in the middle of it".to_owned()
        }
        PcapError::BufferTooSmall => format!("expected at most {MAX_BLOCK} bytes"),
        PcapError::ReadError => "the file cannot be read any further".to_owned(),
        PcapError::HeaderNotRecognized | PcapError::NomError(..) | PcapError::OwnedNomError(..) => {
            "expected a block of a capture".to_owned()
        }
    }
}

/// What captures say of an interface.
#[derive(Debug, Clone, Copy)]
struct Interface {
    link: Linktype,
    /// Units of time in a second, 1 or more.
    units: u64,
    /// Seconds to add to every time.
    offset: i64,
}

impl Interface {
    fn of_header(header: &PcapHeader) -> Result<Self, String> {
        let units = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
        Self::new(header.network, units, 0)
    }

    fn new(link: Linktype, units: u64, offset: i64) -> Result<Self, String> {
        if frame::is_known(link) {
            return Ok(Self { link, units, offset });
        }
        Err(format!("link type {}, expected {}", link.0, frame::KNOWN))
    }

    /// Returns the time of so many units.
    fn time(self, units: u64) -> Duration {
        let nanos = u128::from(units % self.units) * 1_000_000_000 / u128::from(self.units);
        // Below 10^9: it is a part of a second.
        Duration::new((units / self.units).saturating_add_signed(self.offset), nanos as u32)
    }
}

/// Returns how many units a second has, as pcapng has it: a negative power of 10, or of 2 if the highest bit is set.
fn units(resolution: u8) -> Result<u64, String> {
    let power = u32::from(resolution & 0x7f);
    let units = if resolution & 0x80 == 0 { 10u64.checked_pow(power) } else { 2u64.checked_pow(power) };
    units.ok_or_else(|| format!("time resolution {resolution:#04x}, expected at most 2^63 or 10^19 units a second"))
}

struct Reading {
    capture: Capture,
    /// Those of the section so far; of a classic capture, the only one.
    interfaces: Vec<Interface>,
}

impl Reading {
    /// Takes a block; returns whether it is a packet.
    fn block(&mut self, block: &PcapBlockOwned<'_>) -> Result<bool, String> {
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.interfaces = vec![Interface::of_header(header)?],
            PcapBlockOwned::Legacy(packet) => {
                let interface = self.interface(0)?;
                let time = interface.time(u64::from(packet.ts_sec) * interface.units + u64::from(packet.ts_usec));
                self.packet(interface.link, time, packet.data, packet.origlen);
                return Ok(true);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.interfaces.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                if self.interfaces.len() == MAX_INTERFACES {
                    return Err(format!("one more interface, expected at most {MAX_INTERFACES}"));
                }
                let units = units(description.if_tsresol)?;
                self.interfaces.push(Interface::new(description.linktype, units, description.if_tsoffset)?);
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                let interface = self.interface(packet.if_id)?;
                let time = interface.time(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low));
                let frame = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                self.packet(interface.link, time, frame, packet.origlen);
                return Ok(true);
            }
            // It has no time.
            PcapBlockOwned::NG(Block::SimplePacket(_)) => {
                self.capture.others += 1;
                return Ok(true);
            }
            PcapBlockOwned::NG(
                Block::NameResolution(_)
                | Block::InterfaceStatistics(_)
                | Block::SystemdJournalExport(_)
                | Block::DecryptionSecrets(_)
                | Block::ProcessInformation(_)
                | Block::Custom(_)
                | Block::Unknown(_),
            ) => {}
        }
        Ok(false)
    }

    fn interface(&self, index: u32) -> Result<Interface, String> {
        let interface = usize::try_from(index).ok().and_then(|index| self.interfaces.get(index));
        interface.copied().ok_or_else(|| format!("interface {index}, expected one of {}", self.interfaces.len()))
    }

    fn packet(&mut self, link: Linktype, at: Duration, frame: &[u8], wire_length: u32) {
        let Some(Packet { from, to, length }) = frame::packet(link, frame, wire_length) else {
            self.capture.others += 1;
            return;
        };
        let Capture { traffic, clients, others } = &mut self.capture;
        if clients.is_empty() {
            clients.push(from);
        }
        match (clients.contains(&from), clients.contains(&to)) {
            (true, false) => traffic.add(at, Direction::Upload, length),
            (false, true) => traffic.add(at, Direction::Download, length),
            // What the client says to itself passes nowhere.
            (true, true) | (false, false) => *others += 1,
        }
    }
}

#[cfg(test)]
mod tests;

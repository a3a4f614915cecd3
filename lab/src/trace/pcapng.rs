//! One trace as a capture in pcapng (IETF draft-ietf-opsawg-pcapng), which Wireshark and tcpdump read: raw IP, times in
//! nanoseconds, of each datagram its headers alone.
//!
//! Of our own, because the published readers are old, and what is needed of the format is three kinds of block.

use std::io::{Read, Write};
use std::net::IpAddr;
use std::time::Duration;

use super::error::FormatError;
use super::{Direction, MAX_DATAGRAMS, Passage, Trace};
use crate::datagram::{Datagram, ETHERNET};

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

/// The options of an interface that end the list, and that say how long a unit of time is.
const END_OF_OPTIONS: u16 = 0;
const RESOLUTION: u16 = 9;

/// Link types (tcpdump.org/linktypes.html): Ethernet, raw IP, IPv4, IPv6.
const LINK_ETHERNET: u16 = 1;
const LINK_RAW: u16 = 101;
const LINKS: [u16; 4] = [LINK_ETHERNET, LINK_RAW, 228, 229];

/// Most bytes of a block that is read: a datagram with all its options.
const MAX_BLOCK: usize = 1 << 18;

/// Most interfaces of a section.
const MAX_INTERFACES: usize = 1 << 10;

/// Bytes of IPv4 and UDP headers: what is written of each datagram.
const HEADERS: usize = 28;

/// Writes the trace as a capture between 192.0.2.1, the client, and 192.0.2.2, since 1970.
///
/// # Errors
/// If writing fails, or a datagram is smaller than its headers.
pub fn write(mut writer: impl Write, trace: &Trace) -> Result<(), FormatError> {
    let section = [&BYTE_ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &u64::MAX.to_le_bytes()].concat();
    block(&mut writer, SECTION, &section)?;
    let resolution = [&RESOLUTION.to_le_bytes()[..], &[1, 0, 9, 0, 0, 0], &[0; 4]].concat();
    let interface = [&LINK_RAW.to_le_bytes()[..], &[0; 2], &0u32.to_le_bytes(), &resolution].concat();
    block(&mut writer, INTERFACE, &interface)?;
    for (index, passage) in trace.iter().enumerate() {
        let headers = headers(passage).ok_or_else(|| {
            let problem = format_args!("{} bytes: expected {HEADERS} or more", passage.size);
            FormatError::at(format_args!("datagram {index}"), problem)
        })?;
        let time = passage.at.as_nanos() as u64;
        let lengths = [0, (time >> 32) as u32, time as u32, HEADERS as u32, passage.size.into()];
        let body = [&lengths.map(u32::to_le_bytes).concat()[..], &headers].concat();
        block(&mut writer, PACKET, &body)?;
    }
    Ok(writer.flush()?)
}

/// Returns the headers of a datagram; `None` if it is smaller than they are.
fn headers(passage: Passage) -> Option<[u8; HEADERS]> {
    let udp_length = passage.size.checked_sub(20).filter(|length| *length >= 8)?;
    let mut headers = [0; HEADERS];
    headers[..2].copy_from_slice(&[0x45, 0]);
    headers[2..4].copy_from_slice(&passage.size.to_be_bytes());
    headers[8..10].copy_from_slice(&[64, 17]);
    let [client, relay] = [[192, 0, 2, 1], [192, 0, 2, 2]];
    let (source, destination) = match passage.direction {
        Direction::Upload => (client, relay),
        Direction::Download => (relay, client),
    };
    headers[12..16].copy_from_slice(&source);
    headers[16..20].copy_from_slice(&destination);
    // RFC 1071: the complement of the sum, with carries added.
    let sum: u32 = headers[..20].chunks(2).map(|two| u32::from(two[0]) << 8 | u32::from(two[1])).sum();
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    headers[10..12].copy_from_slice(&sum.to_be_bytes());
    for at in [20, 22] {
        headers[at..at + 2].copy_from_slice(&51_820u16.to_be_bytes());
    }
    headers[24..26].copy_from_slice(&udp_length.to_be_bytes());
    Some(headers)
}

/// Writes a block. Bodies are multiples of four bytes.
fn block(writer: &mut impl Write, kind: u32, body: &[u8]) -> Result<(), FormatError> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    Ok(writer.write_all(&[&kind.to_le_bytes()[..], &length, body, &length].concat())?)
}

/// Reads the datagrams that `client` sent and received, or the sender of the first one; all else is left out. The trace begins
/// with the first one.
///
/// # Errors
/// If reading fails, or a block is not as it should be; the error has its first byte.
pub fn read(reader: impl Read, client: Option<IpAddr>) -> Result<Trace, FormatError> {
    let mut blocks = Blocks { reader, at: 0, is_big: false };
    let mut interfaces: Option<Vec<Interface>> = None;
    let mut client = client;
    let mut seen: Vec<(u64, Direction, u16)> = Vec::new();
    while let Some(Block { at, kind, body }) = blocks.next()? {
        let invalid = |problem: &str| FormatError::at(format_args!("block at byte {at}"), problem);
        if kind == SECTION {
            interfaces = Some(Vec::new());
            continue;
        }
        let Some(interfaces) = &mut interfaces else {
            return Err(invalid("expected a section header: this is no pcapng"));
        };
        let fields = Fields { body: &body, is_big: blocks.is_big };
        match kind {
            INTERFACE => {
                if interfaces.len() >= MAX_INTERFACES {
                    return Err(invalid("more than 1024 interfaces"));
                }
                interfaces.push(Interface::parse(fields).map_err(|problem| invalid(&problem))?);
            }
            SIMPLE_PACKET => return Err(invalid("a simple packet has no time: expected enhanced packets")),
            PACKET => {
                let (time, packet) = fields.packet(interfaces).map_err(|problem| invalid(&problem))?;
                let Some((datagram, _)) = packet.and_then(|packet| Datagram::parse(Duration::ZERO, packet)) else {
                    continue;
                };
                let client = *client.get_or_insert(datagram.source);
                let direction = match (datagram.source == client, datagram.destination == client) {
                    (true, _) => Direction::Upload,
                    (_, true) => Direction::Download,
                    (false, false) => continue,
                };
                let size = u16::try_from(datagram.ip.total_length)
                    .map_err(|_| invalid("an IP packet of more than 65535 bytes"))?;
                if seen.len() >= MAX_DATAGRAMS {
                    return Err(invalid("more datagrams than a trace can have"));
                }
                seen.push((time, direction, size));
            }
            _ => {}
        }
    }
    if interfaces.is_none() {
        return Err(FormatError::at("byte 0", "nothing: expected a section header"));
    }
    let first = seen.iter().map(|(time, ..)| *time).min().unwrap_or(0);
    let passages = seen.into_iter().map(|(time, direction, size)| Passage {
        at: Duration::from_nanos(time - first),
        direction,
        size,
    });
    Trace::sorted(passages.collect()).map_err(|error| FormatError::at("the datagrams", error))
}

struct Interface {
    link: u16,
    /// Nanoseconds are units times the first over the second.
    unit: (u128, u128),
}

impl Interface {
    fn parse(fields: Fields<'_>) -> Result<Self, String> {
        let link = fields.u16(0)?;
        if !LINKS.contains(&link) {
            return Err(format!("link type {link}: expected Ethernet (1) or IP (101, 228, 229)"));
        }
        let mut unit = (1_000, 1);
        let mut at = 8;
        while at < fields.body.len() {
            let (option, length) = (fields.u16(at)?, usize::from(fields.u16(at + 2)?));
            match (option, fields.body.get(at + 4)) {
                (END_OF_OPTIONS, _) => break,
                (RESOLUTION, Some(&resolution)) if length == 1 => {
                    let power = u32::from(resolution & 0x7f);
                    let per_second =
                        if resolution & 0x80 == 0 { 10u128.checked_pow(power) } else { 2u128.checked_pow(power) };
                    let per_second = per_second.filter(|units| *units <= 10u128.pow(18));
                    unit = (
                        1_000_000_000,
                        per_second
                            .ok_or(format!("time resolution {resolution:#x}: expected at most 10^18 units a second"))?,
                    );
                }
                _ => {}
            }
            at += 4 + length.next_multiple_of(4);
        }
        Ok(Self { link, unit })
    }
}

struct Block {
    at: u64,
    kind: u32,
    body: Vec<u8>,
}

struct Blocks<R> {
    reader: R,
    at: u64,
    is_big: bool,
}

impl<R: Read> Blocks<R> {
    /// Returns the next block, without its frame; `None` at the end.
    fn next(&mut self) -> Result<Option<Block>, FormatError> {
        let at = self.at;
        let invalid = |problem: &dyn std::fmt::Display| FormatError::at(format_args!("block at byte {at}"), problem);
        let head = self.take(12)?;
        if head.is_empty() {
            return Ok(None);
        }
        if head.len() < 12 {
            return Err(invalid(&format_args!("it ends after {} bytes: expected 12 or more", head.len())));
        }
        let word = |from: usize, is_big| Fields { body: &head, is_big }.u32(from).map_err(|problem| invalid(&problem));
        if word(0, false)? == SECTION {
            self.is_big = match (word(8, false)?, word(8, true)?) {
                (BYTE_ORDER, _) => false,
                (_, BYTE_ORDER) => true,
                (other, _) => return Err(invalid(&format_args!("byte order {other:#x}: expected {BYTE_ORDER:#x}"))),
            };
        }
        let (kind, length) = (word(0, self.is_big)?, word(4, self.is_big)? as usize);
        if !(12..=MAX_BLOCK).contains(&length) || length % 4 != 0 {
            return Err(invalid(&format_args!("{length} bytes: expected a multiple of 4 from 12 to {MAX_BLOCK}")));
        }
        let rest = self.take(length - 12)?;
        if rest.len() != length - 12 {
            return Err(invalid(&format_args!("it ends after {} of {length} bytes", 12 + rest.len())));
        }
        let mut body = head[8..].to_vec();
        body.extend(rest);
        let ending =
            Fields { body: &body, is_big: self.is_big }.u32(body.len() - 4).map_err(|problem| invalid(&problem))?;
        if ending as usize != length {
            return Err(invalid(&format_args!("its length is {length} at its start, {ending} at its end")));
        }
        body.truncate(body.len() - 4);
        Ok(Some(Block { at, kind, body }))
    }

    /// Reads as many bytes, or as many as are left.
    fn take(&mut self, bytes: usize) -> Result<Vec<u8>, FormatError> {
        let mut taken = Vec::new();
        self.reader.by_ref().take(bytes as u64).read_to_end(&mut taken)?;
        self.at += taken.len() as u64;
        Ok(taken)
    }
}

#[derive(Clone, Copy)]
struct Fields<'a> {
    body: &'a [u8],
    is_big: bool,
}

impl<'a> Fields<'a> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], String> {
        let bytes = self.body.get(at..).and_then(<[u8]>::first_chunk).copied();
        bytes.ok_or_else(|| format!("it has {} bytes: expected {} or more", self.body.len(), at + N))
    }

    fn u16(self, at: usize) -> Result<u16, String> {
        self.array(at).map(if self.is_big { u16::from_be_bytes } else { u16::from_le_bytes })
    }

    fn u32(self, at: usize) -> Result<u32, String> {
        self.array(at).map(if self.is_big { u32::from_be_bytes } else { u32::from_le_bytes })
    }

    /// Returns the time in nanoseconds and the IP packet of an enhanced packet; no packet if its frame has none.
    fn packet(self, interfaces: &[Interface]) -> Result<(u64, Option<&'a [u8]>), String> {
        let index = self.u32(0)?;
        let interface = usize::try_from(index).ok().and_then(|index| interfaces.get(index));
        let Interface { link, unit } =
            interface.ok_or(format!("interface {index}: expected one of {}", interfaces.len()))?;
        let units = u128::from(self.u32(4)?) << 32 | u128::from(self.u32(8)?);
        let time = units * unit.0 / unit.1;
        let time = u64::try_from(time).map_err(|_| format!("a time of {time} ns: expected at most {} ns", u64::MAX))?;
        let captured = self.u32(12)? as usize;
        let frame = self.body.get(20..).and_then(|rest| rest.get(..captured));
        let frame = frame.ok_or(format!("{captured} captured bytes in a block of {} bytes", self.body.len()))?;
        Ok((time, if *link == LINK_ETHERNET { frame.get(ETHERNET..) } else { Some(frame) }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::tests::passages;

    fn capture(count: u64) -> Vec<u8> {
        let mut trace = Trace::new();
        for at in 0..count {
            let direction = if at % 3 == 0 { Direction::Upload } else { Direction::Download };
            trace.push(Passage { at: Duration::from_micros(at), direction, size: 1_452 }).unwrap();
        }
        let mut bytes = Vec::new();
        write(&mut bytes, &trace).unwrap();
        bytes
    }

    #[test]
    fn a_capture_that_ends_anywhere_is_refused_or_shorter() {
        let mut capture = Vec::new();
        let passage = Passage { at: Duration::ZERO, direction: Direction::Upload, size: 100 };
        write(&mut capture, &Trace::sorted(vec![passage; 2]).unwrap()).unwrap();
        let whole: Vec<_> = (0..=capture.len()).filter(|length| read(&capture[..*length], None).is_ok()).collect();
        assert_eq!(whole.len(), 4, "behind each block: {whole:?}");
        // Of no kind that is known, and too short for its end.
        for length in 1..12 {
            assert!(read(&b"\x0a\x01\0\0\x0c\0\0\0M\0\0"[..length], None).is_err());
        }
    }

    #[test]
    fn every_truncation_has_an_error_with_its_place() {
        let bytes = capture(2);
        let borders = [28, 28 + 32, 28 + 32 + 60, bytes.len()];
        for end in (0..bytes.len()).filter(|end| !borders.contains(end)) {
            let error = read(&bytes[..end], None).unwrap_err().to_string();
            assert!(error.contains("byte"), "{end}: {error}");
        }
        assert_eq!(read(&bytes[..], None).unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let with = |at: usize, byte: u8| {
            let mut bytes = capture(1);
            bytes[at] = byte;
            read(&bytes[..], None).unwrap_err().to_string()
        };
        assert!(with(0, 1).contains("this is no pcapng"));
        assert!(with(8, 0).contains("byte order"));
        assert!(with(28 + 8, 7).starts_with("block at byte 28: link type 7: expected"));
        assert!(with(28 + 6, 0xff).contains("expected a multiple of 4 from 12 to 262144"));
        assert!(with(28 + 20, 30).contains("time resolution"));
        assert!(with(60 + 8, 3).starts_with("block at byte 60: interface 3: expected one of 1"));
        assert!(with(60 + 21, 9).contains("captured bytes"));
        let small =
            Trace::sorted(vec![Passage { at: Duration::ZERO, direction: Direction::Upload, size: 27 }]).unwrap();
        assert_eq!(write(Vec::new(), &small).unwrap_err().to_string(), "datagram 0: 27 bytes: expected 28 or more");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(mut passages in passages()) {
            passages.iter_mut().for_each(|passage| passage.size = passage.size.max(28));
            let start = passages.iter().map(|passage| passage.at).min().unwrap_or_default();
            let mut bytes = Vec::new();
            write(&mut bytes, &Trace::sorted(passages.clone()).unwrap()).unwrap();
            passages.iter_mut().for_each(|passage| passage.at -= start);
            let read = read(&bytes[..], Some([192, 0, 2, 1].into())).unwrap();
            prop_assert_eq!(read, Trace::sorted(passages).unwrap());
        }

        #[test]
        fn hostile_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = capture(3);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(&bytes[..], None);
        }
    }
}

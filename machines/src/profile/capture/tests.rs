use proptest::prelude::*;

use super::*;

/// A packet of IPv4 between two hosts of 10.0.0.0/24: its header.
fn ip(from: u8, to: u8, length: u16) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to];
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header
}

/// A classic capture of raw IP, with times in microseconds.
fn classic(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let words = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 101];
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    for (micros, frame) in packets {
        let length = frame.len() as u32;
        let head = [1_700_000_000 + micros / 1_000_000, micros % 1_000_000, length, length];
        bytes.extend(head.into_iter().flat_map(u32::to_le_bytes));
        bytes.extend(frame);
    }
    bytes
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = (12 + padded as u32).to_le_bytes();
    let padding = vec![0; padded - body.len()];
    [&kind.to_le_bytes(), &length[..], body, &padding, &length].concat()
}

/// The same as pcapng, with times in units of 1/1024 s.
fn next_generation(packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let section = [&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [&[101, 0, 0, 0], &65_535u32.to_le_bytes()[..], &[9, 0, 1, 0, 0x8a, 0, 0, 0, 0, 0, 0, 0]].concat();
    let mut bytes = [block(0x0a0d_0d0a, &section), block(1, &interface)].concat();
    for (micros, frame) in packets {
        let time = u64::from(*micros) * 1_024 / 1_000_000;
        let head = [0, (time >> 32) as u32, time as u32, frame.len() as u32, frame.len() as u32];
        let head = head.into_iter().flat_map(u32::to_le_bytes);
        bytes.extend(block(6, &head.chain(frame.iter().copied()).collect::<Vec<_>>()));
    }
    bytes
}

fn three() -> Vec<(u32, Vec<u8>)> {
    vec![(0, ip(2, 1, 100)), (1_000_000, ip(1, 2, 1_400)), (2_000_000, ip(3, 4, 999))]
}

#[test]
fn the_client_is_whoever_sent_the_first_packet() {
    for bytes in [classic(&three()), next_generation(&three())] {
        let capture = read(&bytes[..], &[]).unwrap();
        assert_eq!(capture.clients, [IpAddr::from([10, 0, 0, 2])]);
        assert_eq!(
            (capture.traffic.bytes(Direction::Upload), capture.traffic.bytes(Direction::Download)),
            (100, 1_400)
        );
        assert_eq!((capture.traffic.packets(), capture.others), (2, 1));
        assert_eq!(capture.traffic.duration(), Duration::from_millis(1_010));
    }
}

#[test]
fn a_client_can_be_named_by_all_its_addresses() {
    let named = [[10, 0, 0, 1].into(), [10, 0, 0, 4].into()];
    let capture = read(&classic(&three())[..], &named).unwrap();
    assert_eq!((capture.traffic.bytes(Direction::Upload), capture.traffic.bytes(Direction::Download)), (1_400, 1_099));
    assert_eq!(capture.others, 0);
}

#[test]
fn an_error_says_where() {
    let error = |bytes: &[u8]| read(bytes, &[]).unwrap_err().to_string();
    assert_eq!(error(b""), "neither pcap nor pcapng");
    assert_eq!(error(&[7; 100]), "neither pcap nor pcapng");
    let whole = classic(&three());
    assert_eq!(error(&whole[..whole.len() - 1]), "at byte 96, after 2 packets: the file ends in the middle of it");
    let mut other = whole.clone();
    other[20] = 105;
    assert_eq!(
        error(&other),
        "at byte 0, after 0 packets: link type 105, expected Ethernet (1), Linux cooked (113, 276) or IP (12, 14, 101, 228, 229)"
    );
    let mut large = whole;
    large[24 + 8 + 3] = 0x7f;
    let expected = "at byte 24, after 0 packets: expected at most 1048576 bytes";
    assert_eq!(error(&large), expected);
    let mut interface = next_generation(&three());
    interface[28 + 32 + 8] = 9;
    assert_eq!(error(&interface), "at byte 60, after 0 packets: interface 9, expected one of 1");
}

/// Gives its bytes one by one, as a pipe may.
struct Dripping<'a>(&'a [u8]);

impl Read for Dripping<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = if self.0.len().is_multiple_of(2) { 40 } else { 33 };
        let length = buffer.len().min(most);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn what_comes_in_small_parts_is_read_alike() {
    let packets: Vec<_> = (0..1_000).map(|at| (at * 1_000, ip(1, 2, 500))).collect();
    for bytes in [classic(&packets), next_generation(&packets)] {
        let capture = read(Dripping(&bytes), &[]).unwrap();
        assert_eq!(capture.traffic.bytes(Direction::Upload), 500_000);
    }
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        for mut bytes in [classic(&three()), next_generation(&three())] {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = read(&bytes[..], &[]);
        }
    }
}

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::tunnel::ip_tests::ipv4;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const MTU: usize = 1_300;

/// An IPv4 packet that may not be fragmented.
fn whole(payload: &[u8]) -> Vec<u8> {
    with_field(ipv4(A, B, payload), DONT_FRAGMENT)
}

fn with_field(mut packet: Vec<u8>, field: u16) -> Vec<u8> {
    packet[6..8].copy_from_slice(&field.to_be_bytes());
    write_header_checksum(&mut packet);
    packet
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    packet[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    for last in [1, 2] {
        packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(payload);
    packet
}

fn message(packet: &[u8], mtu: usize) -> Vec<u8> {
    match remedy(packet, mtu) {
        Remedy::Message(message) => message,
        other @ (Remedy::Fragments(_) | Remedy::Nothing) => panic!("{other:?}"),
    }
}

#[test]
fn the_sender_of_a_whole_ipv4_packet_is_told_the_mtu() {
    let packet = whole(&[7; 1_400]);
    let message = message(&packet, MTU);
    assert_eq!(message.len(), MAX_V4);
    assert_eq!(
        IpHeader::parse(&message).unwrap(),
        IpHeader { source: B.into(), destination: A.into(), length: MAX_V4 }
    );
    assert_eq!(message[V4_HEADER..V4_HEADER + 2], [3, 4]);
    assert_eq!(usize::from(u16::from_be_bytes([message[26], message[27]])), MTU);
    assert_eq!(message[28..], packet[..MAX_V4 - 28]);
    // A sum over what bears its own checksum is zero.
    assert_eq!([checksum([&message[..V4_HEADER]]), checksum([&message[V4_HEADER..]])], [0; 2]);
}

#[test]
fn the_sender_of_an_ipv6_packet_is_told_the_mtu() {
    let packet = ipv6(17, &[7; 1_400]);
    let message = message(&packet, MTU);
    assert_eq!(message.len(), MIN_V6_MTU);
    let header = IpHeader::parse(&message).unwrap();
    assert_eq!(header.source, IpHeader::parse(&packet).unwrap().destination);
    assert_eq!(header.destination, IpHeader::parse(&packet).unwrap().source);
    assert_eq!(message[40..42], [2, 0]);
    assert_eq!(message[44..48], (MTU as u32).to_be_bytes());
    assert_eq!(message[48..], packet[..MIN_V6_MTU - 48]);
    let pseudo = [0, 0, message[4], message[5], 0, 0, 0, 58];
    assert_eq!(checksum([&message[8..40], &pseudo, &message[40..]]), 0);
}

#[test]
fn no_ipv6_sender_is_told_less_than_ipv6_needs() {
    assert_eq!(message(&ipv6(17, &[7; 1_300]), 600)[44..48], 1_280_u32.to_be_bytes());
    assert_eq!(remedy(&ipv6(17, &[7; 1_240]), 600), Remedy::Nothing);
}

#[test]
fn an_ipv4_packet_that_may_be_fragmented_is() {
    let packet = with_field(ipv4(A, B, &(0..3_000).map(|byte| byte as u8).collect::<Vec<_>>()), 0);
    let Remedy::Fragments(fragments) = remedy(&packet, MTU) else { panic!("not cut") };
    assert_eq!(fragments.iter().map(Vec::len).collect::<Vec<_>>(), [1_300, 1_300, 460]);
    let fields: Vec<_> = fragments.iter().map(|fragment| fragment_field(fragment)).collect();
    assert_eq!(fields, [MORE_FRAGMENTS, MORE_FRAGMENTS | 160, 320]);
    assert!(fragments.iter().all(|fragment| checksum([&fragment[..V4_HEADER]]) == 0));
    assert_eq!(reassembled(&fragments, 0), packet[V4_HEADER..]);
}

#[test]
fn a_fragment_is_cut_again_at_its_place() {
    let packet = with_field(ipv4(A, B, &[7; 1_480]), MORE_FRAGMENTS | 185);
    let Remedy::Fragments(fragments) = remedy(&packet, MTU) else { panic!("not cut") };
    let fields: Vec<_> = fragments.iter().map(|fragment| fragment_field(fragment)).collect();
    assert_eq!(fields, [MORE_FRAGMENTS | 185, MORE_FRAGMENTS | 345]);
}

#[test]
fn options_that_are_not_for_every_fragment_are_in_the_first_alone() {
    let header = [&[0x47, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0][..], &A, &B, &[7, 3, 4, 0x94, 4, 0, 0, 0]].concat();
    let mut packet = [header, vec![7; 2_000]].concat();
    packet[2..4].copy_from_slice(&2_028_u16.to_be_bytes());
    let Remedy::Fragments(fragments) = remedy(&packet, MTU) else { panic!("not cut") };
    assert_eq!(fragments[0][20..28], packet[20..28]);
    assert_eq!(fragments[1][20..28], [1, 1, 1, 0x94, 4, 0, 0, 0]);
}

#[test]
fn what_may_not_be_answered_is_not() {
    let first_of = |kind: u8| [&[kind][..], &[0; 1_400]].concat();
    let icmp = |kind| {
        let mut packet = whole(&first_of(kind));
        packet[9] = ICMP;
        packet
    };
    let from = |source: [u8; 4], destination| with_field(ipv4(source, destination, &[7; 1_400]), DONT_FRAGMENT);
    let to_v6 = |first| {
        let mut packet = ipv6(17, &[7; 1_400]);
        packet[24] = first;
        packet
    };
    let later_v6 = [&[17, 0, 1, 0][..], &[7; 1_400]].concat();
    for (why, packet) in [
        ("an ICMP error", icmp(3)),
        ("an ICMP redirect", icmp(5)),
        ("a later fragment", with_field(whole(&[7; 1_400]), DONT_FRAGMENT | 1)),
        ("multicast", from(A, [224, 0, 0, 1])),
        ("broadcast", from(A, [255; 4])),
        ("from nobody", from([0; 4], B)),
        ("from loopback", from([127, 0, 0, 1], B)),
        ("an ICMPv6 error", ipv6(ICMP_V6, &first_of(2))),
        ("an ICMPv6 redirect", ipv6(ICMP_V6, &first_of(137))),
        ("an ICMPv6 error behind options", ipv6(0, &[&[ICMP_V6, 0, 0, 0, 0, 0, 0, 0, 1][..], &[0; 1_400]].concat())),
        ("a later fragment of IPv6", ipv6(44, &later_v6)),
        ("IPv6 multicast", to_v6(0xff)),
        ("no IP", vec![0xff; 1_400]),
    ] {
        assert_eq!(remedy(&packet, MTU), Remedy::Nothing, "{why}");
    }
    for (why, packet) in [
        ("an echo request", icmp(8)),
        ("a first fragment", with_field(whole(&[7; 1_400]), DONT_FRAGMENT | MORE_FRAGMENTS)),
        ("an ICMPv6 echo request", ipv6(ICMP_V6, &first_of(128))),
    ] {
        assert!(matches!(remedy(&packet, MTU), Remedy::Message(_)), "{why}");
    }
}

#[test]
fn a_peer_to_which_too_much_is_sent_takes_no_message_from_another() {
    let start = Instant::now();
    let device = Mutex::new(Bucket::full(start));
    let [mut greedy, mut modest] = [Bucket::full(start); 2];
    let mut told = [0; 2];
    for millisecond in 0..1_000_u64 {
        let now = start + Duration::from_millis(millisecond);
        told[0] += (0..10).filter(|_| Budget { peer: &mut greedy, device: &device }.take(now)).count();
        if millisecond % 20 == 19 {
            told[1] += usize::from(Budget { peer: &mut modest, device: &device }.take(now));
        }
    }
    assert_eq!(told[1], 50, "all of them");
    assert!((100..=110).contains(&told[0]), "{}", told[0]);
}

#[test]
fn many_peers_together_have_no_more_messages_than_the_device() {
    let now = Instant::now();
    let device = Mutex::new(Bucket::full(now));
    let mut peers = [Bucket::full(now); 20];
    let take = |peer: &mut Bucket| Budget { peer, device: &device }.take(now);
    let told = (0..100).map(|_| peers.iter_mut().map(take).filter(|told| *told).count()).sum::<usize>();
    assert_eq!(told, 50);
    let later = now + Duration::from_millis(1);
    assert!(
        Budget { peer: &mut peers[19], device: &device }.take(later),
        "what the device refused cost the peer nothing"
    );
}

/// Puts fragments together, of which the first belongs at `start`.
fn reassembled(fragments: &[Vec<u8>], start: u16) -> Vec<u8> {
    let mut payload = Vec::new();
    for fragment in fragments {
        assert_eq!(usize::from((fragment_field(fragment) & FRAGMENT_OFFSET) - start) * UNIT, payload.len());
        payload.extend_from_slice(&fragment[header_length(fragment)..]);
    }
    payload
}

proptest! {
    #[test]
    fn whatever_is_cut_fits_and_can_be_put_together(
        bytes in prop::collection::vec(any::<u8>(), 20..4_000),
        words in 5..=15_usize,
        field in (0..=1_u16, 0..100_u16).prop_map(|(more, offset)| more << 13 | offset),
        mtu in 68..2_000_usize,
    ) {
        let mut packet = bytes;
        prop_assume!(packet.len() >= words * 4);
        packet[0] = 0x40 | words as u8;
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        packet[6..8].copy_from_slice(&field.to_be_bytes());
        match remedy(&packet, mtu) {
            Remedy::Fragments(fragments) => {
                prop_assert!(fragments.iter().all(|fragment| fragment.len() <= mtu));
                prop_assert_eq!(reassembled(&fragments, field & FRAGMENT_OFFSET), &packet[words * 4..]);
            }
            other @ (Remedy::Message(_) | Remedy::Nothing) => prop_assert!(mtu < words * 4 + UNIT, "{:?}", other),
        }
    }

    #[test]
    fn any_bytes_are_answered_by_a_whole_message_or_not_at_all(
        mut bytes in prop::collection::vec(any::<u8>(), 0..2_000), version in 4..=6_u8, mtu in 68..2_000_usize,
    ) {
        if let Some(first) = bytes.first_mut() {
            *first = version << 4 | *first & 15;
        }
        match remedy(&bytes, mtu) {
            Remedy::Message(message) => prop_assert_eq!(IpHeader::parse(&message).unwrap().length, message.len()),
            Remedy::Fragments(_) | Remedy::Nothing => {}
        }
    }
}

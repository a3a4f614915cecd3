//! What an observer reads before the ciphertext does not tell what a datagram carries, or with what it left: the headers,
//! and WireGuard's counter.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Maybetun, MaybetunQueued, MaybetunSingly};
use maybetun_integration_tests::{
    Capture, MEGABYTE, Outer, Pair, Setup, Stream, UdpFlood, alone, count, defense, enable_machines, errno, eventually,
    metronome, shown_defense, transfer,
};

/// Bytes of Ethernet's header.
const ETHERNET: usize = 14;

/// The UDP payload of a packet of the one size.
const CONSTANT: usize = 1_420 + 32;

/// A datagram as an observer sees it.
#[derive(Debug, Clone, Copy)]
struct Seen {
    at: Duration,
    is_from_client: bool,
    /// The identification of an IPv4 header; 0 in IPv6, which has none.
    id: u16,
    fields: Fields,
    /// Bytes of UDP payload.
    length: usize,
    /// The message type, the receiver index and the counter of a transport data message.
    message: u8,
    receiver: u32,
    counter: u64,
}

/// What must be the same in every datagram of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Fields {
    traffic_class: u8,
    /// Flags and fragment offset of IPv4.
    fragment: u16,
    hops: u8,
    flow_label: u32,
    has_checksum: bool,
}

impl Seen {
    fn parse(at: Duration, packet: &[u8]) -> Self {
        let half = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let is_v4 = packet[0] >> 4 == 4;
        let udp = if is_v4 { usize::from(packet[0] & 15) * 4 } else { 40 };
        let fields = Fields {
            traffic_class: if is_v4 { packet[1] } else { (half(0) >> 4) as u8 },
            fragment: if is_v4 { half(6) } else { 0 },
            hops: packet[if is_v4 { 8 } else { 7 }],
            flow_label: if is_v4 { 0 } else { u32::from(half(0) & 15) << 16 | u32::from(half(2)) },
            has_checksum: half(udp + 6) != 0,
        };
        let payload = &packet[udp + 8..];
        let is_data = payload[0] == 4;
        Self {
            at,
            is_from_client: packet[if is_v4 { 15 } else { 23 }] == 1,
            id: if is_v4 { half(4) } else { 0 },
            fields,
            length: usize::from(half(udp + 4)) - 8,
            message: payload[0],
            receiver: if is_data { u32::from_le_bytes(payload[4..8].try_into().unwrap()) } else { 0 },
            counter: if is_data { u64::from_le_bytes(payload[8..16].try_into().unwrap()) } else { 0 },
        }
    }
}

fn seen(capture: Capture) -> Vec<Seen> {
    capture.timed_packets(ETHERNET).iter().map(|(at, packet)| Seen::parse(*at, packet)).collect()
}

/// Both ends agree on a defense, renew it, pad, transfer, and keep each other alive, while a capture runs.
fn headers_are_alike(setup: &Setup) {
    let pair = setup.start();
    pair.wire.split_segments(&pair.client.host, &pair.relay.host);
    for end in [&pair.relay, &pair.client] {
        defense(end, "on ephemeral --negotiation require").success();
    }
    pair.client.host.reaches(&pair.relay.v4());
    let capture = Capture::start_headers(&pair.relay.host, &pair.wire.right);
    transfer(&pair);
    defense(&pair.client, "renew").success();
    pair.client.host.reaches(&pair.relay.v4());
    // So that there is padding between the packets, whatever was drawn.
    for (end, other) in [(&pair.client, &pair.relay), (&pair.relay, &pair.client)] {
        assert_eq!(errno(&enable_machines(end, other, &[metronome(2_000.0)])), 0);
    }
    transfer(&pair);
    pair.client.wg("set", &format!("peer {} persistent-keepalive 1", pair.relay.public_key)).success();
    thread::sleep(Duration::from_secs(2));
    let seen = seen(capture);
    for is_from_client in [true, false] {
        let sent: Vec<_> = seen.iter().filter(|seen| seen.is_from_client == is_from_client).collect();
        assert!(sent.len() > 3_000, "{} datagrams", sent.len());
        let sizes: BTreeSet<_> = sent.iter().filter(|seen| seen.message == 4).map(|seen| seen.length).collect();
        assert_eq!(Vec::from_iter(sizes), [CONSTANT]);
        let mut fields: BTreeMap<_, usize> = BTreeMap::new();
        sent.iter().for_each(|seen| *fields.entry(seen.fields).or_default() += 1);
        assert_eq!(fields.len(), 1, "from the client: {is_from_client}: {fields:?}");
        let (fields, _) = fields.first_key_value().unwrap();
        assert_eq!((fields.traffic_class, fields.has_checksum), (0, true));
        assert_ids_count(&sent);
    }
}

/// Checks that identifiers step by one from datagram to datagram, or are zero, as those of datagrams are that leave whole or
/// not at all: while the ends agree. Linux adds a random number, less than the ticks of its clock that have passed since the
/// last: at most one a millisecond.
#[track_caller]
fn assert_ids_count(sent: &[&Seen]) {
    let changes = sent.windows(2).filter(|pair| (pair[0].id == 0) != (pair[1].id == 0)).count();
    assert!(changes <= 4, "{changes} changes between none and one");
    let counted: Vec<_> = sent.iter().filter(|seen| seen.id != 0).collect();
    for pair in counted.windows(2) {
        let step = pair[1].id.wrapping_sub(pair[0].id);
        let ticks = pair[1].at.saturating_sub(pair[0].at).as_millis() + 1;
        assert!(step >= 1 && u128::from(step) <= 1 + ticks, "a step of {step}: {pair:#?}");
    }
}

#[test]
fn ipv4_headers_are_alike_with_offload() {
    headers_are_alike(&Setup::between(Maybetun, Maybetun));
}

#[test]
fn ipv4_headers_are_alike_without_offload() {
    headers_are_alike(&Setup::between(MaybetunSingly, MaybetunSingly));
}

#[test]
fn ipv6_headers_are_alike_with_offload() {
    headers_are_alike(&Setup { outer: Outer::V6, ..Setup::between(Maybetun, Maybetun) });
}

#[test]
fn ipv6_headers_are_alike_without_offload() {
    headers_are_alike(&Setup { outer: Outer::V6, ..Setup::between(MaybetunSingly, MaybetunSingly) });
}

/// Several threads seal: one for each queue, those that answer what comes in, and the one that pads 3,000 times a second.
fn counters_are_contiguous(pair: &Pair, flood: u64) {
    // Each end's where they leave it: a wire between two processors may deliver what came from both in another order.
    let captures = [(&pair.client.host, &pair.wire.left), (&pair.relay.host, &pair.wire.right)]
        .map(|(host, interface)| Capture::start_headers(host, interface));
    pair.client.host.reaches(&pair.relay.v4());
    for (end, other) in [(&pair.client, &pair.relay), (&pair.relay, &pair.client)] {
        assert_eq!(errno(&enable_machines(end, other, &[metronome(333.0)])), 0);
    }
    let flood = UdpFlood::start(&pair.client.host, pair.relay.inner(9), flood);
    let start = |index: u16| {
        let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5_000 + index));
        [up, Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5_000 + index))]
    };
    let streams: Vec<_> = (0..6).flat_map(start).collect();
    streams.iter().for_each(|stream| stream.advance(MEGABYTE / 2));
    flood.finish();
    streams.iter().for_each(Stream::stop);
    streams.into_iter().for_each(|stream| assert!(stream.finish() > 0));
    for end in [&pair.client, &pair.relay] {
        eventually("padding", Duration::from_secs(60), || count(&shown_defense(end), "padding_sent_packets") > 1_000);
    }
    for (is_from_client, seen) in [true, false].into_iter().zip(captures.map(seen)) {
        let mut sessions: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        let sent = seen.iter().filter(|seen| seen.is_from_client == is_from_client && seen.message == 4);
        sent.for_each(|seen| sessions.entry(seen.receiver).or_default().push(seen.counter));
        assert!(sessions.values().map(Vec::len).sum::<usize>() > 3_000, "{} sessions", sessions.len());
        for counters in sessions.values() {
            assert!(counters[0] <= 1, "it begins with {}", counters[0]);
            let odd: Vec<_> = counters.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
            let examples = &odd[..odd.len().min(10)];
            let direction = if is_from_client { "up" } else { "down" };
            assert!(odd.is_empty(), "{direction}: {} of {} are odd: {examples:?}", odd.len(), counters.len());
        }
    }
}

#[test]
fn counters_leave_in_order_and_without_a_gap() {
    let _heavy = alone();
    let pair = Setup::between(MaybetunQueued, MaybetunQueued).start();
    pair.wire.split_segments(&pair.client.host, &pair.relay.host);
    counters_are_contiguous(&pair, 100_000_000);
}

#[test]
fn counters_leave_in_order_and_without_a_gap_when_the_socket_is_full() {
    let _heavy = alone();
    let pair = Setup::between(MaybetunQueued, MaybetunQueued).start();
    pair.wire.split_segments(&pair.client.host, &pair.relay.host);
    for (end, interface) in [(&pair.client, &pair.wire.left), (&pair.relay, &pair.wire.right)] {
        let slow = format!("tc qdisc add dev {interface} root tbf rate 60mbit burst 16k limit 12000000");
        end.host.run(&slow).success();
    }
    counters_are_contiguous(&pair, 5_000_000);
}

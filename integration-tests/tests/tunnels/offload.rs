//! What the tunnel carries is the same with segmentation offload, without it, and where only one end has it.

use std::net::UdpSocket;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Maybetun, MaybetunSingly};
use maybetun_integration_tests::raw::{RawSender, ipv4, ipv6, tcp, udp};
use maybetun_integration_tests::{Capture, MEGABYTE, Pair, Setup, Stream, alone, ask, defense, eventually, value_of};

/// Every way in which the ends may have offload.
const SETUPS: [[maybetun_integration_tests::Implementation; 2]; 4] =
    [[Maybetun, Maybetun], [Maybetun, MaybetunSingly], [MaybetunSingly, Maybetun], [MaybetunSingly, MaybetunSingly]];

fn in_every_setup(test: impl Fn(&Pair)) {
    for [client, relay] in SETUPS {
        eprintln!("{client:?} to {relay:?}");
        let pair = Setup::between(client, relay).start();
        pair.client.host.reaches(&pair.relay.v4());
        test(&pair);
    }
}

/// Sends `packets` from the client, and returns what entered the tunnel and what left it.
fn carry(pair: &Pair, packets: &[Vec<u8>]) -> [Vec<Vec<u8>>; 2] {
    let captures = [&pair.client, &pair.relay].map(|end| Capture::start_whole(&end.host, end.daemon.interface()));
    let sender = RawSender::new(&pair.client.host);
    // Fewer at a time than the device's queue takes; a ping comes back only after all that was sent before it.
    for some in packets.chunks(100) {
        some.iter().for_each(|packet| sender.send(packet));
        pair.client.host.reaches(&pair.relay.v4());
    }
    // Not the pings, nor what the relay answers.
    let is_ours = |packet: &Vec<u8>| match packet[0] >> 4 {
        4 => packet[12..16] == [10, 9, 0, 1] && packet[9] != 1,
        _ => packet[8..10] == [0xfd, 0x09] && packet[23] == 1,
    };
    captures.map(|capture| capture.packets(0).into_iter().filter(is_ours).collect())
}

#[test]
fn packets_of_every_kind_pass_in_order_and_unharmed() {
    let payload: Vec<u8> = (0..200).collect();
    let more_fragments = 0x2000;
    let hop_by_hop = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &udp(7, &payload, true)].concat();
    let destination = [&[6, 0, 1, 4, 0, 0, 0, 0][..], &tcp(1, &payload, true)].concat();
    let fragment = [&[17, 0, 0, 1, 0, 0, 0, 9][..], &payload].concat();
    let kinds = [
        ipv4(17, 0, &[7, 7, 4, 0, 0, 0, 0, 0], &udp(7, &payload, true)),
        ipv4(6, 0, &[1, 1, 1, 0], &tcp(1, &payload, true)),
        ipv4(17, more_fragments, &[], &udp(7, &payload, true)),
        ipv4(17, 26, &[], &payload),
        ipv4(6, more_fragments, &[], &tcp(1, &payload, true)),
        ipv4(47, 0, &[], &payload),
        ipv4(253, 0, &[], &payload),
        ipv4(132, 0, &[], &[0; 3]),
        ipv6(0, &hop_by_hop),
        ipv6(60, &destination),
        ipv6(44, &fragment),
        ipv6(59, &[]),
        ipv6(253, &payload),
        ipv4(6, 0, &[], &tcp(9, &[], true)),
        ipv4(6, 0, &[], &tcp(9, &payload, false)),
        ipv4(17, 0, &[], &udp(7, &payload, false)),
        ipv4(17, 0, &[], &udp(7, &[], true)),
        ipv4(6, 0, &[], &[0x13; 19]),
        ipv4(17, 0, &[], &[0x13; 7]),
    ];
    // Each beside each, twice in a row among them.
    let packets: Vec<_> = (0..kinds.len() * kinds.len())
        .flat_map(|i| [kinds[i % kinds.len()].clone(), kinds[i / kinds.len()].clone()])
        .collect();
    in_every_setup(|pair| {
        let [entered, left] = carry(pair, &packets);
        assert_eq!(entered.len(), packets.len());
        assert!(entered == left, "{} packets entered, {} left, or not the same", entered.len(), left.len());
    });
}

/// Segments that follow one another, every fifth of them damaged: offload may join the others, and repairs nothing.
#[test]
fn a_corrupted_checksum_stays_corrupted() {
    let payload = |i: usize| vec![i as u8; 100];
    let is_intact = |i: usize| i % 5 != 4;
    let segment = |i: usize| ipv4(6, 0x4000, &[], &tcp(100 * i as u32, &payload(i), is_intact(i)));
    let datagram = |i: usize| ipv4(17, 0x4000, &[], &udp(9, &payload(i), is_intact(i)));
    for protocol in [6, 17] {
        let packets: Vec<_> = (0..100).map(|i| if protocol == 6 { segment(i) } else { datagram(i) }).collect();
        in_every_setup(|pair| {
            let [entered, left] = carry(pair, &packets);
            assert_eq!(entered.len(), packets.len());
            for (i, packet) in entered.iter().enumerate().filter(|&(i, _)| !is_intact(i)) {
                assert!(left.contains(packet), "packet {i} of protocol {protocol}");
            }
            let headers = if protocol == 6 { 40 } else { 28 };
            let bytes: Vec<u8> = left.iter().flat_map(|packet| packet[headers..].to_vec()).collect();
            assert!(bytes == (0..100).flat_map(payload).collect::<Vec<_>>(), "every byte, in order");
        });
    }
}

/// A socket at the client, connected to one at `port` of the relay.
fn sockets(pair: &Pair, port: u16) -> [UdpSocket; 2] {
    let address = pair.relay.inner(port);
    let receiver = pair.relay.host.inside(|| UdpSocket::bind(address)).expect("a free port");
    receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket takes a timeout");
    let sender = pair.client.host.inside(|| UdpSocket::bind("10.9.0.1:0")).expect("a free port");
    sender.connect(address).expect("an address of the tunnel");
    [sender, receiver]
}

#[test]
fn datagrams_of_every_size_arrive() {
    let _heavy = alone();
    let near = [1_391, 1_392, 1_393, 2_000, 9_000, 65_506, 65_507];
    let sizes: Vec<usize> = (1..1_400).chain((1_400..65_507).step_by(997)).chain(near).collect();
    in_every_setup(|pair| {
        let [sender, receiver] = sockets(pair, 7_000);
        let mut buffer = vec![0; 65_536];
        for (i, &size) in sizes.iter().enumerate() {
            let datagram: Vec<u8> = (0..size).map(|at| (at * 7 + i) as u8).collect();
            sender.send(&datagram).expect("the tunnel takes datagrams");
            let length = receiver.recv(&mut buffer).unwrap_or_else(|error| panic!("{size} bytes: {error}"));
            assert!(buffer[..length] == datagram, "{size} bytes, {length} came");
        }
    });
}

/// Datagrams sent together, of sizes that offload joins and of some that it does not.
#[test]
fn datagrams_sent_together_arrive_in_order() {
    in_every_setup(|pair| {
        let [sender, receiver] = sockets(pair, 7_001);
        let mut buffer = vec![0; 2_000];
        for round in 0..20 {
            let sizes = (0..40).map(|i| if i % 13 == 12 { 1 + i } else { 300 + 10 * round });
            let datagrams: Vec<Vec<u8>> = sizes.enumerate().map(|(i, size)| vec![i as u8; size]).collect();
            for datagram in &datagrams {
                sender.send(datagram).expect("the tunnel takes datagrams");
            }
            for datagram in &datagrams {
                let length = receiver.recv(&mut buffer).expect("each arrives");
                assert!(&buffer[..length] == datagram, "round {round}");
            }
        }
    });
}

/// Moves a megabyte each way, spread over `count` streams, every byte compared.
fn stream_both_ways(pair: &Pair, count: u16) {
    let (client, relay) = (&pair.client, &pair.relay);
    let both_ways = |i: u16| {
        let up = Stream::start(&client.host, &relay.host, relay.inner(5_000 + i));
        let down = Stream::start(&relay.host, &client.host, client.inner(5_000 + i));
        [up, down]
    };
    let streams: Vec<_> = (0..count).flat_map(both_ways).collect();
    streams.iter().for_each(|stream| stream.advance(MEGABYTE / u64::from(count)));
    streams.iter().for_each(Stream::stop);
    streams.into_iter().for_each(|stream| assert!(stream.finish() >= MEGABYTE / u64::from(count)));
}

#[test]
fn streams_cross_both_ways_at_once() {
    let _heavy = alone();
    in_every_setup(|pair| [1, 8].into_iter().for_each(|count| stream_both_ways(pair, count)));
}

#[test]
fn many_streams_cross_both_ways_at_once() {
    let _heavy = alone();
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    stream_both_ways(&pair, 64);
}

/// The second byte of each outer IPv4 header that carries a ping of 1,000 bytes from the client.
fn outer_marks(pair: &Pair, ping: &str) -> Vec<u8> {
    let capture = Capture::start_whole(&pair.relay.host, &pair.wire.right);
    pair.client.host.run(&format!("{ping} -c 5 -i 0.02 -s 1000 -W 2 10.9.0.2"));
    let packets = capture.packets(14);
    let is_ping = |packet: &&Vec<u8>| packet[0] == 0x45 && packet[15] == 1 && packet.len() > 1_000;
    packets.iter().filter(is_ping).map(|packet| packet[1]).collect()
}

#[test]
fn congestion_marks_go_out_and_come_in() {
    in_every_setup(|pair| {
        // Else the capture shows pings that were sent together as one packet.
        pair.wire.split_segments(&pair.client.host, &pair.relay.host);
        assert_eq!(outer_marks(pair, "ping"), [0; 5]);
        assert_eq!(outer_marks(pair, "ping -Q 2"), [2; 5]);

        // The network marks what says that it understands marks, and then what does not.
        let client = &pair.client.host;
        client.run("nft add table ip network").success();
        let rules = client.run_with_input(
            "nft -f -",
            "add chain ip network out { type filter hook postrouting priority 0; }\n\
             add rule ip network out udp dport 51820 ip ecn set ce\n",
        );
        rules.success();
        let capture = Capture::start_whole(&pair.relay.host, pair.relay.daemon.interface());
        client.run("ping -Q 2 -c 3 -i 0.02 -W 2 10.9.0.2").success();
        let marks: Vec<_> =
            capture.packets(0).iter().filter(|packet| packet[15] == 1).map(|packet| packet[1]).collect();
        assert_eq!(marks, [3; 3], "the mark came through the tunnel");

        assert_eq!(client.count_replies("10.9.0.2", 2), 0, "a packet that cannot carry the mark is dropped");
        eventually("it is counted", Duration::from_secs(5), || {
            let counters = ask(&pair.relay.daemon, "get=1\n\n");
            value_of(&counters, "maybetun_dropped_congested").is_some_and(|count: u64| count >= 2)
        });
    });
}

/// While a defense runs, the outer header is always the same.
#[test]
fn congestion_marks_stay_inside_while_a_defense_runs() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    defense(&pair.client, "on constant-size").success();
    pair.wire.split_segments(&pair.client.host, &pair.relay.host);
    let marks = outer_marks(&pair, "ping -Q 2");
    assert!(marks.len() >= 5 && marks.iter().all(|&mark| mark == 0), "{marks:?}");
}

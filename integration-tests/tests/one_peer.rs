//! What one peer does, or somebody who is no peer, harms no other.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::Range;
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Maybetun, MaybetunQueued};
use maybetun_integration_tests::raw::{RawSender, datagram};
use maybetun_integration_tests::{
    Capture, Crowd, Datagram, End, Host, Implementation, MEGABYTE, Member, Network, Pair, Setup, Sink, Star, Stream,
    UdpFlood, Wire, alone, ask, enable_machines, errno, eventually, handshake_initiation, key_in_hex, metronome,
    value_of,
};

/// What an honest client is sent, in bits a second.
const HONEST: u64 = 10_000_000;

/// What the others are sent.
const FLOOD: u64 = 100_000_000;

/// How often it pads to a client that it pads to.
const BEAT: Duration = Duration::from_millis(20);

/// Addresses at which nobody is.
const DEAD: u8 = 100;

fn dropped(end: &End, counter: &str) -> u64 {
    value_of(&ask(&end.daemon, "get=1\n\n"), counter).unwrap_or(0)
}

/// The most bytes of IP that left the relay in one packet on its way to the client, while it sent two megabytes. The kernel
/// cuts what is sent at once after the capture has seen it.
fn largest_departure(pair: &Pair) -> usize {
    let capture = Capture::start_whole(&pair.relay.host, &pair.wire.right);
    let stream = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5_000));
    stream.advance(2 * MEGABYTE);
    stream.finish();
    let is_outgoing = |packet: &&Vec<u8>| packet[0] == 0x45 && packet[12..16] == [192, 0, 2, 2];
    capture.packets(14).iter().filter(is_outgoing).map(Vec::len).max().expect("something left")
}

#[test]
fn a_stranger_at_port_0_switches_no_offload_off() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    assert!(largest_departure(&pair) > 1_500, "the relay sends many datagrams at once");
    let before = dropped(&pair.relay, "maybetun_dropped_unknown");
    let sender = RawSender::new(&pair.client.host);
    let [from, to] = [([192, 0, 2, 1], 0), ([192, 0, 2, 2], 51820)]
        .map(|(address, port): ([u8; 4], u16)| SocketAddrV4::new(address.into(), port));
    for _ in 0..400 {
        sender.send(&datagram(from, to, &handshake_initiation(&pair.relay.public_key)));
    }
    eventually("each is counted", Duration::from_secs(10), || {
        dropped(&pair.relay, "maybetun_dropped_unknown") >= before + 400
    });
    assert_eq!(dropped(&pair.relay, "maybetun_dropped_send_failed"), 0, "nothing is answered there");
    assert!(largest_departure(&pair) > 1_500, "it still does");
}

#[test]
fn an_endpoint_with_port_0_is_refused() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let peer = key_in_hex(&pair.client.public_key);
    for endpoint in ["192.0.2.1:0", "[2001:db8:1::1]:0"] {
        assert_eq!(errno(&ask(&pair.relay.daemon, &format!("set=1\npublic_key={peer}\nendpoint={endpoint}\n\n"))), 22);
    }
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn the_sockets_of_all_peers_bear_the_mark() {
    let Star { relay, clients, .. } = Star::start(Maybetun, 3);
    let rules = "add table ip marks\n\
                 add chain ip marks out { type filter hook output priority 0; }\n\
                 add rule ip marks out udp sport 51820 meta mark != 7 counter\n";
    clients[..2].iter().for_each(|client| client.host.reaches(&relay.v4()));
    relay.wg("set", "fwmark 7").success();
    relay.host.run_with_input("nft -f -", rules).success();
    let unmarked = || -> u64 {
        let counter = relay.host.run("nft list chain ip marks out").success();
        let packets = counter.split("counter packets ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok());
        packets.unwrap_or_else(|| panic!("no counter in {counter}"))
    };
    // Of the third nothing was heard before.
    clients.iter().for_each(|client| client.host.reaches(&relay.v4()));
    assert_eq!(unmarked(), 0);
    relay.wg("set", "fwmark 0").success();
    clients.iter().for_each(|client| client.host.reaches(&relay.v4()));
    assert!(unmarked() >= 3);
}

/// A relay with clients: the first is where nobody is, the second behind a slow link, the others are honest.
struct Scene {
    star: Star,
    roaming: Option<UdpFlood>,
    floods: Vec<UdpFlood>,
}

impl Scene {
    fn start(relay: Implementation, clients: usize) -> Self {
        let star = Star::start(relay, clients);
        star.relay.host.ip(&format!("addr add 198.51.100.2/24 dev {}", star.wires[0].right));
        star.clients[0].host.ip(&format!("addr add 198.51.100.1/24 dev {}", star.wires[0].left));
        let endpoint = format!("peer {} endpoint 198.51.100.2:51820", star.relay.public_key);
        star.clients[0].wg("set", &endpoint).success();
        let slow = format!("tc qdisc add dev {} root tbf rate 5mbit burst 32k limit 12000000", star.wires[1].right);
        star.relay.host.run(&slow).success();
        star.clients.iter().for_each(|client| client.host.reaches(&star.relay.v4()));
        Self { star, roaming: None, floods: Vec::new() }
    }

    /// From now on what the first client sends comes from addresses that nobody has, each from the next, and the relay has
    /// much for it and for the second.
    fn misbehave(&mut self) {
        let Star { relay, clients, .. } = &self.star;
        let addresses: Vec<_> = (0..DEAD).map(|i| format!("{i} : 198.51.100.{}", 100 + i)).collect();
        let rules = format!(
            "add table ip roam\n\
             add chain ip roam out {{ type filter hook postrouting priority 0; }}\n\
             add rule ip roam out udp dport 51820 ip saddr set numgen inc mod {DEAD} map {{ {} }}\n",
            addresses.join(", ")
        );
        clients[0].host.run_with_input("nft -f -", &rules).success();
        // Datagrams of 1,200 bytes: some hundred a second.
        self.roaming = Some(UdpFlood::start(&clients[0].host, relay.inner(9), 1_000_000));
        self.floods = clients[..2].iter().map(|to| UdpFlood::start(&relay.host, to.inner(9), FLOOD)).collect();
        eventually("the relay follows", Duration::from_secs(20), || {
            relay.wg("show", "endpoints").success().lines().any(|line| line.contains("\t198.51.100.1"))
        });
    }

    /// Has the relay pad to some of the clients from now on.
    fn pad_to(&self, clients: Range<usize>) {
        let Star { relay, clients: all, .. } = &self.star;
        for client in &all[clients] {
            let answer = enable_machines(relay, client, &[metronome(BEAT.as_micros() as f64)]);
            assert_eq!(errno(&answer), 0);
            client.host.reaches(&relay.v4());
        }
    }

    fn honest(&self) -> &[End] {
        &self.star.clients[2..]
    }

    /// Sends to each honest client while `time` passes, and returns which share of it arrives at the one that gets the least,
    /// and at all of them.
    fn goodput(&self, time: Duration) -> [f64; 2] {
        let sinks: Vec<_> = self.honest().iter().map(|end| Sink::start(&end.host, end.inner(9))).collect();
        let sending = |end: &End| UdpFlood::start(&self.star.relay.host, end.inner(9), HONEST);
        let floods: Vec<_> = self.honest().iter().map(sending).collect();
        thread::sleep(time);
        let offered: Vec<_> = floods.into_iter().map(|flood| flood.finish().bytes).collect();
        thread::sleep(Duration::from_millis(300));
        let shares: Vec<_> = sinks.iter().zip(offered).map(|(sink, of)| sink.bytes() as f64 / of as f64).collect();
        [shares.iter().copied().fold(1.0, f64::min), shares.iter().sum::<f64>() / shares.len() as f64]
    }

    /// Returns when the relay's datagrams came to each honest client while `time` passed.
    fn beats(&self, time: Duration) -> Vec<Vec<Duration>> {
        let honest = self.star.clients.iter().zip(&self.star.wires).skip(2);
        let captures: Vec<_> = honest.map(|(end, wire)| Capture::start(&end.host, &wire.left)).collect();
        thread::sleep(time);
        let is_beat = |datagram: &Datagram| datagram.is_data() && datagram.ports[0] == 51820;
        let beats =
            |capture: Capture| capture.finish().into_iter().filter(is_beat).map(|datagram| datagram.at).collect();
        captures.into_iter().map(beats).collect()
    }
}

/// A hundred clients more of the scene's relay, on a host and a network of their own.
fn hundred(scene: &Scene, host: &Host) -> (Crowd, Wire) {
    let relay = &scene.star.relay;
    let wire = Wire::between(host, &relay.host, Network::First, 1_500);
    relay.host.ip(&format!("route add 10.9.1.0/24 dev {}", relay.daemon.interface()));
    let member = |number| Member::join(host, &wire, number, Ipv4Addr::new(10, 9, 1, number));
    let members: Vec<Member> = (100..200).map(member).collect();
    let peers: Vec<_> = members
        .iter()
        .map(|Member { keys, inner, .. }| format!("peer {} allowed-ips {inner}/32", keys.public))
        .collect();
    relay.wg("set", &peers.join(" ")).success();
    let endpoint = SocketAddr::new(Network::First.v4(2), 51820);
    let crowd = Crowd::start(host, &members, endpoint, &relay.public_key, Ipv4Addr::new(10, 9, 0, 2));
    (crowd, wire)
}

#[test]
fn a_hundred_others_keep_their_goodput_and_their_timing() {
    let _heavy = alone();
    let (mut scene, host) = (Scene::start(Maybetun, 2), Host::new());
    let (crowd, _wire) = hundred(&scene, &host);
    let before = crowd.measure(Duration::from_secs(5), || ());
    scene.misbehave();
    let beside = crowd.measure(Duration::from_secs(10), || ());
    let shown =
        [&before, &beside].map(|measured| (measured.goodput(), [0.5, 0.99].map(|share| measured.round_trip(share))));
    eprintln!("goodput and round trips: {shown:.3?}");
    let [(before, _), (beside, [median, most])] = shown;
    assert!(beside >= 0.95 * before, "{beside} of {before} before");
    // Where a socket waits for neighbours, most wait for seconds.
    assert!(median < Crowd::INTERVAL / 2 && most < 4 * Crowd::INTERVAL, "{shown:?}");
}

fn others_keep_their_goodput(relay: Implementation, is_one_defended: bool) {
    let _heavy = alone();
    let mut scene = Scene::start(relay, 6);
    if is_one_defended {
        scene.pad_to(2..3);
    }
    let before = scene.goodput(Duration::from_secs(4));
    scene.misbehave();
    let beside = scene.goodput(Duration::from_secs(8));
    // `--nocapture` shows them.
    eprintln!(
        "{relay:?}, {is_one_defended}: what arrives, least and mean: {before:.3?}, beside the others {beside:.3?}"
    );
    assert!(beside[0] >= 0.95 * before[0], "{beside:?} of {before:?} before");
}

#[test]
fn neighbours_that_do_not_answer_and_a_slow_link_cost_the_others_nothing() {
    others_keep_their_goodput(Maybetun, false);
}

#[test]
fn neighbours_that_do_not_answer_cost_the_others_nothing_while_one_is_defended() {
    others_keep_their_goodput(Maybetun, true);
}

#[test]
fn neighbours_that_do_not_answer_cost_the_others_nothing_with_several_queues() {
    others_keep_their_goodput(MaybetunQueued, false);
}

#[test]
fn padding_keeps_its_instants_beside_peers_that_take_nothing() {
    let _heavy = alone();
    let mut scene = Scene::start(Maybetun, 4);
    scene.pad_to(2..4);
    let alone = scene.beats(Duration::from_secs(6));
    scene.misbehave();
    let beside = scene.beats(Duration::from_secs(6));
    for (alone, beside) in alone.iter().zip(&beside) {
        let errors = |beats: &[Duration]| {
            let mut errors: Vec<_> = beats.windows(2).map(|pair| (pair[1] - pair[0]).abs_diff(BEAT)).collect();
            errors.sort();
            [errors[errors.len() / 2], errors[errors.len() * 95 / 100]]
        };
        eprintln!(
            "{} and {} beats, gaps wrong by {:?} and {:?}",
            alone.len(),
            beside.len(),
            errors(alone),
            errors(beside)
        );
        assert!(beside.len() as f64 >= 0.95 * alone.len() as f64, "{} of {} beats", beside.len(), alone.len());
        let [median, high] = errors(beside);
        assert!(median <= BEAT / 10 && high <= BEAT, "gaps wrong by {median:?} (median), {high:?} (95 %)");
    }
}

//! Ends with hosts inside, on links with faults.

use std::time::{Duration, Instant};

use maybetun::settings::{DefenseChange, EphemeralSettings, Tier};
use mock_instant::MockClock;

use super::*;
use crate::virtual_network::{Behind, Host, Link, Node, Outbox, Packet, Passed, Trace};

const MS: Duration = Duration::from_millis(1);

/// Answers a small packet with `answers` large ones, and counts what it receives. Sends one of its own when a time has come.
#[derive(Debug, Default)]
struct Server {
    answers: usize,
    received: Vec<Packet>,
    alarm: Option<(Instant, Packet)>,
}

impl Host for Server {
    fn receive(&mut self, packet: Packet, _: Instant, out: &mut Outbox) {
        if packet.payload.len() < 1_000 {
            (0..self.answers).for_each(|_| out.put(inner_packet(packet.to.ip(), packet.from.ip(), 1_300)));
        }
        self.received.push(packet);
    }

    fn handle_timeout(&mut self, now: Instant, out: &mut Outbox) {
        if let Some((_, packet)) = self.alarm.take_if(|(at, _)| *at <= now) {
            out.put(packet);
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.alarm.as_ref().map(|(at, _)| *at)
    }
}

fn star(seed: u64, clients: usize, link: &Link) -> Star<Server, Trace> {
    let server = |answers| Server { answers, ..Server::default() };
    Star::new(seed, Trace::default(), link, server(20), (0..clients).map(|_| server(0)))
}

fn ask(star: &mut Star<Server, Trace>, number: usize, length: usize) {
    star.act(client(number), |_, _, out| out.put(inner_packet(inner_client(number), inner_relay(), length)));
}

fn received(star: &Star<Server, Trace>, node: Node) -> &[Packet] {
    &star.network.host(node).inside.received
}

fn lossy() -> Link {
    Link { rate: Some(1_000_000), queue: 50_000, jitter: 3 * MS, loss: 0.02, ..Link::with_delay(20 * MS) }
}

#[test]
fn each_client_is_answered_in_its_own_tunnel() {
    let mut star = star(1, 3, &Link::with_delay(10 * MS));
    for number in 0..3 {
        ask(&mut star, number, 60 + number);
    }
    star.network.run_for(100 * MS);
    let mut asked: Vec<_> =
        received(&star, RELAY).iter().map(|packet| (packet.from.ip(), packet.payload.len())).collect();
    asked.sort_unstable();
    assert_eq!(asked, [0, 1, 2].map(|number| (inner_client(number), 60 + number)));
    for number in 0..3 {
        let answers = received(&star, client(number));
        assert_eq!(answers.len(), 20);
        assert!(answers.iter().all(|answer| *answer == inner_packet(inner_relay(), inner_client(number), 1_300)));
    }
}

#[test]
fn what_the_host_inside_does_by_itself_goes_through_the_tunnel() {
    let mut star = star(1, 1, &Link::with_delay(10 * MS));
    let packet = inner_packet(inner_client(0), inner_relay(), 60);
    star.act(client(0), |server, now, _| server.alarm = Some((now + 500 * MS, packet.clone())));
    star.network.run_until(499 * MS);
    assert_eq!(star.network.tap.passed, []);
    star.network.run_until(600 * MS);
    assert_eq!(received(&star, RELAY), [packet]);
    let first = star.network.tap.passed[0];
    assert_eq!(first, Passed { at: 500 * MS, from: client(0), to: RELAY, size: 148 + 28 });
}

#[test]
fn a_server_beyond_the_relay_is_as_much_farther_away_as_its_link_says() {
    let link = Link::with_delay(30 * MS);
    let behind = |answers, link: &Link| {
        let server = Server { answers, ..Server::default() };
        Behind::new(1, server, link.clone(), Link { rate: Some(1_328_000), ..link.clone() })
    };
    let (relay, browser) = (behind(3, &link), behind(0, &Link::default()));
    let mut star = Star::new(1, (), &Link::with_delay(10 * MS), relay, [browser]);
    let question = inner_packet(inner_client(0), inner_relay(), 60);
    star.act(client(0), |browser, now, _| {
        browser.act(now, &mut Outbox::default(), |server, now, _| server.alarm = Some((now + 500 * MS, question)));
    });
    // The browser's own link, which sends 88 bytes; two ways of the handshake, one of the packet; the server's link, which sends
    // 1,328 bytes in 1 ms; and back.
    let first = 500 * MS + Duration::from_nanos(66_265) + (20 + 10 + 30 + 30 + 1 + 10) * MS;
    let came = |star: &Star<Behind<Server>>| star.network.host(client(0)).inside.host().received.len();
    for (at, count) in [(first - MS / 1_000, 0), (first, 1), (first + MS, 2), (first + 2 * MS, 3), (10 * first, 3)] {
        star.network.run_until(at);
        assert_eq!(came(&star), count, "at {at:?}");
    }
}

#[test]
fn a_packet_to_an_address_that_no_peer_has_goes_nowhere_and_is_counted() {
    let mut star = star(1, 2, &Link::default());
    star.act(RELAY, |_, _, out| {
        out.put(inner_packet(inner_relay(), inner_client(7), 60));
        out.put(Packet { payload: b"no IP".to_vec(), ..inner_packet(inner_relay(), inner_client(0), 60) });
    });
    assert_eq!((star.network.host(RELAY).unrouted(), star.network.tap.passed.len()), (2, 0));
}

#[test]
fn a_client_is_not_taken_for_another() {
    let mut star = star(1, 2, &Link::default());
    star.act(client(0), |_, _, out| {
        out.put(inner_packet(inner_client(1), inner_relay(), 60));
        out.put(inner_packet(inner_client(0), inner_relay(), 61));
    });
    star.network.run_for(100 * MS);
    let lengths: Vec<_> = received(&star, RELAY).iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(lengths, [61]);
    assert_eq!(star.network.host(RELAY).tunnel(0).statistics().dropped.source_not_allowed, 1);
}

#[test]
fn a_client_that_moves_is_answered_where_it_is() {
    let mut star = star(1, 1, &Link::with_delay(10 * MS));
    ask(&mut star, 0, 60);
    star.network.run_for(100 * MS);
    star.move_client(0, std::net::IpAddr::from([203, 0, 113, 9]));
    ask(&mut star, 0, 60);
    star.network.run_for(100 * MS);
    assert_eq!(received(&star, client(0)).len(), 40);
}

#[test]
fn a_client_is_known_by_its_call_though_another_was_at_its_address() {
    let mut star = star(1, 2, &Link::with_delay(10 * MS));
    ask(&mut star, 0, 60);
    star.network.run_for(100 * MS);
    let left = star.network.host(RELAY).tunnel(0).endpoint().expect("it was heard from").remote.ip();
    star.move_client(0, std::net::IpAddr::from([203, 0, 113, 9]));
    star.move_client(1, left);
    ask(&mut star, 1, 61);
    star.network.run_for(100 * MS);
    assert_eq!((received(&star, client(1)).len(), received(&star, RELAY).len()), (20, 2));
}

#[test]
fn a_star_has_room_for_hundreds_of_clients() {
    const CLIENTS: usize = 300;
    let mut star = star(1, CLIENTS, &Link::with_delay(10 * MS));
    (0..CLIENTS).for_each(|number| ask(&mut star, number, 60));
    star.network.run_for(2_000 * MS);
    assert!((0..CLIENTS).all(|number| received(&star, client(number)).len() == 20));
}

/// Asks now and then, defended, and returns what an observer saw.
fn play(seed: u64, link: &Link) -> Vec<Passed> {
    let mut star = star(seed, 2, link);
    star.defend(&DefenseChange::Ephemeral(EphemeralSettings { tier: Tier::Padding, ..EphemeralSettings::default() }));
    for round in 0..10 {
        ask(&mut star, round % 2, 60);
        star.network.run_for(700 * MS);
    }
    star.network.tap.passed
}

#[test]
fn the_same_seed_is_the_same_trace_and_another_is_not() {
    // Without faults, what differs is the ends' own.
    for link in [lossy(), Link::with_delay(20 * MS)] {
        let first = play(5, &link);
        assert!(first.len() > 200, "{}", first.len());
        assert_eq!(first, play(5, &link));
        assert_ne!(first, play(6, &link));
    }
}

#[test]
fn the_clocks_of_handshakes_are_the_network_s_whenever_something_happens_to_an_end() {
    let networks = [1, 2].map(|seed| star(seed, 1, &Link::with_delay(10 * MS)));
    for (mut star, start) in networks.into_iter().zip([700 * MS, 20 * MS]) {
        star.network.run_until(start);
        ask(&mut star, 0, 60);
        assert_eq!((MockClock::time(), MockClock::system_time()), (start, start));
        // The relay answers the call.
        star.network.run_for(15 * MS);
        assert_eq!(MockClock::time(), start + 10 * MS);
    }
}

#[test]
fn a_bundle_comes_out_as_its_packets() {
    let mut star = star(1, 1, &Link::with_delay(10 * MS));
    star.defend(&DefenseChange::Ephemeral(EphemeralSettings { tier: Tier::Size, ..EphemeralSettings::default() }));
    ask(&mut star, 0, 1_200);
    star.network.run_for(2_000 * MS);
    let before = star.network.tap.passed.len();
    star.act(client(0), |_, _, out| {
        (0..5).for_each(|more| out.put(inner_packet(inner_client(0), inner_relay(), 1_001 + more - 900)));
    });
    star.network.run_for(9 * MS);
    assert_eq!(star.network.tap.passed.len() - before, 1, "five in one datagram");
    star.network.run_for(MS);
    let lengths: Vec<_> = received(&star, RELAY).iter().map(|packet| packet.payload.len()).collect();
    assert_eq!(lengths, [1_200, 101, 102, 103, 104, 105]);
}

#[test]
#[cfg(feature = "virtual-time")]
fn a_session_is_renewed_as_its_time_passes_on_the_network() {
    let mut star = star(1, 1, &Link::with_delay(10 * MS));
    for _ in 0..400 {
        ask(&mut star, 0, 1_000);
        star.network.run_for(1_000 * MS);
    }
    assert_eq!(received(&star, RELAY).len(), 400);
    assert_eq!(star.network.host(RELAY).tunnel(0).statistics().handshakes, 4);
}

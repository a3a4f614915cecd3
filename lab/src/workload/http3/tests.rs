use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use maybetun::settings::{DefenseChange, EphemeralSettings, Protection, Tier};
use proptest::prelude::*;

use super::super::*;
use crate::hosts::{Application, Settings, Sockets, TcpHost};
use crate::virtual_network::{Fate, Link, Network, Node, Packet, Passing, Tap, Trace};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn request(after: Vec<usize>, up: u32, down: u32) -> Request {
    Request { after, up, down, ..Request::default() }
}

fn plan(requests: Vec<Request>) -> Plan {
    Plan::new(requests, vec![]).unwrap().over(Protocol::Http3)
}

fn undefended(plan: Plan, access: &Access) -> Load {
    run(plan, &Run::new(access, None, 1))
}

#[test]
fn a_page_arrives_whole() {
    for seed in 0..20 {
        let page = Site::generate(seed).visit(1).over(Protocol::Http3);
        let answers = page.down() + 9 * page.requests().len() as u64;
        let load = undefended(page.clone(), &Access::default());
        assert!(load.time.is_some(), "site {seed}");
        assert_eq!(load.received, answers, "site {seed}: answers, each with its head");
        // Headers; and for each connection a handshake and a search for the largest datagram.
        let origins = page.requests().iter().map(|request| request.origin + 1).max().unwrap_or(0) as u64;
        let most = page.down() * 5 / 4 + 16_000 * origins;
        assert!((page.down()..most).contains(&load.down), "site {seed}: {} bytes, expected {most} at most", load.down);
    }
}

#[test]
fn a_page_takes_two_round_trips_and_those_of_its_dependencies() {
    // Nothing waits: the handshake takes one, and each request that waits for another takes one.
    let access = Access { round_trip: 200 * MS, down: 1_000_000_000, up: 1_000_000_000, ..Access::default() };
    let time =
        |requests: &[Request], protocol| undefended(plan(requests.to_vec()).over(protocol), &access).time.unwrap();
    let mut requests = vec![request(vec![], 100, 500)];
    for round_trips in 2..6 {
        let quic = time(&requests, Protocol::Http3);
        assert!((200 * MS * round_trips..200 * MS * round_trips + 10 * MS).contains(&quic), "{quic:?}");
        let tcp = time(&requests, Protocol::Http2);
        assert!(quic + 195 * MS < tcp, "{quic:?}, and {tcp:?} over TCP and TLS");
        requests.push(request(vec![requests.len() - 1], 100, 500));
    }
}

#[test]
fn a_hundred_requests_are_answered_at_once_and_more_wait_for_these() {
    let access = Access { round_trip: 100 * MS, ..Access::default() };
    let time = |requests| undefended(plan(vec![request(vec![], 50, 10); requests]), &access).time.unwrap();
    let hundred = time(100);
    assert!((200 * MS..250 * MS).contains(&hundred), "{hundred:?}");
    // Another stream is allowed when the server knows that an answer has arrived.
    let more = time(101);
    assert!((400 * MS..450 * MS).contains(&more), "{more:?}");
    assert!(time(1_000) < 3 * SECOND);
}

#[test]
fn answers_take_turns() {
    // A small answer beside a large one does not wait for it.
    let access = Access { down: 10_000_000, ..Access::default() };
    let both = plan(vec![request(vec![], 100, 5_000_000), request(vec![], 100, 50_000)]);
    let then = plan(vec![request(vec![], 100, 5_000_000), request(vec![], 100, 50_000), request(vec![1], 100, 1_000)]);
    let [both, then] = [both, then].map(|plan| undefended(plan, &access).time.unwrap());
    assert!(then < both + 20 * MS, "{then:?} with another after the small one, {both:?} without");
}

#[test]
fn a_bulk_transfer_fills_its_link_either_way() {
    let access = Access { down: 20_000_000, up: 10_000_000, ..Access::default() };
    for (plan, is_up) in [(bulk_down(10_000_000), false), (bulk_up(5_000_000), true)] {
        let load = undefended(plan.over(Protocol::Http3), &access);
        let time = load.time.unwrap();
        assert!((4 * SECOND..6 * SECOND).contains(&time), "{time:?} up: {is_up}");
    }
}

#[test]
fn what_is_lost_is_sent_again() {
    let access = Access { loss: 0.01, jitter: 2 * MS, ..Access::default() };
    for seed in 0..20 {
        let page = Site::generate(seed).visit(1).over(Protocol::Http3);
        let load = run(page.clone(), &Run::new(&access, None, seed));
        assert!(load.time.is_some_and(|time| time < 60 * SECOND), "site {seed}: {:?}", load.time);
        assert!(load.received >= page.down(), "site {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_does_not() {
    let access = Access { loss: 0.01, jitter: 2 * MS, ..Access::default() };
    let of = |seed| run(Site::generate(3).visit(1).over(Protocol::Http3), &Run::new(&access, None, seed));
    let first = of(1);
    assert_eq!(first, of(1));
    assert_ne!(first.trace, of(2).trace);
}

#[test]
fn pages_go_one_after_another_through_a_tunnel_and_leave_no_connection() {
    let access = Access::default();
    let mut session = Session::new(&Run { after: 60 * SECOND, ..Run::new(&access, None, 1) });
    let page = Site::generate(3).visit(1);
    for protocol in [Protocol::Http3, Protocol::Http2, Protocol::Http3, Protocol::Http3] {
        let load = session.load(page.clone().over(protocol));
        assert!(load.time.is_some_and(|time| time < 20 * SECOND), "{protocol}: {:?}", load.time);
    }
    // Nobody says anything any more: the ends of connections were heard.
    let load = session.load(idle());
    assert!(load.trace.len() < 10, "{} datagrams", load.trace.len());
}

#[test]
fn a_defense_hides_the_sizes_of_datagrams() {
    let change = DefenseChange::Ephemeral(EphemeralSettings { tier: Tier::Size, ..EphemeralSettings::default() });
    let access = Access::default();
    let page = Site::generate(3).visit(1).over(Protocol::Http3);
    let load = run(page, &Run::new(&access, Some(&change), 1));
    assert_eq!(load.protection, Protection::Protected);
    assert!(load.time.is_some());
    assert!(load.trace.iter().all(|passed| passed.size == 1_420 + 32 + 28), "datagrams of one size");
}

/// A browser and a server without a tunnel.
#[derive(Debug)]
enum Inside {
    Browser(Box<Browser>),
    Server(Box<Server>),
    /// Neither: whatever arrives, nothing is said.
    Nobody,
}

impl Application for Inside {
    fn act(&mut self, now: std::time::Instant, sockets: &mut dyn Sockets) {
        match self {
            Self::Browser(browser) => browser.act(now, sockets),
            Self::Server(server) => server.act(now, sockets),
            Self::Nobody => {}
        }
    }

    fn next_timeout(&self) -> Option<std::time::Instant> {
        match self {
            Self::Browser(browser) => browser.next_timeout(),
            Self::Server(server) => server.next_timeout(),
            Self::Nobody => None,
        }
    }
}

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

type Hosts<T = Trace> = Network<TcpHost<Inside>, T>;

/// Returns both on a link, from the beginning of a plan on, and who they are.
fn hosts<T: Tap + Default>(seed: u64, settings: &Settings, plan: Plan) -> (Hosts<T>, Node, Node) {
    let mut network = Network::new(seed, T::default());
    let browser = Browser::new(plan, IpAddr::V4(SERVER), seed);
    let [client, server] =
        [(CLIENT, Inside::Browser(Box::new(browser))), (SERVER, Inside::Server(Box::new(Server::new(seed + 1))))]
            .map(|(address, inside)| network.add(address.into(), TcpHost::new(address, seed, settings, inside)));
    network.link_both(client, server, &Link { headers: 0, ..Link::with_delay(10 * MS) });
    network.act(server, |host, now, out| host.wake(now, out));
    network.act(client, |host, now, out| host.wake(now, out));
    (network, client, server)
}

fn browser<T: Tap>(network: &Hosts<T>, client: Node) -> &Browser {
    match &network.host(client).application {
        Inside::Browser(browser) => browser,
        Inside::Server(_) | Inside::Nobody => panic!("no browser"),
    }
}

#[test]
fn no_datagram_is_larger_than_the_inner_mtu_and_full_ones_are_as_large() {
    for (mtu, largest) in [(1_420, 1_420), (1_500, 1_420), (1_300, 1_300), (1_228, 1_228)] {
        let settings = Settings { mtu, ..Settings::default() };
        let (mut network, client, server) = hosts::<Trace>(1, &settings, bulk_down(5_000_000).over(Protocol::Http3));
        network.run_for(30 * SECOND);
        assert!(browser(&network, client).time().is_some(), "{mtu}");
        let of_server = network.tap.passed.iter().filter(|passed| passed.from == server);
        let sizes: Vec<_> = of_server.map(|passed| passed.size).collect();
        // The last steps of the search are left out.
        let found = sizes.iter().copied().max().unwrap();
        assert!((largest - 20..=largest).contains(&found), "{found} bytes at an MTU of {mtu}");
        let full = sizes.iter().filter(|size| **size == found).count();
        assert!(full * 10 > sizes.len() * 7, "{full} of {}", sizes.len());
    }
}

#[test]
fn a_path_that_carries_no_quic_breaks_connections() {
    let settings = Settings { mtu: 1_227, ..Settings::default() };
    let (mut network, client, _) = hosts::<()>(1, &settings, plan(vec![request(vec![], 100, 100)]));
    network.run_for(60 * SECOND);
    let browser = browser(&network, client);
    assert_eq!((browser.broken(), browser.time()), (1, None));
    assert_eq!(browser.next_timeout(), None, "nothing is waited for");
}

#[test]
fn a_server_that_vanishes_ends_in_broken_connections() {
    let requests = (0..4).map(|origin| Request { origin, ..request(vec![], 100, 20_000_000) });
    // From before the first answer on, in the handshake, and in the middle.
    for vanished in [Duration::ZERO, 25 * MS, SECOND] {
        let (mut network, client, server) = hosts::<()>(1, &Settings::default(), plan(requests.clone().collect()));
        // So that none is there in a second.
        network.link_both(client, server, &Link { headers: 0, rate: Some(1_250_000), ..Link::with_delay(10 * MS) });
        network.run_for(vanished);
        network.act(server, |host, _, _| host.application = Inside::Nobody);
        network.run_for(29 * SECOND);
        assert_eq!(browser(&network, client).broken(), 0, "{vanished:?}");
        network.run_for(5 * 60 * SECOND);
        assert_eq!((browser(&network, client).broken(), browser(&network, client).time()), (4, None), "{vanished:?}");
        assert_eq!(browser(&network, client).next_timeout(), None, "{vanished:?}: nothing is waited for");
    }
}

/// Takes away as many packets.
#[derive(Debug, Default)]
struct Takes(usize);

impl Tap for Takes {
    fn sent(&mut self, _: Passing<'_>) -> Fate {
        let fate = if self.0 > 0 { Fate::Lose } else { Fate::Deliver };
        self.0 = self.0.saturating_sub(1);
        fate
    }
}

#[test]
fn a_server_in_the_middle_hears_of_the_end_also_when_that_is_lost() {
    for lost in 0..3 {
        let (mut network, client, server) =
            hosts::<Takes>(1, &Settings::default(), bulk_down(100_000_000).over(Protocol::Http3));
        network.link_both(client, server, &Link { headers: 0, rate: Some(1_250_000), ..Link::with_delay(10 * MS) });
        network.run_for(SECOND);
        network.tap.0 = lost;
        network.act(client, |host, now, out| {
            match &mut host.application {
                Inside::Browser(browser) => browser.leave(),
                Inside::Server(_) | Inside::Nobody => panic!("no browser"),
            }
            host.wake(now, out);
        });
        // A tenth of the time after which it would give up by itself.
        network.run_for(3 * SECOND);
        assert!(browser(&network, client).has_left(), "{lost} lost");
        assert_eq!(browser(&network, client).next_timeout(), None, "{lost} lost");
        assert_eq!(network.host(server).application.next_timeout(), None, "{lost} lost: it waits for nothing");
    }
}

/// Keeps what is sent, but for datagrams without bytes.
#[derive(Debug, Default)]
struct Copies(Vec<Packet>);

impl Tap for Copies {
    fn sent(&mut self, passing: Passing<'_>) -> Fate {
        if passing.packet.payload.len() > HEADERS {
            self.0.push(passing.packet.clone());
        }
        Fate::Deliver
    }
}

#[test]
fn datagrams_that_come_again_much_later_are_ignored() {
    for seed in 0..10 {
        // So many that keys change several times.
        let plan = bulk_down(5_000_000).over(Protocol::Http3);
        let (mut network, client, server) = hosts::<Copies>(seed, &Settings::default(), plan);
        network.run_for(10 * SECOND);
        assert!(browser(&network, client).time().is_some());
        for packet in std::mem::take(&mut network.tap.0) {
            let from = if packet.to.ip() == SERVER { client } else { server };
            network.send(from, packet);
        }
        network.run_for(10 * SECOND);
        let browser = browser(&network, client);
        assert_eq!((browser.bytes(), browser.broken()), (5_000_009, 0), "seed {seed}");
    }
}

/// Bytes of the headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// Returns a packet with other bytes in its datagram.
fn with_datagram(packet: &Packet, datagram: &[u8]) -> Packet {
    let mut payload = [&packet.payload[..HEADERS], datagram].concat();
    let length = payload.len() as u16;
    payload[2..4].copy_from_slice(&length.to_be_bytes());
    payload[24..26].copy_from_slice(&(length - 20).to_be_bytes());
    // None of UDP's, and IP's is not looked at.
    payload[26..28].copy_from_slice(&[0; 2]);
    Packet { payload, ..packet.clone() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Datagrams of the exchange itself that are cut or changed, and others that are none, change nothing.
    #[test]
    fn datagrams_that_are_not_quic_are_ignored(
        lies in prop::collection::vec(
            (any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1..=255_u8, any::<bool>(), 0..20_u32), 1..60),
        noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..100), 0..20),
        seed in 0..1_000_u64,
    ) {
        let page = plan(vec![request(vec![], 3_000, 100_000), request(vec![0], 100, 20_000)]);
        let (mut network, client, server) = hosts::<Copies>(seed, &Settings::default(), page);
        for (which, place, change, is_cut, wait) in lies {
            network.run_for(wait * MS);
            let packet = network.tap.0[which.index(network.tap.0.len())].clone();
            let mut datagram = packet.payload[HEADERS..].to_vec();
            let place = place.index(datagram.len());
            if is_cut {
                datagram.truncate(place);
            } else {
                datagram[place] ^= change;
            }
            let from = if packet.to.ip() == SERVER { client } else { server };
            network.send(from, with_datagram(&packet, &datagram));
            for noise in &noise {
                network.send(from, with_datagram(&packet, noise));
            }
        }
        network.run_for(20 * SECOND);
        let browser = browser(&network, client);
        prop_assert!(browser.time().is_some_and(|time| time < 10 * SECOND), "{:?}", browser.time());
        prop_assert_eq!((browser.bytes(), browser.broken()), (120_018, 0));
    }

    /// Any page is there in the end, with as many bytes as it has.
    #[test]
    fn every_answer_comes(
        objects in prop::collection::vec((any::<prop::sample::Index>(), 0..5_000_u32, 0..50_000_u32, 0..3_usize), 1..40),
        seed in any::<u64>(),
    ) {
        let requests = objects.into_iter().enumerate().map(|(number, (after, up, down, origin))| {
            let after = if number == 0 { vec![] } else { vec![after.index(number)] };
            Request { origin, ..request(after, up, down) }
        });
        let page = plan(requests.collect());
        let answers = page.down() + 9 * page.requests().len() as u64;
        let access = Access { loss: 0.005, ..Access::default() };
        let load = run(page, &Run::new(&access, None, seed));
        prop_assert!(load.time.is_some());
        prop_assert_eq!(load.received, answers);
    }
}

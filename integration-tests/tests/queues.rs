//! A relay with several queues: its clients are spread over threads, and nothing is lost or out of order for it.

use std::fs;

use maybetun_integration_tests::{
    Config, End, Host, Implementation, Keys, MEGABYTE, Network, PeerConfig, Setup, Stream, Wire, alone,
};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt::ReusePort};
use nix::sys::socket::{SockaddrIn, bind};

/// Clients of the relay: that they all fall to one of its four threads happens once in 4^11 runs.
const CLIENTS: usize = 12;

const PORT: u16 = 51820;

#[test]
fn clients_are_spread_over_the_threads_and_every_stream_is_whole() {
    let _heavy = alone();
    let (relay, clients) = star();
    let number_of = |index: usize| clients[index].v4();
    let streams = clients.iter().enumerate().flat_map(|(index, client)| {
        client.host.reaches(&relay.v4());
        let port = 5000 + index as u16;
        let up = Stream::start(&client.host, &relay.host, relay.inner(port));
        let down = Stream::start(
            &relay.host,
            &client.host,
            format!("{}:{port}", number_of(index)).parse().expect("an address"),
        );
        [up, down]
    });
    let streams = streams.collect::<Vec<_>>();
    streams.iter().for_each(|stream| stream.advance(2 * MEGABYTE));
    for stream in streams {
        stream.finish();
    }
    for kind in ["mt-udp4.", "maybetun-tun"] {
        let busy = wakeups(relay.daemon.id(), kind).into_iter().filter(|wakeups| *wakeups > 20).count();
        assert!(busy >= 2, "{busy} threads {kind} were at work");
    }
}

#[test]
fn a_port_that_another_has_stays_an_error() {
    let host = Host::new();
    let _other = host.inside(|| {
        let other = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).unwrap();
        // It would share the port, and so take half of our clients' datagrams.
        setsockopt(&other, ReusePort, &true).unwrap();
        bind(std::os::fd::AsRawFd::as_raw_fd(&other), &SockaddrIn::new(0, 0, 0, 0, PORT)).unwrap();
        other
    });
    let keys = Keys::new();
    let config = Config { private_key: keys.private, listen_port: 0, peers: Vec::new() };
    let end = End::start(host, Implementation::MaybetunQueued, config, keys.public, 1, 1420);
    let error = end.wg("set", &format!("listen-port {PORT}")).failure();
    assert!(error.contains("in use"), "{error}");
}

#[test]
fn one_client_with_many_flows_keeps_each_in_order() {
    let _heavy = alone();
    let pair = Setup::between(Implementation::MaybetunQueued, Implementation::MaybetunQueued).start();
    let port = |index: usize| 5000 + index as u16;
    let start = |index| Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(port(index)));
    let streams = (0..16).map(start).collect::<Vec<_>>();
    streams.iter().for_each(|stream| stream.advance(4 * MEGABYTE));
    for stream in streams {
        stream.finish();
    }
    for end in [&pair.client, &pair.relay] {
        let status = maybetun_integration_tests::status_json(&end.host, end.daemon.interface());
        let replayed = &status["peers"][0]["dropped"]["replayed"];
        assert_eq!(replayed.as_u64(), Some(0), "{status:#}");
    }
}

/// Starts a relay on four queues, and its clients around it.
fn star() -> (End, Vec<End>) {
    let middle = Host::new();
    let relay_keys = Keys::new();
    let (mut peers, mut waiting) = (Vec::new(), Vec::new());
    for number in (10..).take(CLIENTS) {
        let (host, keys) = (Host::new(), Keys::new());
        Wire::to_middle(&host, &middle, number);
        peers.push(PeerConfig {
            public_key: keys.public.clone(),
            preshared_key: None,
            endpoint: None,
            allowed_ips: format!("10.9.0.{number}/32, fd09::{number}/128"),
        });
        waiting.push((host, keys, number));
    }
    let config = Config { private_key: relay_keys.private, listen_port: PORT, peers };
    let relay = End::start(middle, Implementation::MaybetunQueued, config, relay_keys.public.clone(), 2, 1420);
    let clients = waiting.into_iter().map(|(host, keys, number)| {
        let peer = PeerConfig {
            public_key: relay_keys.public.clone(),
            preshared_key: None,
            endpoint: Some((Network::First.v4(2), PORT).into()),
            allowed_ips: "10.9.0.0/24, fd09::/64".to_owned(),
        };
        let config = Config { private_key: keys.private, listen_port: 0, peers: vec![peer] };
        End::start(host, Implementation::Maybetun, config, keys.public, number, 1420)
    });
    (relay, clients.collect())
}

/// Returns how often each thread of `process` whose name begins with `kind` has slept and woken.
fn wakeups(process: u32, kind: &str) -> Vec<u64> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the kernel tells of a thread");
    let statuses = tasks.map(|task| {
        fs::read_to_string(task.expect("the kernel tells of a thread").path().join("status"))
            .expect("the kernel tells of a thread")
    });
    let value = |status: &str, key: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .map(|value| value.trim().to_owned())
            .expect("the kernel tells of a thread")
    };
    statuses
        .filter(|status| value(status, "Name:").starts_with(kind))
        .map(|status| value(&status, "voluntary_ctxt_switches:").parse().expect("the kernel tells of a thread"))
        .collect()
}

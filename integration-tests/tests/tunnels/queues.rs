//! A relay with several queues: its clients are spread over threads, and nothing is lost or out of order for it.

use std::fs;

use maybetun_integration_tests::{Config, End, Host, Implementation, Keys, MEGABYTE, Setup, Star, Stream, alone};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socket, sockopt::ReusePort};
use nix::sys::socket::{SockaddrIn, bind};

/// Clients of the relay: that they all fall to one of its four threads happens once in 4^11 runs.
const CLIENTS: usize = 12;

const PORT: u16 = 51820;

#[test]
fn clients_are_spread_over_the_threads_and_every_stream_is_whole() {
    let _heavy = alone();
    let Star { relay, clients, .. } = Star::start(Implementation::MaybetunQueued, CLIENTS);
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

//! Addresses, routes, rules, DNS, MTU and kill switch, and what leaves meanwhile.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use maybetun_integration_tests::{
    ClientFile, Daemon, Leaving, Prober, Stream, eventually, interface_name, maybetun_program, status_json,
};

use super::{INNER, add_peer, down, edit, everything, maybetun, reload, shown, up};

/// What lies behind the relay, and is reached without the tunnel too.
const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8:5::5"];

const EVERYTHING: &str = "0.0.0.0/0, ::/0";

/// Makes a client with default routes outside the tunnel.
fn client(allowed_ips: &str, more: &str) -> ClientFile {
    let file = ClientFile::new(allowed_ips, more);
    let (network, wire) = (file.wire.network, &file.wire.left);
    file.client.ip(&format!("route replace default via {} dev {wire}", network.v4(2)));
    file.client.ip(&format!("-6 route replace default via {} dev {wire}", network.v6(2)));
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    // Whichever address the client has inside.
    let peer = file.relay.config.peers[0].public_key.clone();
    let inside = format!("peer {peer} allowed-ips 10.9.0.0/24,fd09::/64");
    file.relay.wg("set", &inside).success();
    file
}

/// Probes what lies outside while `work` is done, and makes sure that nothing left but the tunnel's datagrams.
fn without_a_leak<T>(file: &ClientFile, work: impl FnOnce() -> T) -> T {
    let leaving = Leaving::start(&file.client, &file.wire.left);
    let prober = Prober::start(&file.client, &OUTSIDE);
    prober.go_on();
    let result = work();
    prober.go_on();
    prober.finish();
    leaving.only_tunnel();
    result
}

#[test]
fn a_split_tunnel_becomes_a_whole_one_and_back_and_down_leaves_nothing() {
    let file = client(INNER, "");
    let _daemon = up(&file, &[]);
    let split = everything(&file);
    edit(&file, INNER, EVERYTHING);
    reload(&file).success();
    without_a_leak(&file, || OUTSIDE.iter().for_each(|address| file.client.reaches(address)));
    assert!(file.client.run("nft list ruleset").success().contains("chain foreign"));
    assert!(file.client.ip("route get 192.0.2.2 mark 51820").contains(&file.wire.left));
    edit(&file, EVERYTHING, INNER);
    reload(&file).success();
    assert_eq!(everything(&file), split);
    file.client.reaches(&file.relay.v4());
    edit(&file, INNER, EVERYTHING);
    reload(&file).success();
    // What it undoes is what was set up last.
    down(&file);
}

#[test]
fn another_address_table_and_mark_under_a_stream_that_never_leaves_the_tunnel() {
    let file = client(EVERYTHING, "");
    edit(&file, "10.9.0.1/24, fd09::1/64", "10.9.0.9/24, 10.9.0.1/32, fd09::1/64");
    let _daemon = up(&file, &[]);
    // What the main table has a route for goes by that, whatever the mark.
    file.client.ip(&format!("route add 198.51.100.0/24 dev {}", file.wire.left));
    // From the one address that stays.
    let address = SocketAddr::new(file.relay.v6().parse().unwrap(), 5000);
    let stream = Stream::start(&file.client, &file.relay.host, address);
    stream.advance(100_000);
    without_a_leak(&file, || {
        for (before, after) in [
            // A second address of the same network, which the kernel takes along with the first.
            ("Address = 10.9.0.9/24, ", "Address = 10.9.0.9/24, 10.9.0.7/24, "),
            ("Address = 10.9.0.9/24, ", "Address = "),
            ("Address = 10.9.0.7/24, ", "Address = 10.9.0.6/24, "),
            ("MTU = 1400", "MTU = 1400\nFwMark = 0x77"),
            ("FwMark = 0x77", "FwMark = 0x78"),
            ("FwMark = 0x78\n", ""),
            ("MTU = 1400", "MTU = 1300"),
        ] {
            edit(&file, before, after);
            reload(&file).success();
            let addresses = file.client.ip(&format!("addr show dev {}", file.interface));
            let own = file.read().lines().find(|line| line.starts_with("Address")).unwrap().to_owned();
            for address in own.trim_start_matches("Address = ").split(", ") {
                assert!(addresses.contains(address), "{before}: {address} is not in\n{addresses}");
            }
            assert_eq!(addresses.matches("inet ").count(), own.matches("10.9.0").count(), "{addresses}");
            assert!(file.client.ip("route get 203.0.113.5").contains(&file.interface));
            assert!(file.client.ip("route get 198.51.100.9").contains(&file.wire.left), "{after}");
            assert_eq!(file.client.ip("-4 rule").lines().count(), 5, "{}", file.client.ip("-4 rule"));
            stream.advance(100_000);
        }
        stream.finish();
    });
    assert_eq!(shown(&file, &file.relay.public_key)["handshakes"], 1);
    let dropped = &status_json(&file.client, &file.interface)["dropped"];
    assert_eq!(dropped["came_back"], 0, "its own datagrams always find their way: {dropped}");
    down(&file);
}

#[test]
fn an_address_that_goes_takes_no_other_along() {
    let file = client(EVERYTHING, "");
    edit(&file, "10.9.0.1/24, ", "10.9.0.9/24, 10.9.0.1/24, ");
    let _daemon = up(&file, &[]);
    let name = interface_name();
    let mut command = file.client.command("ip");
    let monitor = Daemon::spawn(command.args(["-o", "monitor", "address", "route"]), &name);
    // What is watched is seen.
    eventually("the monitor listens", Duration::from_secs(20), || {
        file.client.run("ip addr replace 127.0.0.2/8 dev lo").success();
        monitor.log().contains("127.0.0.2")
    });
    edit(&file, "10.9.0.9/24, ", "");
    reload(&file).success();
    let gone = || monitor.log().lines().filter(|line| line.contains("Deleted")).map(str::to_owned).collect::<Vec<_>>();
    eventually("the address is gone", Duration::from_secs(20), || {
        gone().iter().any(|line| line.contains("inet 10.9.0.9/24"))
    });
    let others: Vec<_> =
        gone().into_iter().filter(|line| line.contains("inet 10.9.0.1/24") || line.contains("default")).collect();
    assert!(others.is_empty(), "{others:?}");
    drop(monitor);
    down(&file);
}

#[test]
fn routes_go_where_the_table_says() {
    let file = client("10.9.0.0/24, fd09::/64, 198.18.0.0/24", "");
    let _daemon = up(&file, &[]);
    let table = |table: &str| file.client.ip(&format!("route show table {table}"));
    for (before, after) in [
        ("MTU = 1400", "MTU = 1400\nTable = 77"),
        ("Table = 77", "Table = off"),
        ("Table = off\n", ""),
        // The route of an address becomes one of the tunnel's, and the other way round.
        ("10.9.0.1/24", "10.9.0.1/32"),
        ("10.9.0.1/32", "10.9.0.1/24"),
    ] {
        edit(&file, before, after);
        reload(&file).success();
        let (main, own) = (table("main").contains("198.18.0.0/24"), file.client.run("ip route show table 77").stdout);
        assert_eq!(main, !after.contains("Table"), "{after}");
        assert_eq!(own.contains("198.18.0.0/24"), after.contains("77"), "{after}: {own}");
        if !after.contains("Table") {
            assert!(file.client.ip("route get 10.9.0.2").contains(&file.interface), "{after}");
            file.client.reaches(&file.relay.v4());
        }
    }
    down(&file);
}

#[test]
fn a_kill_switch_stays_closed_whatever_changes_and_opens_when_it_is_asked_for_no_more() {
    let file = client(INNER, "KillSwitch = on\n");
    let _daemon = up(&file, &[]);
    without_a_leak(&file, || {
        for (before, after) in [
            (INNER, EVERYTHING),
            ("MTU = 1400", "MTU = 1400\nFwMark = 0x77"),
            (EVERYTHING, INNER),
            ("FwMark = 0x77\n", ""),
            ("10.9.0.1/24", "10.9.0.1/32"),
            ("KillSwitch = on", "KillSwitch = on\nKillSwitchAllow = 192.0.2.128/25"),
        ] {
            edit(&file, before, after);
            reload(&file).success();
            file.client.reaches(&file.relay.v4());
            let rules = file.client.run("nft list ruleset").success();
            assert!(rules.contains("maybetun_kill_switch"), "{after}: {rules}");
        }
    });
    assert!(file.client.run("nft list ruleset").success().contains("192.0.2.128/25"));
    edit(&file, "KillSwitch = on\nKillSwitchAllow = 192.0.2.128/25\n", "");
    assert!(reload(&file).success().contains("KillSwitch"));
    assert!(!file.client.run("nft list ruleset").success().contains("maybetun_kill_switch"));
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    edit(&file, "MTU = 1400", "MTU = 1400\nKillSwitch = on");
    reload(&file).success();
    without_a_leak(&file, || file.client.reaches(&file.relay.v4()));
    // It is kept closed too.
    file.client.run("nft flush ruleset").success();
    eventually("it is closed again", Duration::from_secs(20), || {
        file.client.run("nft list ruleset").success().contains("maybetun_kill_switch")
    });
    down(&file);
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
}

#[test]
fn dns_is_set_anew_and_taken_back() {
    let file = client(INNER, "");
    let directory = tempfile::tempdir().unwrap();
    let (program, log) = (directory.path().join("resolvconf"), directory.path().join("log"));
    fs::write(&program, format!("#!/bin/sh\n{{ echo \"$1 $2\"; [ \"$1\" = -d ] || cat; }} >> {}\n", log.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", directory.path().display(), std::env::var("PATH").unwrap());
    let mut command = file.client.command(maybetun_program());
    let _daemon = Daemon::spawn(command.env("PATH", path).arg("up").arg(file.path()), &file.interface);
    file.assert_up();
    let said = || {
        let said = fs::read_to_string(&log).unwrap_or_default();
        fs::write(&log, "").unwrap();
        said.replace(&file.interface, "IFACE").replace("tun.", "")
    };
    for (before, after, expected) in [
        ("MTU = 1400", "MTU = 1400\nDNS = 10.9.0.53", "-a IFACE\nnameserver 10.9.0.53\n"),
        ("DNS = 10.9.0.53", "DNS = 10.9.0.54, example.org", "-a IFACE\nnameserver 10.9.0.54\nsearch example.org\n"),
        ("DNS = 10.9.0.54, example.org\n", "", "-d IFACE\n"),
        ("MTU = 1400", "MTU = 1400\nDNS = 10.9.0.55", "-a IFACE\nnameserver 10.9.0.55\n"),
    ] {
        edit(&file, before, after);
        reload(&file).success();
        assert_eq!(said(), expected, "{after}");
    }
    down(&file);
    assert_eq!(said(), "-d IFACE\n");
}

#[test]
fn an_mtu_that_is_said_no_more_is_derived_from_the_path_outside() {
    let file = client(EVERYTHING, "");
    // Only the default route leads there, which the tunnel takes from all but its own.
    file.relay.host.ip("addr add 198.51.100.77/32 dev lo");
    edit(&file, "192.0.2.2:51820", "198.51.100.77:51820");
    let _daemon = up(&file, &[]);
    edit(&file, "MTU = 1400\n", "");
    reload(&file).success();
    assert!(file.client.ip("-o link").contains("mtu 1420"), "{}", file.client.ip("-o link"));
    down(&file);
}

#[test]
fn what_the_network_does_not_take_is_told_and_done_once_it_can_be() {
    let file = client(INNER, "KillSwitch = on\n");
    let _daemon = up(&file, &[]);
    file.client.ip(&format!("route add 198.18.0.0/24 dev {}", file.wire.left));
    let key = add_peer(&file, "AllowedIPs = 198.18.0.0/24, 198.18.1.0/24\n");
    edit(&file, "KillSwitch = on\n", "");
    let failed = reload(&file);
    assert_eq!(failed.code, Some(1), "{failed:#?}");
    assert!(failed.stderr.contains("not all") && failed.stderr.contains("198.18.0.0/24"), "{failed:#?}");
    assert!(file.client.ip("route get 198.18.1.1").contains(&file.interface), "the rest is done");
    assert!(file.client.run(&format!("wg show {}", file.interface)).success().contains(&key));
    // The switch was to open last: it is closed, to all but the tunnel.
    without_a_leak(&file, || file.client.reaches(&file.relay.v4()));
    file.client.ip(&format!("route del 198.18.0.0/24 dev {}", file.wire.left));
    reload(&file).success();
    assert_eq!(file.client.run("nft list ruleset").success(), "");
    file.client.reaches(&file.relay.v4());
    assert!(file.client.ip("route get 198.18.0.1").contains(&file.interface));
    assert_eq!(
        maybetun(&file.client, &format!("reload {}", file.interface)).success(),
        format!("{}: nothing to change\n", file.interface)
    );
    down(&file);
}

#[test]
fn an_address_whose_prefix_alone_changes_is_there_and_so_are_its_routes() {
    let file = client(EVERYTHING, "");
    let _daemon = up(&file, &[]);
    for (before, after) in [
        ("fd09::1/64", "fd09::1/128"),
        ("10.9.0.1/24", "10.9.0.1/32"),
        ("fd09::1/128", "fd09::1/64"),
        ("10.9.0.1/32", "10.9.0.1/24"),
    ] {
        edit(&file, before, after);
        without_a_leak(&file, || reload(&file).success());
        let there = file.client.ip(&format!("addr show dev {}", file.interface));
        assert!(there.contains(after) && !there.contains(before), "{there}");
        [file.relay.v4(), file.relay.v6()].iter().for_each(|address| file.client.reaches(address));
        OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    }
    down(&file);
}

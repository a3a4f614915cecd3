//! The kill switch: nothing leaves but the tunnel, whatever happens to process, interface and routes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Capture, ClientFile, Config, Daemon, End, Finished, Host, Keys, Leaving, Left, Network, PeerConfig, Prober, Wire,
    eventually, interface_name, maybetun_program, run, status_json,
};
use nix::sys::signal::Signal;

/// What lies behind the relay, and is reached without the tunnel too.
const OUTSIDE: [&str; 2] = ["203.0.113.5", "2001:db8:5::5"];

/// What the tunnel reaches: only what is inside it, so that all the rest would take the usual way; or everything.
const INSIDE: &str = "10.9.0.0/24, fd09::/64";
const EVERYTHING: &str = "0.0.0.0/0, ::/0";

const ON: &str = "KillSwitch = on\n";

/// Makes a client with default routes outside the tunnel, and `more` lines in its `[Interface]` section.
fn client(allowed_ips: &str, more: &str) -> ClientFile {
    let file = ClientFile::new(allowed_ips, more);
    route_outside(&file.client, &file.wire);
    file.client.ip("link set lo up");
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    file
}

fn route_outside(client: &Host, wire: &Wire) {
    let (network, interface) = (wire.network, &wire.left);
    client.ip(&format!("route replace default via {} dev {interface}", network.v4(2)));
    client.ip(&format!("-6 route replace default via {} dev {interface}", network.v6(2)));
}

/// Runs `maybetun` on `host`. `line` is split at spaces.
fn maybetun(host: &Host, line: &str) -> Finished {
    run(host.command(maybetun_program()).args(line.split_whitespace()), "")
}

/// Brings the tunnel up in the foreground and waits until it is.
fn up(file: &ClientFile) -> Daemon {
    let daemon = start(file, &[]);
    file.assert_up();
    daemon
}

fn start(file: &ClientFile, more: &[&str]) -> Daemon {
    let mut command = file.client.command(maybetun_program());
    Daemon::spawn(command.arg("up").arg(file.path()).args(more), &file.interface)
}

fn down(file: &ClientFile) -> String {
    maybetun(&file.client, &format!("down {}", file.interface)).success()
}

fn kill(mut daemon: Daemon, file: &ClientFile) {
    daemon.signal(Signal::SIGKILL);
    daemon.wait_for_exit();
    eventually("the interface is gone", Duration::from_secs(20), || {
        !file.client.ip("-o link").contains(&file.interface)
    });
    // The process is dead, so that is what it left.
    std::mem::forget(daemon);
}

fn ruleset(host: &Host) -> String {
    host.run("nft list ruleset").success()
}

/// Probes from the client for a while, and returns what left by its wire.
fn probe(file: &ClientFile) -> Vec<Left> {
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(file, || {});
    leaving.finish()
}

/// Probes before, while and after `work` is done.
fn probing<T>(file: &ClientFile, work: impl FnOnce() -> T) -> T {
    let prober = Prober::start(&file.client, &OUTSIDE);
    prober.go_on();
    let result = work();
    prober.go_on();
    prober.finish();
    result
}

fn assert_closed(file: &ClientFile) {
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(file, || {});
    leaving.only_tunnel();
}

/// Makes sure that the prober gets out by every kind of packet, so that its silence means something.
fn assert_open(file: &ClientFile) {
    let left: BTreeSet<Left> = probe(file).into_iter().collect();
    let [v4, v6]: [IpAddr; 2] = OUTSIDE.map(|address| address.parse().unwrap());
    for other in [(4, 17, v4), (4, 6, v4), (4, 1, v4), (6, 17, v6), (6, 6, v6), (6, 58, v6)] {
        assert!(left.contains(&Left::Other(other.0, other.1, other.2)), "{other:?} did not leave: {left:?}");
    }
}

#[test]
fn nothing_but_the_tunnel_leaves_while_it_is_up() {
    let file = client(INSIDE, ON);
    assert_open(&file);
    let before = ruleset(&file.client);
    let daemon = up(&file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(&file, || {
        file.client.reaches(&file.relay.v4());
        file.client.reaches(&file.relay.v6());
    });
    assert!(leaving.only_tunnel() >= 2, "the pings' datagrams left");
    down(&file);
    drop(daemon);
    file.assert_gone();
    assert_eq!(ruleset(&file.client), before);
    assert_open(&file);
}

#[test]
fn nothing_but_the_tunnel_leaves_beside_a_default_route_over_ipv6() {
    let file = client(EVERYTHING, ON);
    file.write(&file.read().replace("192.0.2.2:51820", "[2001:db8:1::2]:51820"));
    let daemon = up(&file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(&file, || OUTSIDE.iter().for_each(|address| file.client.reaches(address)));
    assert!(leaving.only_tunnel() > 100, "what is probed for goes through the tunnel");
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn it_survives_the_death_of_the_process_until_down() {
    for allowed_ips in [INSIDE, EVERYTHING] {
        let file = client(allowed_ips, ON);
        file.client.run_with_input("nft -f -", "table inet theirs { chain kept { counter; }; }").success();
        let before = ruleset(&file.client);
        let daemon = up(&file);
        let leaving = Leaving::start(&file.client, &file.wire.left);
        probing(&file, || kill(daemon, &file));
        leaving.only_tunnel();
        assert_closed(&file);

        let said = down(&file);
        assert!(said.contains("not running") && said.contains("open"), "{said}");
        // What a default route had beside it is not the kill switch's.
        let filter = format!("delete table inet maybetun_{}", file.interface);
        file.client.run_with_input("nft -f -", &filter);
        assert_eq!(ruleset(&file.client), before);
        assert_open(&file);
        let again = maybetun(&file.client, &format!("down {}", file.interface));
        assert_eq!(again.code, Some(6), "{again:#?}");
    }
}

#[test]
fn without_its_table_the_same_probes_leave() {
    let file = client(INSIDE, ON);
    let daemon = up(&file);
    kill(daemon, &file);
    assert_closed(&file);
    file.client.run("nft delete table inet maybetun_kill_switch").success();
    assert_open(&file);
    // There is nothing left to open.
    let again = maybetun(&file.client, &format!("down {}", file.interface));
    assert_eq!(again.code, Some(6), "{again:#?}");
}

#[test]
fn it_survives_the_deletion_of_the_interface() {
    let file = client(INSIDE, ON);
    let before = ruleset(&file.client);
    let mut daemon = up(&file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(&file, || {
        file.client.ip(&format!("link del {}", file.interface));
        assert_eq!(daemon.wait_for_exit().code(), Some(7), "{}", daemon.log());
    });
    leaving.only_tunnel();
    assert_closed(&file);
    assert!(daemon.log().contains("stays closed"), "{}", daemon.log());

    // Another device of that name is no tunnel: what it sends reaches a wire.
    let (wire, other) = (&file.wire.left, &file.interface);
    file.client.ip(&format!("link set {wire} down"));
    file.client.ip(&format!("link set {wire} name {other}"));
    file.client.ip(&format!("link set {other} up"));
    let leaving = Leaving::start(&file.client, other);
    file.client.ip(&format!("route replace default via 192.0.2.2 dev {other}"));
    let prober = Prober::start(&file.client, &OUTSIDE[..1]);
    prober.go_on();
    prober.finish();
    leaving.only_tunnel();

    down(&file);
    assert_eq!(ruleset(&file.client), before);
}

#[test]
fn nothing_leaves_while_the_default_route_changes() {
    let file = client(EVERYTHING, ON);
    file.write(&file.read().replace("192.0.2.2:51820", "203.0.113.5:51820"));
    let second = Wire::between(&file.client, &file.relay.host, Network::Second, 1500);
    let daemon = up(&file);
    let captures = [&file.wire, &second].map(|wire| Leaving::start(&file.client, &wire.left));
    probing(&file, || {
        route_outside(&file.client, &second);
        file.client.reaches(&file.relay.v4());
        for family in ["-4", "-6"] {
            file.client.ip(&format!("{family} route del default"));
        }
        route_outside(&file.client, &file.wire);
        file.client.reaches(&file.relay.v4());
        file.client.ip(&format!("link set {} down", file.wire.left));
        route_outside(&file.client, &second);
        file.client.reaches(&file.relay.v4());
    });
    for capture in captures {
        assert!(capture.only_tunnel() > 0, "the tunnel was on both networks");
    }
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn it_is_closed_again_when_somebody_takes_it_away() {
    let file = client(INSIDE, ON);
    let daemon = up(&file);
    for taking in ["flush ruleset", "delete table inet maybetun_kill_switch"] {
        file.client.run(&format!("nft {taking}")).success();
        eventually("it is closed again", Duration::from_secs(20), || {
            ruleset(&file.client).contains("maybetun_kill_switch")
        });
        assert_closed(&file);
        file.client.reaches(&file.relay.v4());
    }
    assert!(daemon.log().contains("somebody took the kill switch away"), "{}", daemon.log());
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn flows_from_before_are_cut() {
    let file = client(INSIDE, ON);
    // Conntrack knows the flows.
    file.client.run_with_input(
        "nft -f -",
        "table inet theirs { chain o { type filter hook output priority 0; ct state new; }; }",
    );
    let outwards = file.relay.host.inside(|| TcpListener::bind("203.0.113.5:5000").unwrap());
    let inwards = file.client.inside(|| TcpListener::bind("192.0.2.1:5001").unwrap());
    let ours = file.client.inside(|| TcpStream::connect("203.0.113.5:5000").unwrap());
    let theirs = file.relay.host.inside(|| TcpStream::connect("192.0.2.1:5001").unwrap());
    let (mut far, mut near) = (outwards.accept().unwrap().0, inwards.accept().unwrap().0);
    let datagrams = file.client.inside(|| UdpSocket::bind("192.0.2.1:0").unwrap());
    datagrams.connect("203.0.113.5:5002").unwrap();
    let mut byte = [0];
    (&ours).write_all(b"a").unwrap();
    far.read_exact(&mut byte).unwrap();
    (&theirs).write_all(b"a").unwrap();
    near.read_exact(&mut byte).unwrap();
    datagrams.send(b"a").unwrap();

    let daemon = up(&file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    (&ours).write_all(b"b").unwrap();
    near.write_all(b"b").unwrap();
    // This one asks for an acknowledgement.
    (&theirs).write_all(b"b").unwrap();
    assert!(datagrams.send(b"b").is_err(), "the sender is told");
    file.client.reaches(&file.relay.v4());
    leaving.only_tunnel();
    daemon.terminate();
}

#[test]
fn excepted_networks_dhcp_and_discovery_pass() {
    let file = client(
        INSIDE,
        "KillSwitch = on\nKillSwitchAllow = 203.0.113.0/24, 203.0.113.0/25\nKillSwitchAllow = 2001:db8:5::/48\n",
    );
    file.relay.host.ip("addr add 203.0.112.9/32 dev lo");
    file.client.reaches("203.0.112.9");
    let daemon = up(&file);
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    file.client.ip(&format!("neigh flush dev {}", file.wire.left));
    let leaving = Leaving::start(&file.client, &file.wire.left);
    OUTSIDE.iter().for_each(|address| file.client.reaches(address));
    assert!(!file.client.run("ping -n -q -c 2 -W 1 203.0.112.9").is_success());
    file.client.inside(|| {
        let v4 = UdpSocket::bind("0.0.0.0:68").unwrap();
        v4.set_broadcast(true).unwrap();
        v4.send_to(&[1; 240], "192.0.2.2:67").unwrap();
        let index = nix::net::if_::if_nametoindex(file.wire.left.as_str()).unwrap();
        let v6 = UdpSocket::bind("[::]:546").unwrap();
        v6.send_to(&[1; 40], format!("[ff02::1:2%{index}]:547")).unwrap();
        assert!(v6.send_to(&[1; 40], "[2001:db8:1::2]:547").is_err(), "a server elsewhere");
    });
    let left = leaving.finish();
    assert_eq!(left.iter().filter(|left| **left == Left::Dhcp).count(), 2, "{left:?}");
    assert!(left.contains(&Left::Discovery), "{left:?}");
    let others: BTreeSet<_> = left.iter().filter(|left| matches!(left, Left::Other(..))).collect();
    let [v4, v6]: [IpAddr; 2] = OUTSIDE.map(|address| address.parse().unwrap());
    assert_eq!(others, BTreeSet::from([&Left::Other(4, 1, v4), &Left::Other(6, 58, v6)]));
    daemon.terminate();
}

#[test]
fn what_is_forwarded_leaves_by_the_tunnel_or_to_an_excepted_network() {
    let file = client(INSIDE, "KillSwitch = on\nKillSwitchAllow = 198.51.100.0/24\n");
    let neighbour = Host::new();
    let wire = Wire::between(&neighbour, &file.client, Network::Second, 1500);
    file.client.run("sysctl -qw net.ipv4.ip_forward=1").success();
    neighbour.ip(&format!("route add default via {}", Network::Second.v4(2)));
    let route = format!("route add 198.51.100.0/24 via {}", Network::First.v4(1));
    file.relay.host.ip(&route);
    neighbour.reaches("203.0.113.5");

    let daemon = up(&file);
    let inner = Capture::start_whole(&file.client, &file.interface);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    assert!(!neighbour.run("ping -n -q -c 2 -W 1 203.0.113.5").is_success());
    neighbour.run("ping -n -q -c 2 -W 1 10.9.0.2");
    leaving.only_tunnel();
    let source = |packet: &Vec<u8>| packet[12..16] == [198, 51, 100, 1];
    assert!(inner.packets(0).iter().any(source), "the neighbour's packets entered the tunnel");
    // What comes from outside to the excepted network passes; the answer does not.
    let arriving = Capture::start_whole(&neighbour, &wire.left);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    assert!(!file.relay.host.run("ping -n -q -c 2 -W 1 198.51.100.1").is_success());
    leaving.only_tunnel();
    assert!(arriving.packets(14).iter().any(|packet| packet[12..16] == [192, 0, 2, 2]));
    daemon.terminate();
    drop(wire);
}

/// A directory that `ip netns exec` puts over /etc.
struct Etc(PathBuf);

impl Etc {
    fn of(host: &Host) -> Self {
        let etc = Self(PathBuf::from("/etc/netns").join(host.namespace()));
        fs::create_dir_all(&etc.0).unwrap();
        etc
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).unwrap();
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
        // Unless there are others.
        fs::remove_dir("/etc/netns").ok();
    }
}

#[test]
fn up_after_a_crash_goes_on_without_a_gap_though_no_name_resolves() {
    let file = client(INSIDE, ON);
    let before = ruleset(&file.client);
    let etc = Etc::of(&file.client);
    etc.write("hosts", "192.0.2.2 relay.example\n");
    etc.write("resolv.conf", "nameserver 203.0.113.5\n");
    file.write(&file.read().replace("192.0.2.2:51820", "relay.example:51820"));
    let daemon = up(&file);
    kill(daemon, &file);

    etc.write("hosts", "");
    // A name that was never looked up gets no question through.
    let right = file.read();
    file.write(&right.replace("relay.example", "other.example"));
    let leaving = Leaving::start(&file.client, &file.wire.left);
    let daemon = start(&file, &[]);
    eventually("it says why that takes long", Duration::from_secs(20), || {
        daemon.log().contains("had no address when it was") && daemon.log().contains("trying again")
    });
    daemon.terminate();
    leaving.only_tunnel();
    file.write(&right);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    let daemon = probing(&file, || up(&file));
    assert!(leaving.only_tunnel() > 0);
    // It is one switch, not two.
    down(&file);
    drop(daemon);
    file.assert_gone();
    assert_eq!(ruleset(&file.client), before);
    // What was remembered went with it.
    let mut command = file.client.command("timeout");
    let looked_up = run(command.args(["2"]).arg(maybetun_program()).arg("up").arg(file.path()), "");
    assert_eq!(looked_up.code, Some(124), "{looked_up:#?}");
}

/// Returns the rules that the documentation gives for the time before the first `up`, for `interface`.
fn rules_at_boot(interface: &str) -> String {
    let document = include_str!("../../docs/kill-switch.md");
    let rules = document.split("```nft\n").nth(1).unwrap().split("```").next().unwrap();
    rules.replace("_wg0", &format!("_{interface}"))
}

#[test]
fn what_is_closed_at_boot_is_taken_over() {
    let file = client(INSIDE, ON);
    let before = ruleset(&file.client);
    let leaving = {
        file.client.run_with_input("nft -f -", &rules_at_boot(&file.interface)).success();
        Leaving::start(&file.client, &file.wire.left)
    };
    let daemon = probing(&file, || up(&file));
    assert!(leaving.only_tunnel() > 0);
    down(&file);
    drop(daemon);
    file.assert_gone();
    assert_eq!(ruleset(&file.client), before);
}

#[test]
fn it_closes_after_the_first_hook_and_opens_after_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let look = |name: &str| {
        let result = directory.path().join(name);
        format!("nft list chains inet | grep -c hook.output > {} || true", result.display())
    };
    let hooks = format!(
        "KillSwitch = on\nPreUp = {}\nPostUp = {}\nPreDown = {}\nPostDown = sleep 1; {}\n",
        look("PreUp"),
        look("PostUp"),
        look("PreDown"),
        look("PostDown")
    );
    let file = client(INSIDE, &hooks);
    let before = ruleset(&file.client);
    let daemon = start(&file, &["--allow-hooks"]);
    file.assert_up();
    eventually("PostUp has run", Duration::from_secs(20), || directory.path().join("PostUp").exists());
    down(&file);
    // `down` has waited for it.
    assert_eq!(ruleset(&file.client), before);
    let seen = ["PreUp", "PostUp", "PreDown", "PostDown"]
        .map(|name| fs::read_to_string(directory.path().join(name)).unwrap().trim().to_owned());
    assert_eq!(seen, ["0", "1", "1", "1"]);
    drop(daemon);
    file.assert_gone();
}

#[test]
fn a_terminal_that_is_closed_does_not_open_it() {
    let file = client(INSIDE, ON);
    let mut daemon = up(&file);
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for_exit();
    assert_closed(&file);
    // Another stop, one that asks for it.
    up(&file).terminate();
    file.assert_gone();
    assert_open(&file);
}

#[test]
fn a_switch_that_was_left_closed_is_not_passed_over() {
    let file = client(INSIDE, "");
    let daemon = start(&file, &["--kill-switch", "--kill-switch-allow", "192.0.2.128/25"]);
    file.assert_up();
    kill(daemon, &file);
    let refused = maybetun(&file.client, &format!("up {}", file.path().display()));
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    assert!(refused.stderr.contains("still closed"), "{refused:#?}");
    assert_closed(&file);
    down(&file);
    up(&file).terminate();
    file.assert_gone();
}

#[test]
fn two_tunnels_share_it() {
    let first = client(INSIDE, ON);
    let before = ruleset(&first.client);
    let other = Host::new();
    let wire = Wire::between(&first.client, &other, Network::Second, 1500);
    let (ours, theirs) = (Keys::new(), Keys::new());
    let peer = PeerConfig {
        public_key: ours.public.clone(),
        preshared_key: None,
        endpoint: None,
        allowed_ips: "10.9.1.1/32".to_owned(),
    };
    let config = Config { private_key: theirs.private, listen_port: 51820, peers: vec![peer] };
    let other = End::start(other, Maybetun, config, theirs.public.clone(), 7, 1420);
    other.host.ip(&format!("route add 10.9.1.0/24 dev {}", other.daemon.interface()));
    let directory = tempfile::tempdir().unwrap();
    let second = interface_name();
    let path = directory.path().join(format!("{second}.conf"));
    fs::write(
        &path,
        format!(
            "[Interface]\nPrivateKey = {}\nAddress = 10.9.1.1/32\nKillSwitch = on\n[Peer]\nPublicKey = {}\n\
             AllowedIPs = 10.9.0.7/32\nEndpoint = 198.51.100.2:51820\n",
            ours.private, theirs.public
        ),
    )
    .unwrap();

    let daemon = up(&first);
    let up_second = || maybetun(&first.client, &format!("up -d {}", path.display())).success();
    up_second();
    let both = || {
        first.client.reaches(&first.relay.v4());
        first.client.reaches("10.9.0.7");
    };
    let captures = [&first.wire, &wire].map(|wire| Leaving::start(&first.client, &wire.left));
    probing(&first, both);
    for capture in captures {
        assert!(capture.only_tunnel() > 0);
    }

    // One that dies does not harm the other, and is opened alone.
    kill(daemon, &first);
    first.client.reaches("10.9.0.7");
    down(&first);
    assert_closed(&first);
    first.client.reaches("10.9.0.7");
    let daemon = up(&first);
    both();
    maybetun(&first.client, &format!("down {second}")).success();
    assert_closed(&first);
    first.client.reaches(&first.relay.v4());
    // Both again, and both at once gone.
    up_second();
    both();
    let downs = [second.as_str(), first.interface.as_str()].map(|name| {
        let mut command = first.client.command(maybetun_program());
        command.args(["down", name]).spawn().unwrap()
    });
    for mut down in downs {
        assert!(down.wait().unwrap().success());
    }
    drop(daemon);
    first.assert_gone();
    assert_eq!(ruleset(&first.client), before);
}

#[test]
fn an_up_that_fails_leaves_it_as_it_was() {
    let file = client(INSIDE, "KillSwitch = on\nPostUp = nft list table inet maybetun_kill_switch && exit 9\n");
    let before = ruleset(&file.client);
    let fail = || {
        let failed = maybetun(&file.client, &format!("up --allow-hooks {}", file.path().display()));
        assert!(failed.stderr.contains("exit status: 9"), "{failed:#?}");
    };
    fail();
    assert_eq!(ruleset(&file.client), before);
    file.assert_gone();
    assert_open(&file);

    let daemon = up(&file);
    kill(daemon, &file);
    let leaving = Leaving::start(&file.client, &file.wire.left);
    probing(&file, fail);
    leaving.only_tunnel();
    assert_closed(&file);
    down(&file);
    assert_eq!(ruleset(&file.client), before);
}

#[test]
fn without_a_working_nft_the_tunnel_does_not_start() {
    let file = client(INSIDE, ON);
    let directory = tempfile::tempdir().unwrap();
    let broken = directory.path().join("nft");
    fs::write(&broken, "#!/bin/sh\ncase \"$*\" in *list*) exit 0 ;; esac\necho no rules today >&2\nexit 1\n").unwrap();
    run(std::process::Command::new("chmod").arg("755").arg(&broken), "").success();
    for (in_its_place, message) in
        [("/dev/null", "needs nft"), (broken.to_str().unwrap(), "cannot close the kill switch")]
    {
        let script = format!(
            "mount --bind {in_its_place} \"$(command -v nft)\" && exec {} up {}",
            maybetun_program().display(),
            file.path().display()
        );
        let mut command = file.client.command("unshare");
        let failed = run(command.args(["--mount", "sh", "-c", &script]), "");
        assert_eq!(failed.code, Some(1), "{failed:#?}");
        assert!(failed.stderr.contains(message), "{failed:#?}");
        file.assert_gone();
    }
    assert_open(&file);
}

#[test]
fn status_tells_of_it() {
    let file = client(INSIDE, ON);
    let daemon = up(&file);
    assert_eq!(status_json(&file.client, &file.interface)["kill_switch"], true);
    let text = maybetun(&file.client, &format!("status {}", file.interface)).success();
    assert!(text.contains("  kill switch: closed\n"), "{text}");
    let relay = &file.relay;
    assert_eq!(status_json(&relay.host, relay.daemon.interface())["kill_switch"], false);
    daemon.terminate();
    file.assert_gone();

    let daemon = up(&file);
    kill(daemon, &file);
    let finished = maybetun(&file.client, "status");
    let left = format!("the kill switch of {} is closed, and no such tunnel is running", file.interface);
    assert!(finished.stderr.contains(&left), "{finished:#?}");
    down(&file);
}

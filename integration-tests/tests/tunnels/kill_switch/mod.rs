//! The kill switch: nothing leaves but the tunnel, whatever happens to process, interface and routes.

mod course;
mod crash;
mod passing;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use maybetun_integration_tests::{
    ClientFile, Daemon, Finished, Host, Leaving, Left, Prober, Wire, eventually, maybetun_program, run,
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
    // Packets cross the tunnel before all of it is set up.
    eventually("the tunnel says that it is up", Duration::from_secs(20), || daemon.log().contains(" is up"));
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

//! A tunnel that carries nothing costs next to nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{Setup, alone, defense};

/// Sums the context switches of all threads of a process.
fn context_switches(process: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks.map(|task| context_switches_of_thread(&task.unwrap().path().join("status"))).sum()
}

fn context_switches_of_thread(status: &std::path::Path) -> u64 {
    let text = fs::read_to_string(status).unwrap();
    let counts = text.lines().filter_map(|line| line.split_once("ctxt_switches:"));
    counts.map(|(_, count)| count.trim().parse::<u64>().unwrap()).sum()
}

#[test]
fn idle_tunnel_makes_at_most_two_context_switches_a_second() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    // The kernel's own chatter on a new interface is traffic too.
    for end in [&pair.client, &pair.relay] {
        end.host.run(&format!("sysctl -q net.ipv6.conf.{}.router_solicitations=0", end.daemon.interface())).success();
    }
    pair.client.host.reaches(&pair.relay.v4());
    // The keepalive that answers the last packet is sent after ten seconds (whitepaper §6.5).
    thread::sleep(Duration::from_secs(12));
    let processes = [pair.client.daemon.id(), pair.relay.daemon.id()];
    let before = processes.map(context_switches);
    let start = Instant::now();
    thread::sleep(Duration::from_secs(20));
    let after = processes.map(context_switches);
    let seconds = start.elapsed().as_secs_f64();
    for (end, (before, after)) in ["client", "relay"].into_iter().zip(before.into_iter().zip(after)) {
        let rate = (after - before) as f64 / seconds;
        assert!(rate <= 2.0, "the {end} makes {rate:.1} context switches a second");
    }
}

/// Returns the processor time that a process has used, in clock ticks of the system: usually 100 a second.
fn processor_time(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = text.rsplit_once(')').unwrap().1.split_whitespace().collect::<Vec<_>>();
    // utime and stime, the 14th and 15th of all.
    [11, 12].iter().map(|&index| fields[index].parse::<u64>().unwrap()).sum()
}

#[test]
fn a_defense_sleeps_while_the_interface_is_down() {
    let _heavy = alone();
    let pair = Setup::between(Maybetun, Maybetun).start();
    for line in ["on metronome", "on ephemeral"] {
        for end in [&pair.relay, &pair.client] {
            defense(end, line).success();
        }
        pair.client.host.reaches(&pair.relay.v4());
        let interface = pair.client.daemon.interface();
        pair.client.host.ip(&format!("link set {interface} down"));
        thread::sleep(Duration::from_secs(1));
        let before = processor_time(pair.client.daemon.id());
        thread::sleep(Duration::from_secs(3));
        let used = processor_time(pair.client.daemon.id()) - before;
        assert!(used < 30, "{line}: {used} ticks in 3 s with nothing to do");
        pair.client.host.ip(&format!("link set {interface} up"));
        pair.client.host.reaches(&pair.relay.v4());
    }
}

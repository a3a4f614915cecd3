//! It outlives the process, the interface and its own table, and another `up` goes on with it.

use std::time::Duration;

use maybetun_integration_tests::{Daemon, Etc, Leaving, Prober, eventually, maybetun_program, run};
use nix::sys::signal::Signal;

use super::{
    EVERYTHING, INSIDE, ON, OUTSIDE, assert_closed, assert_open, client, down, kill, maybetun, probing, ruleset, start,
    up,
};

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
    let said = down(&file);
    assert!(said.contains("had died") && !said.contains("kill switch"), "{said}");
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
    let document = include_str!("../../../../docs/kill-switch.md");
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
fn a_terminal_that_is_closed_does_not_open_it() {
    let file = client(INSIDE, ON);
    let line = format!("{} up {}", maybetun_program().display(), file.path().display());
    let mut command = file.client.command("script");
    let mut terminal = Daemon::spawn(command.args(["--quiet", "--command", &line, "/dev/null"]), &file.interface);
    file.assert_up();
    terminal.signal(Signal::SIGKILL);
    terminal.wait_for_exit();
    eventually("the tunnel has ended", Duration::from_secs(20), || file.client.processes().is_empty());
    assert_closed(&file);
    // Another stop, one that asks for it.
    up(&file).terminate();
    file.assert_gone();
    assert_open(&file);
}

#[test]
fn a_quit_does_not_open_it_though_all_else_is_undone() {
    let file = client(EVERYTHING, ON);
    let mut daemon = up(&file);
    daemon.signal(Signal::SIGQUIT);
    assert!(daemon.wait_for_exit().success(), "{}", daemon.log());
    assert_closed(&file);
    assert_eq!(file.client.ip("-4 rule").lines().count(), 3, "{}", file.client.ip("-4 rule"));
    down(&file);
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

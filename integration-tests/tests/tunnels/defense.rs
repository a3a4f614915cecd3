//! Defenses on real tunnels: against other implementations, switched at runtime, and hostile ones.

use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::{Gotatun, Maybetun, WireguardGo};
use maybetun_integration_tests::{
    ClientFile, Daemon, End, MEGABYTE, Pair, Setup, Stream, ask, block_and_pause, count, defense, enable_machines,
    errno, eventually, key_in_hex, maybetun_program, metronome, run, runaway, shown_defense, status_json, transfer,
    value_of,
};

/// MTU of the tunnels here.
const MTU: usize = 1_420;

/// Packets that came out of the tunnel of `end`.
fn delivered(end: &End) -> u64 {
    let path = format!("/sys/class/net/{}/statistics/rx_packets", end.daemon.interface());
    // Only a process of the namespace's own mount sees its interfaces there.
    end.host.run(&format!("cat {path}")).success().trim().parse().unwrap()
}

/// Waits until the last acknowledgements of transfers have come out of the tunnel.
fn settled(pair: &Pair) {
    let mut before = None;
    eventually("the tunnel is idle", Duration::from_secs(60), || {
        let now = Some([&pair.client, &pair.relay].map(delivered));
        let is_idle = now == before;
        before = now;
        thread::sleep(Duration::from_secs(1));
        is_idle
    });
}

/// Pads at both ends every 10 ms, and checks that both know padding from data.
fn daita_at_both_ends(setup: &Setup) {
    let pair = Setup { daita: Some(metronome(10_000.0)), ..setup.clone() }.start();
    pair.client.host.reaches(&pair.relay.v4());
    pair.client.host.reaches(&pair.relay.v6());
    pair.relay.host.reaches(&pair.client.v4());
    transfer(&pair);

    let padding =
        |end: &End| -> u64 { value_of(&ask(&end.daemon, "get=1\n\n"), "daita_rx_decoy_packet_bytes").unwrap() };
    let ends = [&pair.client, &pair.relay];
    settled(&pair);
    let before = ends.map(|end| (padding(end), delivered(end)));
    for (end, (padding_before, _)) in ends.into_iter().zip(before) {
        eventually("padding arrives", Duration::from_secs(60), || padding(end) > padding_before + 50 * MTU as u64);
    }
    for (end, (_, delivered_before)) in ends.into_iter().zip(before) {
        assert_eq!(delivered(end), delivered_before, "padding came out of the tunnel");
    }
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn daita_with_gotatun_as_relay() {
    daita_at_both_ends(&Setup::between(Maybetun, Gotatun));
}

#[test]
fn daita_with_gotatun_as_client() {
    daita_at_both_ends(&Setup::between(Gotatun, Maybetun));
}

#[test]
fn daita_between_maybetuns() {
    daita_at_both_ends(&Setup::between(Maybetun, Maybetun));
}

#[test]
fn a_plain_peer_drops_padding_quietly() {
    let pair = Setup::between(Maybetun, WireguardGo).start();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(errno(&enable_machines(&pair.client, &pair.relay, &[metronome(10_000.0)])), 0);
    pair.client.host.reaches(&pair.relay.v4());
    transfer(&pair);
    settled(&pair);
    let (before, delivered_before) =
        (count(&shown_defense(&pair.client), "padding_sent_packets"), delivered(&pair.relay));
    eventually("padding is sent", Duration::from_secs(60), || {
        count(&shown_defense(&pair.client), "padding_sent_packets") > before + 200
    });
    assert_eq!(delivered(&pair.relay), delivered_before, "padding came out of the tunnel");
    let status = status_json(&pair.client.host, pair.client.daemon.interface());
    assert_eq!(status["peers"][0]["handshakes"], 1, "padding needs no handshake: {status}");
    pair.relay.host.reaches(&pair.client.v4());
}

#[test]
fn a_defense_is_switched_during_a_transfer() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    for name in ["front", "interspace", "constant-size"] {
        for (end, role) in [(&pair.client, "client"), (&pair.relay, "relay")] {
            let said = defense(end, &format!("on {name} --max-padding-frac 0.5")).success();
            assert!(said.trim_end().ends_with(&format!("{name}, as {role}")), "{said}");
        }
        up.advance(2 * MEGABYTE);
        down.advance(2 * MEGABYTE);
        let running = shown_defense(&pair.relay);
        assert_eq!((&running["name"], &running["role"]), (&name.into(), &"relay".into()), "{running}");
        assert_eq!(running["limits"]["max_padding_frac"], 0.5, "{running}");
        assert!(count(&running, "constant_size_received_bytes") > 0, "{running}");
        let text = defense(&pair.relay, "status").success();
        assert!(text.contains(&format!("defense: {name}, as relay: ")), "{text}");

        for end in [&pair.client, &pair.relay] {
            defense(end, &format!("{} off", other(&pair, end).public_key)).success();
        }
        up.advance(2 * MEGABYTE);
        down.advance(2 * MEGABYTE);
        assert!(shown_defense(&pair.client).is_null());
        assert!(defense(&pair.client, "status").success().contains("defense: off"));
    }
    up.finish();
    down.finish();
    let status = status_json(&pair.client.host, pair.client.daemon.interface());
    assert_eq!(status["peers"][0]["handshakes"], 1, "the session survived: {status}");
}

fn other<'a>(pair: &'a Pair, end: &End) -> &'a End {
    if std::ptr::eq(end, &pair.client) { &pair.relay } else { &pair.client }
}

#[test]
fn hostile_machines_are_refused_and_change_nothing() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let good = metronome(10_000.0);
    let hostile = [
        String::new(),
        "02".to_owned(),
        good[..good.len() / 2].to_owned(),
        format!("01{}", &good[2..]),
        format!("{good}AAAA"),
        good.replace('e', "!"),
        "02".to_owned() + &"A".repeat(60_000),
    ];
    for machine in hostile {
        let request = format!(
            "set=1\nlisten_port=1\npublic_key={}\ndaita_enable=1\ndaita_machine={machine}\n\n",
            key_in_hex(&pair.relay.public_key)
        );
        assert_eq!(errno(&ask(&pair.client.daemon, &request)), 22, "{machine:.40}");
        let status = status_json(&pair.client.host, pair.client.daemon.interface());
        assert!(status["peers"][0]["defense"].is_null() && status["listen_port"] == 51820, "{status}");
    }
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn a_runaway_machine_is_bounded_and_can_be_switched_off() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(errno(&enable_machines(&pair.client, &pair.relay, &[runaway(), block_and_pause(0.0, 0.0)])), 0);
    pair.client.host.count_replies(&pair.relay.v4(), 5);
    eventually("the cap holds it", Duration::from_secs(60), || {
        count(&shown_defense(&pair.client), "actions_capped") > 0
    });
    let started = std::time::Instant::now();
    let before = count(&shown_defense(&pair.client), "padding_actions");
    thread::sleep(Duration::from_secs(3));
    let actions = count(&shown_defense(&pair.client), "padding_actions") - before;
    let cap = count(&shown_defense(&pair.client), "max_actions_per_second");
    let seconds = started.elapsed().as_secs() + 2;
    assert!(actions <= cap * seconds, "{actions} actions in {seconds} s, at most {cap} a second");
    defense(&pair.client, "off").success();
    assert!(shown_defense(&pair.client).is_null());
    pair.client.host.reaches(&pair.relay.v4());
}

#[test]
fn a_file_switches_its_defense_on() {
    let file = ClientFile::new("10.9.0.0/24, fd09::/64", "");
    file.write(&format!("{}Defense = front\nDefenseMaxPaddingFrac = 0.5\n", file.read()));
    let daemon = up(&file);
    file.assert_up();
    let running = status_json(&file.client, &file.interface)["peers"][0]["defense"].take();
    assert_eq!((&running["name"], &running["role"]), (&"front".into(), &"client".into()), "{running}");
    assert_eq!(running["limits"]["max_padding_frac"], 0.5, "{running}");
    assert!(count(&running, "constant_size_sent_bytes") > 0, "{running}");
    daemon.terminate();
    file.assert_gone();
}

#[test]
fn a_tunnel_does_not_start_without_its_defense() {
    for line in ["Defense = fornt", "Defense = ./missing.toml", "Defense = front\nDefenseMaxPaddingFrac = 2"] {
        let file = ClientFile::new("10.9.0.0/24", "");
        file.write(&format!("{}{line}\n", file.read()));
        for subcommand in ["check", "up"] {
            let mut command = file.client.command(maybetun_program());
            let finished = run(command.arg(subcommand).arg(file.path()), "");
            assert_eq!(finished.code, Some(3), "{subcommand}: {finished:#?}");
            assert!(finished.stderr.contains("Defense"), "{finished:#?}");
        }
        file.assert_gone();
    }
}

fn up(file: &ClientFile) -> Daemon {
    let mut command = file.client.command(maybetun_program());
    Daemon::spawn(command.arg("up").arg(file.path()), &file.interface)
}

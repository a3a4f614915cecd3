//! The user's limits on a real tunnel, however they are set, and what is said when nothing leaves.

use std::time::Duration;

use maybetun_integration_tests::Implementation::{Maybetun, WireguardGo};
use maybetun_integration_tests::{
    ClientFile, Daemon, Pair, Setup, ask, count, defense, errno, eventually, key_in_hex, maybetun_program, metronome,
    run, shown_defense, shown_peer, status_json,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// Bytes a second that padding may take unless the user says otherwise.
const DEFAULT_RATE: u64 = 16 << 20;

/// What a key in a file or an argument of the command line sets.
fn limits(padding: f64, blocking: f64, rate: u64) -> Value {
    json!({"max_padding_frac": padding, "max_blocking_frac": blocking, "max_padding_rate": rate})
}

fn up(file: &ClientFile) -> Daemon {
    let mut command = file.client.command(maybetun_program());
    Daemon::spawn(command.arg("up").arg(file.path()), &file.interface)
}

/// Runs `maybetun defense INTERFACE LINE` at the client of a file.
#[track_caller]
fn client_defense(file: &ClientFile, line: &str) -> String {
    let mut command = file.client.command(maybetun_program());
    run(command.args(["defense", &file.interface]).args(line.split_whitespace()), "").success()
}

#[track_caller]
fn client_limits(file: &ClientFile) -> Value {
    status_json(&file.client, &file.interface)["peers"][0]["defense"]["limits"].take()
}

/// The lines of a file that tell of its defense.
fn defense_lines(file: &ClientFile) -> Vec<String> {
    let is_of_defense =
        |line: &&str| ["Defense", "MaxPaddingRate", "HandshakesPerSecond"].iter().any(|key| line.starts_with(key));
    file.read().lines().filter(is_of_defense).map(str::to_owned).collect()
}

#[test]
fn the_command_line_sets_them_beside_every_defense() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    for name in ["front", "ephemeral"] {
        defense(&pair.client, &format!("on {name}")).success();
        assert_eq!(shown_defense(&pair.client)["limits"], limits(0.0, 0.0, DEFAULT_RATE), "{name}");
        let line = format!("on {name} --max-padding-frac 0.5 --max-blocking-frac 0.25 --max-padding-rate 65536");
        defense(&pair.client, &line).success();
        assert_eq!(shown_defense(&pair.client)["limits"], limits(0.5, 0.25, 65_536), "{name}");
        let text = defense(&pair.client, "status").success();
        let told = "limits: padding at most 0.5 of packets, 64.00 KiB/s; blocking at most 0.25 of time\n";
        assert!(text.contains(told), "{text}");
    }
    // What both drew is under them too.
    defense(&pair.relay, "on ephemeral").success();
    pair.client.host.reaches(&pair.relay.v4());
    eventually("both ends agree", PATIENCE, || shown_peer(&pair.client)["protection"] == "protected");
    assert_eq!(shown_defense(&pair.client)["limits"], limits(0.5, 0.25, 65_536));
    for line in ["on front --max-padding-rate 4M", "on ephemeral --max-padding-frac 2"] {
        let finished = defense(&pair.client, line);
        assert_eq!(finished.code, Some(2), "{line}: {finished:#?}");
    }
}

#[test]
fn the_socket_sets_and_tells_them() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let set = |lines: &str| {
        let key = key_in_hex(&pair.relay.public_key);
        errno(&ask(&pair.client.daemon, &format!("set=1\npublic_key={key}\nupdate_only=true\n{lines}\n")))
    };
    for (kind, first) in [("defense", "daita_enable=1"), ("ephemeral", "maybetun_ephemeral=padding")] {
        let key = |limit: &str| format!("maybetun_{kind}_limit_{limit}");
        assert_eq!(set(&format!("{first}\n")), 0);
        assert!(!ask(&pair.client.daemon, "get=1\n\n").contains(&key("")), "what is not set is left out");
        let lines = [
            format!("{}=0.5", key("padding_frac")),
            format!("{}=0.25", key("blocking_frac")),
            format!("{}=65536", key("padding_rate")),
        ];
        assert_eq!(set(&format!("{first}\n{}\n", lines.join("\n"))), 0);
        let told = ask(&pair.client.daemon, "get=1\n\n");
        assert!(lines.iter().all(|line| told.lines().any(|told| told == line)), "{told}");
        assert_eq!(shown_defense(&pair.client)["limits"], limits(0.5, 0.25, 65_536), "{kind}");
        for (limit, value) in [("padding_frac", "2"), ("blocking_frac", "nan"), ("padding_rate", "-1")] {
            assert_eq!(set(&format!("{first}\n{}={value}\n", key(limit))), 22, "{limit}={value}");
        }
        assert_eq!(shown_defense(&pair.client)["limits"], limits(0.5, 0.25, 65_536), "a refusal changes nothing");
    }
}

#[test]
fn a_file_sets_them_and_keeps_what_was_set_meanwhile() {
    let file = ClientFile::new(
        "10.9.0.0/24, fd09::/64",
        "SaveConfig = true\nMaxPaddingRate = 1000000\nHandshakesPerSecond = 250",
    );
    let said = "Defense = front\nDefenseMaxPaddingFrac = 0.5\nDefenseMaxBlockingFrac = 0.25\n\
                DefenseMaxPaddingRate = 65536\n";
    file.write(&format!("{}{said}", file.read()));
    let before = defense_lines(&file);
    let daemon = up(&file);
    file.assert_up();
    assert_eq!(client_limits(&file), limits(0.5, 0.25, 65_536));
    assert_eq!(status_json(&file.client, &file.interface)["handshake_load"]["max_per_second"], 250);
    daemon.terminate();
    assert_eq!(defense_lines(&file), before, "nothing was changed");

    let daemon = up(&file);
    file.assert_up();
    client_defense(&file, "on ephemeral --max-padding-frac 0.75 --max-padding-rate 0");
    daemon.terminate();
    let lines = [
        "MaxPaddingRate = 1000000",
        "HandshakesPerSecond = 250",
        "Defense = ephemeral",
        "DefenseMaxPaddingFrac = 0.75",
        "DefenseMaxPaddingRate = 0",
    ];
    assert_eq!(defense_lines(&file), lines);
    let daemon = up(&file);
    file.assert_up();
    assert_eq!(client_limits(&file), limits(0.75, 0.0, 0));
    daemon.terminate();
    assert_eq!(defense_lines(&file), lines);
}

#[test]
fn a_file_with_a_limit_that_is_none_is_refused() {
    for (section, line) in [
        ("", "DefenseMaxPaddingRate = 4M\nDefense = front"),
        ("", "DefenseMaxPaddingRate = 65536"),
        ("MaxPaddingRate = -1", ""),
    ] {
        let file = ClientFile::new("10.9.0.0/24", section);
        file.write(&format!("{}{line}\n", file.read()));
        let mut command = file.client.command(maybetun_program());
        let finished = run(command.arg("check").arg(file.path()), "");
        assert_eq!(finished.code, Some(3), "{finished:#?}");
        assert!(finished.stderr.contains("MaxPaddingRate: expected "), "{finished:#?}");
    }
}

#[test]
fn padding_over_a_limit_is_told_by_cause() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    // 100 packets a second of 1420 bytes, of which 10 or so may leave.
    let request = format!(
        "set=1\npublic_key={}\nupdate_only=true\ndaita_enable=1\ndaita_machine={}\n\
         maybetun_defense_limit_padding_rate=16384\n\n",
        key_in_hex(&pair.relay.public_key),
        metronome(10_000.0),
    );
    assert_eq!(errno(&ask(&pair.client.daemon, &request)), 0);
    pair.client.host.reaches(&pair.relay.v4());
    let dropped = || shown_defense(&pair.client)["padding_dropped"].take();
    eventually("padding is over the rate", PATIENCE, || count(&dropped(), "over_rate") > 100);
    assert_eq!(count(&dropped(), "over_frac"), 0);
    let text = defense(&pair.client, "status").success();
    assert!(text.contains("padding not sent: ") && text.contains(" over your rate"), "{text}");
}

#[test]
fn the_limit_of_all_peers_together_is_that_of_the_file_or_of_the_command_line() {
    for (in_file, arguments) in [("MaxPaddingRate = 16384", ""), ("MaxPaddingRate = 0", "--max-padding-rate 16384")] {
        let file = ClientFile::new("10.9.0.0/24, fd09::/64", in_file);
        let mut command = file.client.command(maybetun_program());
        command.arg("up").arg(file.path()).args(arguments.split_whitespace());
        let daemon = Daemon::spawn(&mut command, &file.interface);
        file.assert_up();
        let request = format!(
            "set=1\npublic_key={}\nupdate_only=true\ndaita_enable=1\ndaita_machine={}\n\n",
            key_in_hex(&file.relay.public_key),
            metronome(10_000.0),
        );
        assert_eq!(errno(&ask(&daemon, &request)), 0);
        file.assert_up();
        let dropped = || status_json(&file.client, &file.interface)["peers"][0]["defense"]["padding_dropped"].take();
        eventually("padding is over the device's rate", PATIENCE, || count(&dropped(), "over_device_rate") > 100);
        assert_eq!(count(&dropped(), "over_rate"), 0);
        daemon.terminate();
    }
}

fn warnings(pair: &Pair) -> Vec<String> {
    pair.client.daemon.log().lines().filter(|line| line.contains(" WARN ")).map(str::to_owned).collect()
}

#[test]
fn that_nothing_leaves_is_said_aloud_with_its_cause_until_it_ends() {
    let pair = Setup::between(Maybetun, WireguardGo).start();
    pair.client.host.reaches(&pair.relay.v4());
    assert_eq!(shown_peer(&pair.client)["user_packets_leave"], true);
    defense(&pair.client, "on ephemeral --negotiation require").success();
    let shown = shown_peer(&pair.client);
    assert_eq!((&shown["user_packets_leave"], &shown["protection_cause"]), (&false.into(), &"negotiating".into()));
    let text = defense(&pair.client, "status").success();
    let held = "nothing leaves: the defense is required, and the peer has not answered yet";
    assert!(text.contains(held), "{text}");
    assert_eq!(pair.client.host.count_replies(&pair.relay.v4(), 3), 0);

    eventually("the client gives up", PATIENCE, || shown_peer(&pair.client)["protection_cause"] == "unanswered");
    let text = defense(&pair.client, "status").success();
    assert!(text.contains("nothing leaves: the defense is required, and the peer does not answer"), "{text}");
    defense(&pair.client, "off").success();
    assert_eq!(shown_peer(&pair.client)["user_packets_leave"], true);
    pair.client.host.reaches(&pair.relay.v4());

    let warnings = warnings(&pair);
    let [begins, goes_on, ends] = &warnings[..] else { panic!("not three warnings: {warnings:#?}") };
    assert!(
        begins.contains("nothing of the user's leaves: the defense is required, and the peer has not answered yet")
    );
    assert!(goes_on.contains("nothing of the user's leaves: the defense is required, and the peer does not answer"));
    assert!(ends.contains("what the user sends leaves again, after ") && ends.contains("no defense runs"), "{ends}");
}

#[test]
fn what_is_preferred_of_a_silent_peer_warns_of_nothing() {
    let pair = Setup::between(Maybetun, WireguardGo).start();
    pair.client.host.reaches(&pair.relay.v4());
    defense(&pair.client, "on ephemeral --strength low").success();
    eventually("the client gives up", PATIENCE, || shown_peer(&pair.client)["protection_cause"] == "unanswered");
    assert_eq!(shown_peer(&pair.client)["user_packets_leave"], true);
    assert_eq!(warnings(&pair), [""; 0]);
}

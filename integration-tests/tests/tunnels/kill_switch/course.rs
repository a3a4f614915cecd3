//! When it closes and opens, for whom, and what is said of it.

use std::fs;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    Config, End, Host, Keys, Leaving, Network, PeerConfig, Wire, eventually, interface_name, maybetun_program, run,
    status_json,
};

use super::{INSIDE, ON, assert_closed, assert_open, client, down, kill, maybetun, probing, ruleset, start, up};

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

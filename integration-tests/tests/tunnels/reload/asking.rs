//! How a tunnel is asked, and what is answered.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{ClientFile, Daemon, Etc, Host, eventually, interface_name, maybetun_program, run};
use nix::sys::signal::Signal;

use super::{INNER, add_peer, down, edit, everything, maybetun, reload, up};

#[test]
fn a_file_that_is_wrong_is_refused_whole_and_names_the_place() {
    let file = ClientFile::new(INNER, "");
    // Without a resolver that may answer yet.
    let etc = Etc::of(&file.client);
    etc.write("nsswitch.conf", "hosts: files\n");
    let _daemon = up(&file, &[]);
    let (before, right) = (everything(&file), file.read());
    let path = file.path().display().to_string();
    let mtu = right.replace("MTU = 1400", "MTU = 1300");
    let line = right.lines().position(|line| line.starts_with("AllowedIPs")).unwrap() + 1;
    for (wrong, exit, said) in [
        (mtu.replace("AllowedIPs = ", "AllowedIPs = nowhere, "), 3, format!("{path}:{line}: AllowedIPs: ")),
        (mtu.replace("AllowedIPs", "Defense = no-such-defense\nAllowedIPs"), 3, "no-such-defense".to_owned()),
        (mtu.replace("192.0.2.2:", "no-such-host.invalid:"), 1, "no-such-host.invalid".to_owned()),
    ] {
        file.write(&wrong);
        let refused = reload(&file);
        assert_eq!(refused.code, Some(exit), "{refused:#?}");
        assert!(refused.stderr.contains(&said), "{said}: {refused:#?}");
        assert_eq!(everything(&file), before);
    }
    fs::remove_file(file.path()).unwrap();
    let refused = reload(&file);
    assert_eq!(refused.code, Some(3), "{refused:#?}");
    assert!(refused.stderr.contains(&path) && refused.stderr.contains("No such file"), "{refused:#?}");
    assert_eq!(everything(&file), before);
    file.write(&mtu);
    assert!(reload(&file).success().contains("MTU"));
    assert!(file.client.ip("-o link").contains("mtu 1300"));
    down(&file);
}

#[test]
fn what_the_system_refuses_changes_nothing_either() {
    let file = ClientFile::new(INNER, "");
    let _daemon = up(&file, &[]);
    let before = everything(&file);
    let taken = file.client.inside(|| std::net::UdpSocket::bind("0.0.0.0:7000")).unwrap();
    edit(&file, "MTU = 1400", "MTU = 1300\nListenPort = 7000\nKillSwitch = on");
    add_peer(&file, "AllowedIPs = 198.18.0.0/24\n");
    let refused = reload(&file);
    assert_eq!(refused.code, Some(5), "{refused:#?}");
    assert!(refused.stderr.contains("7000") && refused.stderr.contains("nothing is changed"), "{refused:#?}");
    assert_eq!(everything(&file), before);
    drop(taken);
    reload(&file).success();
    assert!(file.client.run("ss -Hulpn").success().contains(":7000"));
    down(&file);
}

#[test]
fn a_tunnel_is_named_by_its_file_too_and_by_no_other() {
    let file = ClientFile::new(INNER, "");
    let mut command = file.client.command(maybetun_program());
    // Started by a relative path, from a directory that it leaves.
    let directory = file.path().parent().unwrap().to_owned();
    let name = file.path().file_name().unwrap().to_owned();
    run(command.current_dir(&directory).args(["up", "-d"]).arg(&name), "").success();
    edit(&file, "MTU = 1400", "MTU = 1300");
    let mut command = file.client.command(maybetun_program());
    run(command.current_dir(&directory).arg("reload").arg(&name), "").success();
    assert!(file.client.ip("-o link").contains("mtu 1300"));

    let other = tempfile::tempdir().unwrap();
    let copy = other.path().join(&name);
    fs::copy(file.path(), &copy).unwrap();
    let refused = maybetun(&file.client, &format!("reload {}", copy.display()));
    assert_eq!(refused.code, Some(2), "{refused:#?}");
    assert!(refused.stderr.contains(&file.path().display().to_string()), "{refused:#?}");
    down(&file);
}

#[test]
fn who_has_no_file_or_is_not_there_says_so() {
    let host = Host::new();
    let absent = maybetun(&host, "reload nosuch0");
    assert_eq!(absent.code, Some(6), "{absent:#?}");
    let backend = Daemon::start(Maybetun, &host, &interface_name());
    let refused = maybetun(&host, &format!("reload {}", backend.interface()));
    assert_eq!(refused.code, Some(1), "{refused:#?}");
    assert!(refused.stderr.contains("wg syncconf"), "{refused:#?}");
}

#[test]
fn a_hangup_without_a_terminal_reloads_and_one_of_a_terminal_ends() {
    let file = ClientFile::new(INNER, "");
    let mut daemon = up(&file, &[]);
    edit(&file, "MTU = 1400", "MTU = none");
    daemon.signal(Signal::SIGHUP);
    eventually("it says what is wrong", Duration::from_secs(20), || daemon.log().contains("MTU: "));
    edit(&file, "MTU = none", "MTU = 1300");
    daemon.signal(Signal::SIGHUP);
    eventually("it is reloaded", Duration::from_secs(20), || file.client.ip("-o link").contains("mtu 1300"));
    assert_eq!(daemon.exit_status(), None);
    edit(&file, "MTU = 1300", "MTU = 1400");
    down(&file);

    // The same in the background of a terminal that is gone.
    let line = format!("{} up -d {}", maybetun_program().display(), file.path().display());
    run(file.client.command("script").args(["--quiet", "--return", "--command", &line, "/dev/null"]), "").success();
    file.assert_up();
    edit(&file, "MTU = 1400", "MTU = 1300");
    let processes = file.client.processes();
    let [background] = processes[..] else { panic!("one process: {processes:?}") };
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(background), Signal::SIGHUP).unwrap();
    eventually("it is reloaded", Duration::from_secs(20), || file.client.ip("-o link").contains("mtu 1300"));
    edit(&file, "MTU = 1300", "MTU = 1400");
    down(&file);

    let line = format!("{} up {}", maybetun_program().display(), file.path().display());
    let mut command = file.client.command("script");
    let mut terminal = Daemon::spawn(command.args(["--quiet", "--command", &line, "/dev/null"]), &file.interface);
    file.assert_up();
    terminal.signal(Signal::SIGKILL);
    terminal.wait_for_exit();
    file.assert_gone();
}

#[test]
fn under_nohup_only_the_command_reloads() {
    let file = ClientFile::new(INNER, "");
    let mut command = file.client.command("nohup");
    let daemon = Daemon::spawn(command.arg(maybetun_program()).arg("up").arg(file.path()), &file.interface);
    file.assert_up();
    edit(&file, "MTU = 1400", "MTU = 1300");
    daemon.signal(Signal::SIGHUP);
    reload(&file).success();
    assert!(file.client.ip("-o link").contains("mtu 1300"));
    assert_eq!(daemon.log().matches("is reloaded").count(), 1, "{}", daemon.log());
    down(&file);
}

#[test]
fn those_who_ask_at_once_are_all_answered() {
    let file = ClientFile::new(INNER, "");
    let _daemon = up(&file, &[]);
    let key = add_peer(&file, "AllowedIPs = 198.18.0.0/24\n");
    let said: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..6).map(|_| scope.spawn(|| reload(&file).success())).collect();
        asking.into_iter().map(|asking| asking.join().unwrap()).collect()
    });
    assert_eq!(said.iter().filter(|said| said.contains(&key)).count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|said| said.contains("nothing to change")).count(), 5, "{said:?}");
    down(&file);
}

#[test]
fn who_asks_and_says_nothing_keeps_nobody_from_asking() {
    let file = ClientFile::new(INNER, "");
    let _daemon = up(&file, &[]);
    let socket = file.client.tunnels().join(format!("{}.control", file.interface));
    let silent = std::os::unix::net::UnixStream::connect(socket).unwrap();
    reload(&file).success();
    drop(silent);
    down(&file);
}

#[test]
fn a_service_manager_is_told_when_it_begins_and_ends() {
    let file = ClientFile::new(INNER, "");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let told = || {
        let mut buffer = [0; 256];
        let length = manager.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut command = file.client.command(maybetun_program());
    let _daemon = Daemon::spawn(command.env("NOTIFY_SOCKET", &path).arg("up").arg(file.path()), &file.interface);
    assert_eq!(told(), "READY=1\n");
    for edit_to in ["MTU = 1300", "MTU = none"] {
        let text = file.read();
        let mtu = text.lines().find(|line| line.starts_with("MTU")).unwrap();
        edit(&file, mtu, edit_to);
        reload(&file);
        let began = told();
        let time = began.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{began}"));
        assert!(time.trim_end().parse::<u64>().unwrap() > 0, "{began}");
        assert_eq!(told(), "READY=1\n", "also after a failure");
    }
    down(&file);
}

#[test]
fn hooks_of_the_way_down_are_those_of_the_new_file_and_no_hook_runs_meanwhile() {
    let marks = tempfile::tempdir().unwrap();
    let hook = |moment: &str, name: &str| format!("{moment} = touch {}/{name}\n", marks.path().display());
    let old = ["PreUp", "PostUp", "PreDown", "PostDown"].map(|moment| hook(moment, &format!("{moment}.old"))).concat();
    let new = ["PreUp", "PostUp", "PreDown", "PostDown"].map(|moment| hook(moment, &format!("{moment}.new"))).concat();
    let file = ClientFile::new(INNER, &old);
    let _daemon = up(&file, &["--allow-hooks"]);
    let names = || {
        let entries = fs::read_dir(marks.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    edit(&file, &old, &new);
    let said = reload(&file).success();
    assert!(said.contains("PreDown") && said.contains("PostDown"), "{said}");
    assert_eq!(names(), ["PostUp.old", "PreUp.old"]);
    down(&file);
    assert_eq!(names(), ["PostDown.new", "PostUp.old", "PreDown.new", "PreUp.old"]);
}

#[test]
fn hooks_of_the_way_down_may_come_and_go_with_a_reload() {
    let marks = tempfile::tempdir().unwrap();
    let hook = |moment: &str| format!("{moment} = touch {}/{moment}\n", marks.path().display());
    let with_hooks = format!("MTU = 1400\n{}{}", hook("PreDown"), hook("PostDown"));
    let file = ClientFile::new(INNER, "");
    let _daemon = up(&file, &["--allow-hooks"]);
    // What a dead tunnel's hooks are known by.
    let journal = file.client.tunnels().join(format!("{}.journal", file.interface));
    let is_due = || fs::read_to_string(&journal).unwrap_or_default().matches("_down").count();
    for _ in 0..2 {
        edit(&file, "MTU = 1400\n", &with_hooks);
        reload(&file).success();
        assert_eq!(is_due(), 2);
        edit(&file, &with_hooks, "MTU = 1400\n");
        reload(&file).success();
        assert_eq!(is_due(), 0);
    }
    edit(&file, "MTU = 1400\n", &with_hooks);
    reload(&file).success();
    down(&file);
    assert!(["PreDown", "PostDown"].iter().all(|moment| marks.path().join(moment).exists()));
}

#[test]
fn a_hook_is_not_waited_for_by_the_tunnel_that_waits_for_it() {
    let marks = tempfile::tempdir().unwrap();
    let program = maybetun_program().canonicalize().unwrap();
    let hook = format!("PostUp = {} reload %i 2>{}/said || true\n", program.display(), marks.path().display());
    let file = ClientFile::new(INNER, &hook);
    let _daemon = up(&file, &["--allow-hooks"]);
    let said = || fs::read_to_string(marks.path().join("said")).unwrap_or_default();
    eventually("it is refused", Duration::from_secs(20), || said().contains("hook of"));
    down(&file);
}

#[test]
fn what_cannot_change_is_a_warning_and_the_rest_changes() {
    let file = ClientFile::new(INNER, "");
    let _daemon = up(&file, &[]);
    edit(&file, "MTU = 1400", "MTU = 1300\nMaxPaddingRate = 7\nHandshakesPerSecond = 7");
    let reloaded = reload(&file);
    assert!(reloaded.stderr.contains("MaxPaddingRate, HandshakesPerSecond cannot be changed"), "{reloaded:#?}");
    assert!(reloaded.success().contains("MTU"));
    down(&file);
}

#[test]
fn a_state_that_is_saved_is_that_of_the_file_as_it_was_reloaded() {
    let file = ClientFile::new(INNER, "");
    let _daemon = up(&file, &[]);
    edit(&file, "MTU = 1400", "MTU = 1300\nSaveConfig = true");
    let key = add_peer(&file, "AllowedIPs = 198.18.0.0/24\n");
    reload(&file).success();
    file.client.run(&format!("wg set {} peer {key} persistent-keepalive 33", file.interface)).success();
    down(&file);
    let saved = file.read();
    for part in ["SaveConfig = true", "MTU = 1300", &key, "198.18.0.0/24", "PersistentKeepalive = 33"] {
        assert!(saved.contains(part), "{part} is not in\n{saved}");
    }
    let own = saved.lines().find(|line| line.starts_with("PrivateKey")).unwrap();
    assert!(own.len() > 50, "{own}");
}

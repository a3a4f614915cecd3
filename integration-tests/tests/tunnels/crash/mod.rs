//! What a dead process leaves is removed by the next `down`, or by the next `up`, and nothing else is.

mod kills;
mod namespaces;
mod neighbours;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use maybetun_integration_tests::{ClientFile, Daemon, Finished, Host, eventually, maybetun_program, run};
use nix::sys::signal::Signal;
use tempfile::TempDir;

const EVERYTHING: &str = "0.0.0.0/0, ::/0";

/// Where `wg` looks for sockets.
const SHARED: &str = "/var/run/wireguard";

/// A `resolvconf` that keeps what it is told in a file for each record, and in `resolv.conf` what that makes.
const RESOLVCONF: &str = r#"#!/bin/sh
cd "$(dirname "$0")/dns" || exit 1
case $1 in
    -a) cat > "$2" ;;
    -d) rm -f "$2" ;;
esac
cat /dev/null $(ls | grep -v resolv.conf) > resolv.conf
"#;

/// Programs that stand in front of the path.
struct Programs(TempDir);

impl Programs {
    fn new() -> Self {
        let programs = Self(tempfile::tempdir().unwrap());
        fs::create_dir(programs.0.path().join("dns")).unwrap();
        programs.add("resolvconf", RESOLVCONF);
        run(std::process::Command::new(programs.0.path().join("resolvconf")).arg("-u"), "").success();
        programs
    }

    fn directory(&self) -> &Path {
        self.0.path()
    }

    fn add(&self, name: &str, script: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Returns a command that runs `maybetun` on `host`, which finds these programs first. `line` is split at spaces.
    fn maybetun(&self, host: &Host, line: &str) -> std::process::Command {
        let mut command = host.command(maybetun_program());
        command.env("PATH", format!("{}:{}", self.0.path().display(), std::env::var("PATH").unwrap()));
        command.args(line.split_whitespace());
        command
    }
}

/// Runs `maybetun` on `host`. `line` is split at spaces.
fn maybetun(host: &Host, line: &str) -> Finished {
    run(host.command(maybetun_program()).args(line.split_whitespace()), "")
}

fn rules(host: &Host) -> [String; 2] {
    ["-4 rule", "-6 rule"].map(|arguments| host.ip(arguments))
}

/// Everything of a host that a tunnel called `interface` might leave something in.
fn snapshot(host: &Host, interface: &str, programs: &Programs) -> Vec<String> {
    let mut all = Vec::from(rules(host));
    for arguments in ["-4 route show table all", "-6 route show table all", "-o link"] {
        all.push(host.ip(arguments));
    }
    all.push(host.run("nft list ruleset").success());
    all.push(format!("{:?}", host.processes()));
    all.push(format!("{:?}", host.run("sysctl net.ipv4.conf.all.src_valid_mark").success()));
    let mut files = Vec::new();
    for directory in [programs.directory().join("dns"), host.tunnels()] {
        for file in fs::read_dir(directory).into_iter().flatten().flatten() {
            let text = if file.file_type().unwrap().is_file() {
                fs::read_to_string(file.path()).unwrap()
            } else {
                String::new()
            };
            files.push(format!("{}: {text}", file.path().display()));
        }
    }
    let shared = fs::read_dir(SHARED).into_iter().flatten().flatten().map(|file| file.path());
    let is_its =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().contains(interface) || *path == host.tunnels();
    files.extend(shared.filter(is_its).map(|path| path.display().to_string()));
    files.sort();
    all.push(files.join("\n"));
    all
}

/// Kills the process, and lets nothing be tidied up but its interface, which goes by itself.
fn kill(mut daemon: Daemon, host: &Host) {
    let interface = daemon.interface().to_owned();
    daemon.signal(Signal::SIGKILL);
    daemon.wait_for_exit();
    eventually("the interface is gone", Duration::from_secs(20), || !host.ip("-o link").contains(&interface));
    // What it left is what the test is about.
    std::mem::forget(daemon);
}

fn up(file: &ClientFile, more: &[&str]) -> Daemon {
    let mut command = file.client.command(maybetun_program());
    let daemon = Daemon::spawn(command.arg("up").arg(file.path()).args(more), &file.interface);
    eventually("it is up", Duration::from_secs(20), || daemon.log().contains(&format!("{} is up", file.interface)));
    file.assert_up();
    daemon
}

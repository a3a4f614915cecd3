//! The systemd unit and its drop-in: what systemd says of them, and what a tunnel under them may write.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use maybetun_integration_tests::{maybetun_program, run};

const UNIT: &str = "maybetun@.service";
const DROP_IN: &str = "save-config.conf";

/// What `maybetun up NAME` is in the unit.
const INSTALLED: &str = "/usr/bin/maybetun";

fn packaging(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("packaging").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Returns the settings of a unit's file, without comments and sections.
fn settings(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).collect()
}

/// Returns the directories that a unit's file lets its process write to, beyond those that systemd makes for it.
fn writable(text: &str) -> Vec<PathBuf> {
    let settings = settings(text);
    let paths = settings.iter().filter(|(key, _)| *key == "ReadWritePaths").flat_map(|(_, paths)| paths.split(' '));
    paths.map(|path| path.trim_start_matches(['-', '+']).into()).collect()
}

/// Tells whether one of the directories holds `path`.
fn covers(directories: &[PathBuf], path: &str) -> bool {
    directories.iter().any(|directory| Path::new(path).starts_with(directory))
}

/// Installs the unit and its drop-in for a tunnel called `name`, has systemd look at them, and returns what it says.
fn verified(name: &str) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let unit = directory.path().join(UNIT.replace('@', &format!("@{name}")));
    let program = maybetun_program();
    fs::write(&unit, packaging(UNIT).replace(INSTALLED, &program.display().to_string())).expect("the unit is written");
    let drop_ins = directory.path().join(format!("maybetun@{name}.service.d"));
    fs::create_dir(&drop_ins).expect("the directory of drop-ins is made");
    fs::write(drop_ins.join(DROP_IN), packaging(DROP_IN)).expect("the drop-in is written");
    let mut command = Command::new("systemd-analyze");
    // The manual pages are written by `maybetun man`, where that is wanted.
    command.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&unit);
    let finished = run(&mut command, "");
    assert!(finished.is_success(), "{finished:#?}");
    finished.stdout + &finished.stderr
}

#[test]
fn systemd_understands_every_line() {
    for name in ["wg0", "wg-0"] {
        assert_eq!(verified(name), "", "{name}");
    }
}

#[test]
fn a_name_with_a_dash_is_taken_as_it_stands() {
    let unit = packaging(UNIT);
    let settings = settings(&unit);
    assert!(settings.contains(&("ExecStart", &format!("{INSTALLED} up %i"))), "{settings:?}");
    // In %I systemd makes a slash of each dash.
    assert!(settings.iter().all(|(_, value)| !value.contains("%I")), "{settings:?}");
}

#[test]
fn a_reload_waits_for_the_answer_and_the_unit_may_reach_whoever_gives_it() {
    let unit = packaging(UNIT);
    let settings = settings(&unit);
    assert!(settings.contains(&("ExecReload", &format!("{INSTALLED} reload %i"))), "{settings:?}");
    // The tunnel tells of its own start and reload; the socket that is asked is of the one family, in the unit's directory.
    assert!(settings.contains(&("Type", "notify")), "{settings:?}");
    assert!(settings.contains(&("RuntimeDirectory", "wireguard")), "{settings:?}");
    let families = settings.iter().find(|(key, _)| *key == "RestrictAddressFamilies").unwrap().1;
    assert!(families.split(' ').any(|family| family == "AF_UNIX"), "{families}");
}

#[test]
fn a_tunnel_writes_nothing_that_root_runs_but_with_the_drop_in() {
    let (unit, drop_in) = (packaging(UNIT), packaging(DROP_IN));
    assert!(settings(&unit).contains(&("ProtectSystem", "strict")));
    assert!(settings(&unit).contains(&("ProtectKernelTunables", "yes")));
    for path in ["/etc/wireguard/wg0.conf", "/etc/systemd/system", "/proc/sys/kernel/core_pattern"] {
        assert!(!covers(&writable(&unit), path), "{path}");
    }
    assert!(covers(&writable(&unit), "/proc/sys/net/ipv4/conf/all/src_valid_mark"));
    assert_eq!(writable(&drop_in), [Path::new("/etc/wireguard")]);
    assert!(settings(&drop_in).iter().all(|(key, _)| *key == "ReadWritePaths"));
}

//! A process that is killed at any moment leaves nothing that one `down`, or `up` and `down`, does not remove.

use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use maybetun_integration_tests::{ClientFile, Daemon, eventually, run};
use nix::sys::signal::Signal;

use super::{EVERYTHING, Programs, kill, maybetun, rules, snapshot, up};

/// The guard of waiting, for a test that hangs.
const PATIENCE: Duration = Duration::from_secs(20);

const ALL: &str = "KillSwitch = on\nDNS = 10.9.0.2, example.org\n";

/// Numbers that look drawn (splitmix64), from a seed that is told when a test fails.
struct Drawn(u64);

impl Drawn {
    fn up_to(&mut self, limit: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^= number >> 31;
        limit.mul_f64(number as f64 / u64::MAX as f64)
    }
}

/// A tunnel with all that there is to leave, and what its host is like without it.
struct Victim {
    file: ClientFile,
    programs: Programs,
    before: Vec<String>,
}

impl Victim {
    fn new() -> Self {
        let (file, programs) = (ClientFile::new(EVERYTHING, ALL), Programs::new());
        // One that ends well leaves the setting of the reverse-path filter, on which others may have come to rely.
        file.client.run("sysctl -q -w net.ipv4.conf.all.src_valid_mark=1").success();
        eventually("addresses are settled", PATIENCE, || file.client.ip("-6 addr show tentative").is_empty());
        let before = snapshot(&file.client, &file.interface, &programs);
        Self { file, programs, before }
    }

    fn start(&self) -> Daemon {
        let line = format!("up {}", self.file.path().display());
        Daemon::spawn(&mut self.programs.maybetun(&self.file.client, &line), &self.file.interface)
    }

    /// Starts it and waits until it says that it is up.
    fn bring_up(&self) -> Daemon {
        let daemon = self.start();
        eventually("it is up", PATIENCE, || daemon.log().contains(&format!("{} is up", self.file.interface)));
        daemon
    }

    fn down_command(&self) -> std::process::Command {
        self.programs.maybetun(&self.file.client, &format!("down {}", self.file.interface))
    }

    /// Runs `down` once, and makes sure that nothing is left.
    #[track_caller]
    fn assert_removed(&self, told: &str) {
        let down = run(&mut self.down_command(), "");
        // Nothing may have been there yet, or no more.
        assert!(matches!(down.code, Some(0 | 6)), "{told}: {down:#?}");
        self.assert_as_before(told);
    }

    #[track_caller]
    fn assert_as_before(&self, told: &str) {
        // A program that a dead process had started may run still; what it does then counts.
        eventually("every process has ended", PATIENCE, || self.file.client.processes().is_empty());
        let after = snapshot(&self.file.client, &self.file.interface, &self.programs);
        for (before, after) in self.before.iter().zip(&after) {
            assert_eq!(after, before, "{told}");
        }
    }
}

fn kill_now(mut daemon: Daemon) {
    daemon.signal(Signal::SIGKILL);
    daemon.wait_for_exit();
    std::mem::forget(daemon);
}

/// `KILLS` kills (25), from `SEED` (the time).
#[test]
fn after_a_kill_at_any_moment_one_down_leaves_the_system_as_it_was() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let seed = number("SEED").unwrap_or(since.as_nanos() as u64);
    let mut drawn = Drawn(seed);
    let victim = Victim::new();
    let start = Instant::now();
    let daemon = victim.bring_up();
    let (course, start) = (start.elapsed(), Instant::now());
    victim.assert_removed("a tunnel that lives");
    let stopping = start.elapsed();
    drop(daemon);
    for kill in 0..number("KILLS").unwrap_or(25) {
        let told = format!("SEED={seed} kill {kill}");
        let daemon = if kill % 4 == 3 {
            // While it is stopping.
            let daemon = victim.bring_up();
            daemon.signal(Signal::SIGTERM);
            thread::sleep(drawn.up_to(stopping));
            daemon
        } else {
            let daemon = victim.start();
            thread::sleep(drawn.up_to(course.mul_f64(1.2)));
            daemon
        };
        kill_now(daemon);
        if kill % 4 == 1 {
            // The next one takes over, whose end is a stop like any other.
            let daemon = victim.bring_up();
            assert!(!victim.file.client.run("nft list ruleset").success().is_empty(), "{told}");
            daemon.terminate();
            victim.assert_as_before(&told);
            continue;
        }
        if kill % 4 == 2 {
            // The one that removes what was left is killed too.
            let mut down = victim.down_command();
            let mut down = down.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            thread::sleep(drawn.up_to(stopping));
            down.kill().unwrap();
            down.wait().unwrap();
        }
        victim.assert_removed(&told);
    }
}

/// A program of the system's that counts how often it and its like are called, and kills its caller at one call. What it was
/// called for it does then, when the caller has been dead for a while, or has done before.
fn killer(real: &str, when: &str) -> String {
    format!(
        r#"#!/bin/sh
directory=$(dirname "$0")
call=1
until mkdir "$directory/calls/$call" 2>/dev/null; do call=$((call + 1)); done
if [ "$call" = "$(cat "$directory/deadly")" ]; then deadly={when}; fi
if [ "$deadly" = late ]; then kill -9 $PPID; sleep 0.2; fi
{real} "$@"
code=$?
if [ "$deadly" = after ]; then kill -9 $PPID; fi
exit $code
"#
    )
}

#[test]
fn after_a_kill_between_any_two_programs_one_down_leaves_the_system_as_it_was() {
    let victim = Victim::new();
    let programs = &victim.programs;
    let nft = run(std::process::Command::new("sh").args(["-c", "command -v nft"]), "").success();
    let resolvconf = programs.directory().join("resolvconf-itself");
    fs::rename(programs.directory().join("resolvconf"), &resolvconf).unwrap();
    for when in ["late", "after"] {
        for deadly in 1.. {
            programs.add("nft", &killer(nft.trim(), when));
            programs.add("resolvconf", &killer(&resolvconf.display().to_string(), when));
            fs::write(programs.directory().join("deadly"), deadly.to_string()).unwrap();
            fs::remove_dir_all(programs.directory().join("calls")).ok();
            fs::create_dir(programs.directory().join("calls")).unwrap();
            let mut daemon = victim.start();
            let is_up = format!("{} is up", victim.file.interface);
            eventually("it is up or dead", PATIENCE, || {
                daemon.exit_status().is_some() || daemon.log().contains(&is_up)
            });
            if daemon.exit_status().is_none() {
                assert!(deadly > 3, "it is up after {deadly} programs: {}", daemon.log());
                // The call may be one for its end.
                daemon.signal(Signal::SIGTERM);
            }
            let survived = daemon.wait_for_exit().success();
            std::mem::forget(daemon);
            // What is removed is removed by the system's programs.
            fs::remove_file(programs.directory().join("nft")).unwrap();
            fs::copy(&resolvconf, programs.directory().join("resolvconf")).unwrap();
            let told = format!("killed {when} in call {deadly}");
            if survived {
                victim.assert_as_before(&told);
                break;
            }
            victim.assert_removed(&told);
        }
    }
}

#[test]
fn what_cannot_be_removed_is_said_and_tried_again() {
    let victim = Victim::new();
    kill(victim.bring_up(), &victim.file.client);
    let resolvconf = victim.programs.directory().join("resolvconf");
    let works = fs::read_to_string(&resolvconf).unwrap();
    victim.programs.add("resolvconf", "#!/bin/sh\nexit 3\n");
    let down = run(&mut victim.down_command(), "");
    assert_eq!(down.code, Some(1), "{down:#?}");
    assert!(down.stderr.contains("resolvconf -d") && down.stderr.contains("tries again"), "{down:#?}");
    // The rest is gone, and the host is not locked in for it.
    assert_eq!(rules(&victim.file.client), victim.before[..2]);
    assert_eq!(victim.file.client.run("nft list ruleset").success(), "");

    // Those that follow keep it in mind, once.
    victim.programs.add("resolvconf", "#!/bin/sh\n[ $1 = -a ] || exit 3\n");
    let journal = victim.file.client.tunnels().join(format!("{}.journal", victim.file.interface));
    for _ in 0..3 {
        kill(victim.bring_up(), &victim.file.client);
        let written = fs::read_to_string(&journal).unwrap();
        assert_eq!(written.matches("dns").count(), 1, "that of before is its own too: {written}");
    }
    victim.programs.add("resolvconf", &works);
    let down = run(&mut victim.down_command(), "").success();
    assert!(down.contains("had died"), "{down}");
    victim.assert_as_before("with a resolvconf that works");
}

#[test]
fn a_dead_tunnel_is_told_from_one_that_is_not_there() {
    let file = ClientFile::new(EVERYTHING, "");
    let line = |command: &str| format!("{command} {}", file.interface);
    kill(up(&file, &[]), &file.client);
    for command in [line("status"), line("defense") + " off"] {
        let told = maybetun(&file.client, &command);
        assert_eq!(told.code, Some(6), "{told:#?}");
        assert!(told.stderr.contains("has died") && told.stderr.contains(&line("maybetun down")), "{told:#?}");
    }
    let all = maybetun(&file.client, "status");
    assert!(all.code == Some(0) && all.stderr.contains(&line("maybetun down")), "{all:#?}");
    let down = maybetun(&file.client, &line("down")).success();
    assert_eq!(down.lines().count(), 1, "{down}");
    assert!(down.contains("had died") && down.contains("removed"), "{down}");
    file.assert_gone();
    assert!(!file.client.tunnels().exists());
    let told = maybetun(&file.client, &line("status"));
    assert!(told.code == Some(6) && !told.stderr.contains("died"), "{told:#?}");
    assert_eq!(maybetun(&file.client, &line("down")).code, Some(6));
}

#[test]
fn tunnels_that_die_one_after_the_other_do_not_pile_up() {
    let file = ClientFile::new(EVERYTHING, "");
    let mut first = None;
    for _ in 0..3 {
        let daemon = up(&file, &[]);
        let now = (rules(&file.client), file.client.run("nft list ruleset").success().lines().count());
        assert_eq!(first.get_or_insert_with(|| now.clone()), &now);
        kill(daemon, &file.client);
    }
    maybetun(&file.client, &format!("down {}", file.interface)).success();
    file.assert_gone();
}

#[test]
fn hooks_of_a_dead_tunnel_are_not_run_and_said_to_be_due() {
    let marks = tempfile::tempdir().unwrap();
    let mark = marks.path().join("ran");
    let file = ClientFile::new(EVERYTHING, &format!("PostDown = touch {}\n", mark.display()));
    kill(up(&file, &["--allow-hooks"]), &file.client);
    let down = maybetun(&file.client, &format!("down {}", file.interface));
    assert!(down.is_success() && down.stderr.contains("PostDown"), "{down:#?}");
    assert!(!mark.exists());
    file.assert_gone();
    // Where none were allowed, none are due.
    kill(up(&file, &[]), &file.client);
    let down = maybetun(&file.client, &format!("down {}", file.interface));
    assert!(down.is_success() && !down.stderr.contains("PostDown"), "{down:#?}");
}

#[test]
fn a_journal_that_cannot_be_read_is_not_relied_on_and_what_is_left_goes_by_its_name() {
    let file = ClientFile::new(EVERYTHING, "");
    let theirs =
        ["rule add pref 7 not fwmark 0xca6c lookup 51820", "rule add pref 8 lookup main suppress_prefixlength 0"];
    theirs.iter().for_each(|rule| drop(file.client.ip(rule)));
    let before = rules(&file.client);
    for text in ["", "{\"version\":2}", "{\"version\":1,\"boot\":\"\",\"steps\":[{\"rule\":{\"family\":\"v4\"}}]}"] {
        // Rules of a dead tunnel are below these, so that there is a priority for them.
        theirs.iter().for_each(|rule| drop(file.client.ip(&rule.replace("add", "del"))));
        let daemon = up(&file, &[]);
        theirs.iter().for_each(|rule| drop(file.client.ip(rule)));
        kill(daemon, &file.client);
        fs::write(file.client.tunnels().join(format!("{}.journal", file.interface)), text).unwrap();
        let down = maybetun(&file.client, &format!("down {}", file.interface));
        assert!(down.is_success() && down.stderr.contains(".journal"), "{down:#?}");
        assert_eq!(rules(&file.client), before);
        assert_eq!(file.client.run("nft list ruleset").success(), "");
    }
}

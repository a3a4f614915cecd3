//! Hosts: network namespaces, and what runs inside them.

use std::error::Error as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use maybetun_lab::namespace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::{Finished, run};
use crate::names;

/// How long a host is pinged until it answers.
const PING_PATIENCE: Duration = Duration::from_secs(30);

/// A host of its own: a network namespace with its loopback up. Dropping it kills what still runs in it and deletes it.
#[derive(Debug)]
pub struct Host {
    namespace: String,
}

/// A thread at work inside a host.
#[derive(Debug)]
pub struct Background<T>(JoinHandle<T>);

impl<T> Background<T> {
    /// Waits for the thread's result; panics if it did.
    #[track_caller]
    pub fn finish(self) -> T {
        self.0.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }

    /// Waits until the thread has ended, however it did.
    pub(crate) fn wait(self) {
        self.0.join().ok();
    }

    /// Tells whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }
}

impl Host {
    /// Makes a host.
    #[track_caller]
    pub fn new() -> Self {
        let host = Self { namespace: names::namespace_name() };
        run(Command::new("ip").args(["netns", "add", &host.namespace]), "").success();
        host.ip("link set lo up");
        host
    }

    /// Returns the name of the namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the directory in which the tunnels of this host have their files, beside their sockets. It is there while there
    /// are any.
    #[track_caller]
    pub fn tunnels(&self) -> PathBuf {
        let namespace = format!("/run/netns/{}", self.namespace);
        let metadata = fs::metadata(&namespace).unwrap_or_else(|error| panic!("cannot look at {namespace}: {error}"));
        format!("/var/run/wireguard/netns-{}", metadata.ino()).into()
    }

    /// Returns a command that runs `program` on this host. The process started is `program` itself, under the same id.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        // Who runs the tests in the background, or by nohup, has them ignore signals, and all that they start.
        command.args(["netns", "exec", &self.namespace, "env", "--default-signal"]).arg(program);
        command
    }

    /// Runs a program to its end on this host. `line` is split at spaces.
    #[track_caller]
    pub fn run(&self, line: &str) -> Finished {
        self.run_with_input(line, "")
    }

    /// Runs a program to its end on this host, with `input` as its standard input. `line` is split at spaces.
    #[track_caller]
    pub fn run_with_input(&self, line: &str, input: &str) -> Finished {
        let mut words = line.split_whitespace();
        let program = words.next().expect("a program to run");
        run(self.command(program).args(words), input)
    }

    /// Runs `ip` on this host and returns what it printed; panics if it fails.
    #[track_caller]
    pub fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip").args(["-n", &self.namespace]).args(arguments.split_whitespace()), "").success()
    }

    /// Runs `work` in a thread inside this host, and waits for it.
    #[track_caller]
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let result = thread::scope(|scope| {
            let thread = scope.spawn(|| {
                enter(&self.namespace);
                work()
            });
            thread.join()
        });
        result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
    }

    /// Starts `work` in a thread inside this host.
    pub fn spawn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Background<T> {
        let namespace = self.namespace.clone();
        Background(thread::spawn(move || {
            enter(&namespace);
            work()
        }))
    }

    /// Pings `address` until one reply has come; panics when none does.
    #[track_caller]
    pub fn reaches(&self, address: &str) {
        // An error ends a ping, and the first packets may meet one: of a host that does not know its neighbor yet.
        let ping = format!("ping -n -q -c 1 -w {} -i 0.2 {address}", PING_PATIENCE.as_secs());
        let start = Instant::now();
        loop {
            let finished = self.run(&ping);
            if finished.is_success() || start.elapsed() >= PING_PATIENCE {
                finished.success();
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Pings `address` once with `payload` bytes that must not be fragmented; panics when no reply comes.
    #[track_caller]
    pub fn ping_sized(&self, address: &str, payload: usize) {
        self.run(&format!("ping -n -q -c 1 -W 10 -M do -s {payload} {address}")).success();
    }

    /// Pings `address` `count` times and returns how many replies came, within a second of the last request.
    #[track_caller]
    pub fn count_replies(&self, address: &str, count: usize) -> usize {
        let finished = self.run(&format!("ping -n -q -c {count} -i 0.1 -W 1 {address}"));
        let replies = finished.stdout.split(", ").find_map(|part| part.strip_suffix(" received"));
        replies.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("ping did not report: {finished:#?}"))
    }

    /// Returns the ids of the processes that run on this host.
    pub fn processes(&self) -> Vec<i32> {
        let finished = run(Command::new("ip").args(["netns", "pids", &self.namespace]), "");
        finished.stdout.lines().filter_map(|line| line.trim().parse().ok()).collect()
    }
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for id in self.processes() {
            kill(Pid::from_raw(id), Signal::SIGKILL).ok();
        }
        run(Command::new("ip").args(["netns", "delete", &self.namespace]), "");
    }
}

/// Moves the current thread into the namespace.
fn enter(namespace: &str) {
    let path = Path::new("/run/netns").join(namespace);
    namespace::enter(&path).unwrap_or_else(|error| panic!("{error}: {:?}", error.source()));
}

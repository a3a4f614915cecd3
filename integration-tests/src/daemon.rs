//! Running implementations of WireGuard: each a process with a TUN device and a UAPI socket.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::command::Finished;
use crate::host::Host;
use crate::tunnel::Config;
use crate::wait::eventually;

/// A program that speaks WireGuard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Implementation {
    /// The one under test.
    Maybetun,
    /// The same, told to move each packet by itself, as where the kernel has no offload.
    MaybetunSingly,
    /// The same, with four queues, as on a machine of eight cores.
    MaybetunQueued,
    /// wireguard-go, as Debian ships it.
    WireguardGo,
    /// Mullvad's gotatun.
    Gotatun,
}

impl Implementation {
    /// Returns the program's path; panics when it is not there.
    #[track_caller]
    fn program(self) -> PathBuf {
        match self {
            Self::Maybetun | Self::MaybetunSingly | Self::MaybetunQueued => {
                from_environment("MAYBETUN_BIN", "target/release/maybetun")
            }
            Self::WireguardGo => env::var_os("WIREGUARD_GO_BIN").unwrap_or_else(|| "wireguard-go".into()).into(),
            Self::Gotatun => from_environment("GOTATUN_BIN", "target/peers/bin/gotatun"),
        }
    }
}

/// Returns the path of the `maybetun` under test; panics when it is not there.
#[track_caller]
pub fn maybetun_program() -> PathBuf {
    Implementation::Maybetun.program()
}

#[track_caller]
fn from_environment(variable: &str, default: &str) -> PathBuf {
    let in_workspace = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(default);
    let path = env::var_os(variable).map_or_else(in_workspace, PathBuf::from);
    assert!(path.is_file(), "{} is missing: build it, or name another in {variable}", path.display());
    path
}

/// A running implementation. Dropping it kills the process; if the test is failing, what it logged is shown.
#[derive(Debug)]
pub struct Daemon {
    interface: String,
    child: Child,
    log: File,
}

impl Daemon {
    /// Starts `implementation` on `host` with a device called `interface`, and waits until its UAPI socket answers.
    #[track_caller]
    pub fn start(implementation: Implementation, host: &Host, interface: &str) -> Self {
        Self::start_logging(implementation, host, interface, None)
    }

    /// Does the same; a maybetun logs what the filter `log` says.
    #[track_caller]
    pub fn start_logging(implementation: Implementation, host: &Host, interface: &str, log: Option<&str>) -> Self {
        let mut command = host.command(implementation.program());
        command.args(["-f", interface]).env("WG_SUDO", "1").env("RUST_BACKTRACE", "1");
        if let Some(filter) = log {
            command.env("MAYBETUN_LOG", filter);
        }
        if implementation == Implementation::MaybetunSingly {
            command.env("MAYBETUN_OFFLOAD", "off");
        }
        if implementation == Implementation::MaybetunQueued {
            command.env("MAYBETUN_QUEUES", "4");
        }
        let mut daemon = Self::spawn(&mut command, interface);
        eventually(&format!("the UAPI socket of {interface} answers"), Duration::from_secs(20), || {
            if let Some(status) = daemon.exit_status() {
                panic!("{implementation:?} ended with {status}:\n{}", daemon.log());
            }
            daemon.answers_uapi()
        });
        daemon
    }

    /// Starts `command`, which brings up a device called `interface`, without waiting for it.
    #[track_caller]
    pub fn spawn(command: &mut std::process::Command, interface: &str) -> Self {
        let log = tempfile::tempfile().expect("a temporary file for the log");
        let streams = [log.try_clone(), log.try_clone()].map(|clone| Stdio::from(clone.expect("a second descriptor")));
        let [stdout, stderr] = streams;
        let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
        Self { interface: interface.to_owned(), child, log }
    }

    /// Returns the name of the device.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the path of the UAPI socket.
    pub fn socket(&self) -> PathBuf {
        format!("/var/run/wireguard/{}.sock", self.interface).into()
    }

    /// Tells whether something accepts connections on the UAPI socket.
    pub fn answers_uapi(&self) -> bool {
        UnixStream::connect(self.socket()).is_ok()
    }

    /// Replaces the device's configuration by `wg setconf`.
    #[track_caller]
    pub fn configure(&self, host: &Host, config: &Config) {
        self.wg_with_input(host, "setconf", "/dev/stdin", &config.to_string()).success();
    }

    /// Runs `wg COMMAND INTERFACE ARGUMENTS` on `host`.
    #[track_caller]
    pub fn wg(&self, host: &Host, command: &str, arguments: &str) -> Finished {
        self.wg_with_input(host, command, arguments, "")
    }

    /// Runs `wg COMMAND INTERFACE ARGUMENTS` on `host`, with `input` as its standard input.
    #[track_caller]
    pub fn wg_with_input(&self, host: &Host, command: &str, arguments: &str, input: &str) -> Finished {
        host.run_with_input(&format!("wg {command} {} {arguments}", self.interface), input)
    }

    /// Returns how the process ended, if it has.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the process is our child")
    }

    /// Waits until the process has ended by itself.
    #[track_caller]
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        eventually(&format!("the process of {} ends", self.interface), Duration::from_secs(20), || {
            self.exit_status().is_some()
        });
        self.exit_status().expect("the process has ended")
    }

    /// Sends the process a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        let id = Pid::from_raw(self.child.id().try_into().expect("a process id is positive"));
        kill(id, signal).unwrap_or_else(|error| panic!("cannot send {signal} to {id}: {error}"));
    }

    /// Asks the process to end, waits until it has, and panics unless it succeeded.
    #[track_caller]
    pub fn terminate(mut self) {
        self.signal(Signal::SIGTERM);
        let status = self.wait_for_exit();
        assert!(status.success(), "{status}:\n{}", self.log());
    }

    /// Returns what the process has written so far.
    pub fn log(&self) -> String {
        // The descriptor shares its offset with the process: read through one of our own.
        let text = fs::read(format!("/proc/self/fd/{}", self.log.as_raw_fd()));
        text.map_or_else(|error| format!("(no log: {error})"), |text| String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        crate::names::remove_files(&self.interface, false);
        if thread::panicking() {
            eprintln!("log of {}:", self.interface);
            // Of each packet there may be a line.
            self.log().lines().filter(|line| !line.contains(" TRACE ")).for_each(|line| eprintln!("{line}"));
        }
    }
}

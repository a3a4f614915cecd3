//! A tunnel's end as users have it: the program, in a process of its own.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use maybetun::keys::{PrivateKey, PublicKey};
use maybetun::settings::{DefenseChange, DefenseOptions, Role, Scope, Spelling};
use nix::sys::signal::{Signal, kill};
use nix::time::clock_getcpuclockid;
use serde_json::Value;

use super::{RealError, process};
use crate::defense::Defense;

/// How long a program has to end by itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often to look whether it has.
const POLL: Duration = Duration::from_millis(5);

/// The most bytes that are repeated of what a program says.
const MOST_SAID: u64 = 4_096;

/// The port of a tunnel's end.
pub(super) const PORT: u16 = 51_820;

/// How an end is set.
pub(super) struct Config<'a> {
    pub(super) key: &'a PrivateKey,
    pub(super) address: Ipv4Addr,
    pub(super) mtu: usize,
    pub(super) peer: PublicKey,
    /// What the peer has inside.
    pub(super) allowed_ips: &'a str,
    /// Where a client finds its relay.
    pub(super) endpoint: Option<SocketAddr>,
    pub(super) defense: &'a Defense,
}

impl Config<'_> {
    /// Returns the file, and what a file that it names has in it.
    fn text(&self, defense_file: &Path) -> (String, Option<String>) {
        let Self { key, address, mtu, peer, allowed_ips, endpoint, defense } = self;
        let role = if endpoint.is_some() { Role::Client } else { Role::Relay };
        let (lines, defense) = lines(defense, role, defense_file);
        let endpoint = endpoint.map_or_else(String::new, |endpoint| format!("Endpoint = {endpoint}\n"));
        let text = format!(
            "[Interface]\nPrivateKey = {}\nListenPort = {PORT}\nAddress = {address}/32\nMTU = {mtu}\n\n[Peer]\nPublicKey = \
             {}\nAllowedIPs = {allowed_ips}\n{endpoint}{lines}",
            key.to_base64(),
            peer.to_base64(),
        );
        (text, defense)
    }
}

/// Returns the lines that have an end run a defense, and what the file that they name has in it.
fn lines(defense: &Defense, role: Role, file: &Path) -> (String, Option<String>) {
    match defense {
        Defense::None => (String::new(), None),
        Defense::Named(defense) => (format!("Defense = {}\n", file.display()), Some(defense.to_toml())),
        Defense::Ephemeral(tier, strength) => (
            format!("Defense = ephemeral\nDefenseTier = {tier}\nDefenseStrength = {strength}\nNegotiation = require\n"),
            None,
        ),
        Defense::Masked(masked, _) => {
            let (mut text, found) = lines(masked, role, file);
            let change = defense.change(role).and_then(|change| match change {
                DefenseChange::On(settings) => Some(settings.options()),
                DefenseChange::Ephemeral(settings) => Some(DefenseOptions::from(&settings)),
                DefenseChange::Off | DefenseChange::Renew => None,
            });
            for setting in DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Masking) {
                if let Some(value) = change.as_ref().and_then(|options| setting.get(options)) {
                    text += &format!("{} = {}\n", setting.key, value.spell(Spelling::File));
                }
            }
            (text, found)
        }
    }
}

/// A program that runs a tunnel's end. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Daemon<'a> {
    program: &'a Path,
    interface: String,
    child: Child,
    log: File,
}

impl<'a> Daemon<'a> {
    /// Starts it in the network namespace of this thread, and for as long as this thread lives. Its files are in `directory`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(
        program: &'a Path,
        interface: String,
        config: &Config<'_>,
        directory: &Path,
    ) -> Result<Self, RealError> {
        let defense_file = directory.join(format!("{interface}.toml"));
        let (text, defense) = config.text(&defense_file);
        if let Some(defense) = defense {
            fs::write(defense_file, defense)?;
        }
        let file = directory.join(format!("{interface}.conf"));
        write_secret(&file, &text)?;
        let log = File::options()
            .read(true)
            .append(true)
            .create_new(true)
            .open(directory.join(format!("{interface}.log")))?;
        let mut command = process::tied(program);
        command.arg("up").arg(&file).env_remove("MAYBETUN_LOG").stderr(log.try_clone()?);
        let child = process::start(program, &mut command)?;
        Ok(Self { program, interface, child, log })
    }

    /// Returns what it says of its only peer; `None` before it says anything. It is asked in the network namespace of this thread.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn peer(&mut self) -> Result<Option<Value>, RealError> {
        self.check()?;
        let output = Command::new(self.program).args(["status", &self.interface, "--json"]).output();
        let said = serde_json::from_slice::<Value>(&output?.stdout);
        Ok(said.ok().map(|mut status| status["interfaces"][0]["peers"][0].take()).filter(|peer| !peer.is_null()))
    }

    /// Makes sure that it has not ended.
    ///
    /// # Errors
    /// When it has.
    pub(super) fn check(&mut self) -> Result<(), RealError> {
        if self.child.try_wait()?.is_some() { Err(self.ended()) } else { Ok(()) }
    }

    fn ended(&mut self) -> RealError {
        RealError::Ended { program: self.program.to_owned(), said: self.said() }
    }

    /// Returns what it has said so far.
    pub(super) fn said(&mut self) -> String {
        let mut said = String::new();
        let log = &mut self.log;
        let _ = log.rewind().and_then(|()| log.take(MOST_SAID).read_to_string(&mut said));
        said.trim().to_owned()
    }

    /// Returns the time of processors that it has had.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn cpu(&self) -> Result<Duration, RealError> {
        let clock = clock_getcpuclockid(process::id(&self.child)).map_err(io::Error::from)?;
        Ok(clock.now().map_err(io::Error::from)?.into())
    }

    /// Returns how often one of its threads has waited, and so been woken.
    ///
    /// # Errors
    /// When it has ended.
    pub(super) fn wakeups(&self) -> Result<u64, RealError> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()))?;
        let count = |status: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|count| count.trim().parse::<u64>().ok())
        };
        // A thread that has ended since has no file any more.
        let counts = threads.flatten().filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
        Ok(counts.filter_map(|status| count(&status)).sum())
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // By itself, it takes its files away.
        let deadline = Instant::now() + PATIENCE;
        let is_asked =
            matches!(self.child.try_wait(), Ok(None)) && kill(process::id(&self.child), Signal::SIGTERM).is_ok();
        while is_asked && Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file that nobody else may read.
fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    File::options().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

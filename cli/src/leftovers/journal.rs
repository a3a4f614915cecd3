//! The journal: what a tunnel has set up beside its interface, in a file that outlives the process.
//!
//! A step is written down *before* it is taken, so that one that is cut short is undone too; undoing what is not there is no
//! failure.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use crate::network::dns::Manager;
use crate::network::plan::{Rule, RuleKind};
use crate::network::{Network, firewall};
use crate::place;

/// What the file is called, behind the tunnel's name.
const SUFFIX: &str = ".journal";

/// What it is called while it is written.
const TEMPORARY: &str = ".journal.tmp";

/// Format of the file. One of another version is not read.
const VERSION: u32 = 1;

/// Largest file that is read, in bytes. A tunnel takes some seven steps, of a hundred bytes each.
const MAX_FILE: u64 = 64 * 1024;

/// Names the run of the kernel. What an earlier one had is gone.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// One thing that was set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Step {
    /// The PreUp hooks were begun: the PostDown hooks are due.
    PostDown,
    /// The PostUp hooks were begun: the PreDown hooks are due.
    PreDown,
    /// The host's DNS servers were set.
    Dns(Manager),
    /// The packet filter was added.
    Firewall,
    /// A routing rule was added.
    Rule(Rule),
}

impl Step {
    /// Undoes it for an interface that is gone. Its hooks are not run: whoever undoes it was not allowed to.
    ///
    /// # Errors
    /// When the kernel or a program refuses.
    pub(super) async fn undo(&self, interface: &str, network: &Network) -> anyhow::Result<()> {
        match self {
            Self::PostDown | Self::PreDown => Ok(()),
            Self::Dns(manager) => manager.unset_gone(interface).await,
            Self::Firewall => firewall::remove(interface).await,
            Self::Rule(rule) => network.delete_rule(rule).await,
        }
    }
}

/// What the file has in it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    boot: String,
    steps: Vec<Step>,
}

/// The steps of one tunnel, in order, and the file that they are in. Addresses and routes are not among them: they vanish with
/// the interface.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    name: String,
    steps: Vec<Step>,
}

impl Journal {
    /// Returns a journal with `steps`, which is not written.
    pub(super) fn with(directory: &Path, name: &str, steps: Vec<Step>) -> Self {
        Self { directory: directory.to_owned(), name: name.to_owned(), steps }
    }

    /// Writes steps down that are about to be taken, but for those that are there. The PreDown hooks stay the first to be due:
    /// all that is set up is there for them.
    ///
    /// # Errors
    /// When the file cannot be written. Then they must not be taken.
    pub(crate) fn record(&mut self, steps: impl IntoIterator<Item = Step>) -> anyhow::Result<()> {
        for step in steps {
            if !self.has(&step) {
                let is_before_hooks = self.steps.last() == Some(&Step::PreDown);
                self.steps.insert(self.steps.len() - usize::from(is_before_hooks), step);
            }
        }
        self.write()
    }

    /// Strikes a step out: it was not taken, or is undone.
    ///
    /// # Errors
    /// When the file cannot be written. Then it is undone once more at the end, which does no harm.
    pub(crate) fn strike(&mut self, step: &Step) -> anyhow::Result<()> {
        self.steps.retain(|other| other != step);
        self.write()
    }

    /// Tells whether a step is written down.
    pub(crate) fn has(&self, step: &Step) -> bool {
        self.steps.contains(step)
    }

    /// Returns the steps, in the order in which they were taken.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Ends the journal: `left` could not be undone. Without any the file goes.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn finish(&mut self, left: Vec<Step>) -> anyhow::Result<()> {
        self.steps = left;
        self.write()
    }

    fn write(&self) -> anyhow::Result<()> {
        let path = self.directory.join(format!("{}{SUFFIX}", self.name));
        let temporary = format!("{}{TEMPORARY}", self.name);
        let place = || format!("cannot write {}", path.display());
        if self.steps.is_empty() {
            for path in [&path, &self.directory.join(&temporary)] {
                match fs::remove_file(path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).with_context(place),
                    Ok(()) | Err(_) => {}
                }
            }
            return Ok(());
        }
        let contents = Contents { version: VERSION, boot: boot_id(), steps: self.steps.clone() };
        let text = serde_json::to_string(&contents).context("cannot write JSON")?;
        let options = File::options().write(true).create(true).truncate(true).mode(0o600).clone();
        place::open(&self.directory, &temporary, &options)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .and_then(|()| fs::rename(self.directory.join(&temporary), &path))
            .with_context(place)
    }
}

fn boot_id() -> String {
    // Without it every journal is of this run.
    fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

/// Returns the steps that the tunnel called `name` has written down; none if it has no journal, or one of before the system
/// was started.
///
/// # Errors
/// When others can write to the file, or it is not what [`Journal`] wrote.
pub(super) fn read(directory: &Path, name: &str) -> anyhow::Result<Vec<Step>> {
    let path = directory.join(format!("{name}{SUFFIX}"));
    let options = File::options().read(true).custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits()).clone();
    let file = match options.open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.with_context(|| format!("cannot read {}", path.display()))?,
    };
    contents(file, &path).with_context(|| format!("{} is not a journal that can be relied on", path.display()))
}

fn contents(file: File, path: &Path) -> anyhow::Result<Vec<Step>> {
    let metadata = file.metadata()?;
    place::is_ours(&metadata, path)?;
    anyhow::ensure!(metadata.is_file(), "expected a file");
    anyhow::ensure!(metadata.len() <= MAX_FILE, "expected at most {MAX_FILE} bytes, not {}", metadata.len());
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text)?;
    let version: Version = serde_json::from_str(&text)?;
    anyhow::ensure!(version.version == VERSION, "expected version {VERSION}, not {}", version.version);
    let Contents { boot, steps, .. } = serde_json::from_str(&text)?;
    Ok(if boot == boot_id() { steps } else { Vec::new() })
}

/// What every version has.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

/// What the tunnels of a namespace have written down of one thing.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    /// The rules of all of them.
    pub(crate) rules: Vec<Rule>,
    /// Whether a journal could not be read.
    pub(crate) is_unsure: bool,
}

impl Taken {
    /// Reads the journals of all tunnels of the namespace but the one called `name`.
    pub(crate) fn by_others(directory: &Path, name: &str) -> Self {
        let mut taken = Self::default();
        let Ok(entries) = fs::read_dir(directory) else { return taken };
        let files = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        for other in files.filter_map(|file| Some(file.strip_suffix(SUFFIX)?.to_owned())) {
            if other == name {
                continue;
            }
            match read(directory, &other) {
                Ok(steps) => taken.rules.extend(steps.iter().filter_map(|step| match step {
                    Step::Rule(rule) => Some(*rule),
                    Step::PostDown | Step::PreDown | Step::Dns(_) | Step::Firewall => None,
                })),
                Err(error) => {
                    tracing::debug!("{error:#}");
                    taken.is_unsure = true;
                }
            }
        }
        taken
    }

    /// Returns the routing tables that the rules lead to.
    pub(crate) fn tables(&self) -> impl Iterator<Item = u32> {
        self.rules.iter().filter_map(|rule| match rule.kind {
            RuleKind::Table(table) => Some(table),
            RuleKind::MainWithoutDefault | RuleKind::Marked => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::plan::Family;
    use std::os::unix::fs::PermissionsExt as _;

    fn rule(priority: u32) -> Step {
        Step::Rule(Rule { family: Family::V6, priority, mark: 51_820, kind: RuleKind::Table(51_820) })
    }

    fn journal(directory: &Path, name: &str) -> Journal {
        Journal::with(directory, name, Vec::new())
    }

    fn own(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("netns-7")
    }

    #[test]
    fn what_is_written_down_is_read_in_order_until_it_is_undone() {
        let directory = tempfile::tempdir().unwrap();
        let own = own(&directory);
        let mut journal = journal(&own, "wg.0");
        let steps =
            [rule(5), Step::Dns(Manager::Resolvconf { prefix: "tun.".to_owned() }), Step::Firewall, Step::PreDown];
        for step in steps.clone() {
            journal.record([step]).unwrap();
        }
        assert_eq!(read(&own, "wg.0").unwrap(), steps);
        assert_eq!(fs::metadata(own.join("wg.0.journal")).unwrap().permissions().mode() & 0o777, 0o600);
        journal.strike(&Step::PreDown).unwrap();
        assert_eq!(read(&own, "wg.0").unwrap(), steps[..3]);
        journal.finish(vec![Step::Firewall]).unwrap();
        assert_eq!(read(&own, "wg.0").unwrap(), [Step::Firewall]);
        fs::write(own.join("wg.0.journal.tmp"), "cut short").unwrap();
        journal.finish(Vec::new()).unwrap();
        assert_eq!(fs::read_dir(&own).unwrap().count(), 0);
        assert_eq!(read(&own, "wg.0").unwrap(), []);
    }

    #[test]
    fn hooks_come_first_whatever_is_set_up_later() {
        let directory = tempfile::tempdir().unwrap();
        let own = own(&directory);
        let mut journal = journal(&own, "wg0");
        for step in [rule(5), Step::PreDown, Step::Firewall, Step::Firewall] {
            journal.record([step]).unwrap();
        }
        assert_eq!(read(&own, "wg0").unwrap(), [rule(5), Step::Firewall, Step::PreDown]);
        journal.strike(&rule(5)).unwrap();
        assert!(!journal.has(&rule(5)) && journal.has(&Step::Firewall));
    }

    #[test]
    fn what_was_before_the_system_started_is_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let own = own(&directory);
        journal(&own, "wg0").record([rule(5)]).unwrap();
        let path = own.join("wg0.journal");
        let text = fs::read_to_string(&path).unwrap().replace(&boot_id(), "another");
        fs::write(&path, text).unwrap();
        assert_eq!(read(&own, "wg0").unwrap(), []);
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let own = own(&directory);
        journal(&own, "wg0").record([rule(5)]).unwrap();
        let path = own.join("wg0.journal");
        let good = fs::read_to_string(&path).unwrap();
        let refused = || format!("{:#}", read(&own, "wg0").unwrap_err());
        let long = format!("{good}{}", " ".repeat(MAX_FILE as usize));
        for text in ["", "{", "[]", "\u{0}", &good[..good.len() - 1], &good.replace("priority", "rank"), &long] {
            fs::write(&path, text).unwrap();
            assert!(refused().contains("wg0.journal"), "{text:.40}");
        }
        fs::write(&path, r#"{"version":2,"news":[]}"#).unwrap();
        assert!(refused().contains("expected version 1, not 2"), "{}", refused());
        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
        assert!(refused().contains("nobody else can write"), "{}", refused());
        fs::rename(&path, own.join("elsewhere")).unwrap();
        std::os::unix::fs::symlink(own.join("elsewhere"), &path).unwrap();
        assert!(refused().contains("cannot read"), "{}", refused());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRUSR).unwrap();
        assert!(refused().contains("expected a file"), "{}", refused());
    }

    #[test]
    fn what_others_have_taken_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let own = own(&directory);
        journal(&own, "wg0").record([rule(5)]).unwrap();
        journal(&own, "wg1").record([rule(4), Step::Firewall]).unwrap();
        let taken = Taken::by_others(&own, "wg0");
        assert_eq!((taken.rules.len(), taken.rules[0].priority, taken.is_unsure), (1, 4, false));
        assert_eq!(taken.tables().collect::<Vec<_>>(), [51_820]);
        fs::write(own.join("wg2.journal"), "?").unwrap();
        assert!(Taken::by_others(&own, "wg0").is_unsure);
    }
}

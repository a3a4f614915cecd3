//! One side of the comparison: a host on which files are brought up and down by one program.

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use tempfile::TempDir;

use super::observed::Observed;
use crate::host::Host;

/// The file's name, for an interface of this name.
pub(super) const FILE: &str = "wgdiff.conf";

/// What the host has for links: name, MTU, and the addresses of our end.
pub(super) const LINKS: [(&str, u16, &str, &str); 3] = [
    ("up0", 1500, "192.0.2.1/24", "2001:db8:1::1/64"),
    ("wide0", 9000, "198.51.100.1/24", "2001:db8:2::1/64"),
    ("narrow0", 1400, "203.0.113.1/24", "2001:db8:3::1/64"),
];

/// The number and name of a routing table that the host's administrator has named.
const TABLES: &str = "7777 office\n";

/// What Debian's resolvconf ranks interfaces by.
const INTERFACE_ORDER: &str = "# first\nlo.inet*\neth*.inet\nvpn*\ntun*\n";

/// A host, and the shell that works there.
#[derive(Debug)]
pub(super) struct Side {
    before: Observed,
    answers: BufReader<ChildStdout>,
    requests: ChildStdin,
    shell: Child,
    directory: TempDir,
    _host: Host,
}

/// What came of a file.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// The exit code of bringing it up.
    pub(super) code: i32,
    /// The exit code of bringing it down.
    pub(super) ended: i32,
    /// What was said while it was brought up.
    pub(super) said: String,
    /// The host while it was up, or after it was refused.
    pub(super) up: Observed,
    /// The host afterwards.
    pub(super) down: Observed,
    /// The host before anything.
    pub(super) before: Observed,
}

impl Side {
    /// Makes a host on which `program` brings files up and down. `ranked` has its resolvconf rank interfaces.
    #[track_caller]
    pub(super) fn new(program: &Path, ranked: bool) -> Self {
        let host = Host::new();
        for (name, mtu, v4, v6) in LINKS {
            host.ip(&format!("link add {name} mtu {mtu} type veth peer name {name}-peer mtu {mtu}"));
            host.ip(&format!("link set {name}-peer up"));
            host.ip(&format!("link set {name} up addrgenmode none"));
            host.ip(&format!("addr add {v4} dev {name}"));
            host.ip(&format!("addr add {v6} dev {name} nodad"));
        }
        host.ip("route add default via 192.0.2.254");
        host.ip("-6 route add default via 2001:db8:1::fe");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path();
        fs::create_dir(path.join("bin")).expect("a directory for programs");
        let resolvconf = path.join("bin/resolvconf");
        fs::write(&resolvconf, include_str!("resolvconf.sh")).expect("a program is written");
        fs::set_permissions(&resolvconf, Permissions::from_mode(0o755)).expect("a program is made one");
        fs::write(path.join("tables"), TABLES).expect("tables are named");
        if ranked {
            fs::write(path.join("interface-order"), INTERFACE_ORDER).expect("interfaces are ranked");
        }
        let script = include_str!("side.sh");
        let mut shell = host.command("unshare");
        shell.args(["--mount", "bash", "-c", script, "side.sh"]).arg(program).arg(path);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell starts");
        let requests = shell.stdin.take().expect("standard input is piped");
        let answers = BufReader::new(shell.stdout.take().expect("standard output is piped"));
        let mut side = Self { before: Observed::default(), answers, requests, shell, directory, _host: host };
        assert_eq!(side.answer(), "ready");
        side.before = side.observed("before");
        side
    }

    /// Starts to bring `text` up and down.
    #[track_caller]
    pub(super) fn start(&mut self, text: &[u8]) {
        let file = self.directory.path().join(FILE);
        fs::write(&file, text).expect("a file is written");
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("a file is ours");
        self.requests.write_all(b"\n").expect("the shell reads");
    }

    /// Waits for what came of it.
    #[track_caller]
    pub(super) fn outcome(&mut self) -> Outcome {
        let answer = self.answer();
        let codes: Vec<i32> = answer.split(' ').map(|code| code.parse().expect("an exit code")).collect();
        let [code, ended] = codes[..] else { panic!("two exit codes, not {answer:?}") };
        let said = fs::read(self.directory.path().join("said")).expect("what was said is there");
        Outcome {
            code,
            ended,
            said: String::from_utf8_lossy(&said).into_owned(),
            up: self.observed("up"),
            down: self.observed("down"),
            before: self.before.clone(),
        }
    }

    #[track_caller]
    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the shell answers");
        line.trim().to_owned()
    }

    #[track_caller]
    fn observed(&self, name: &str) -> Observed {
        let text = fs::read(self.directory.path().join(name)).expect("what was observed is there");
        Observed::read(&String::from_utf8_lossy(&text))
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        // It may have gone by itself.
        self.shell.kill().ok();
        self.shell.wait().ok();
    }
}

impl Outcome {
    /// Tells whether the file was brought up.
    pub(super) fn is_up(&self) -> bool {
        self.code == 0
    }
}

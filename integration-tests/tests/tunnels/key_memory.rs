//! Where keys stay in the memory of a running tunnel: in few places while they are in use, in none afterwards; and who may
//! look.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{
    ClientFile, Copies, Daemon, Host, Keys, Setup, copies, dump, eventually, interface_name, key_in_hex,
    maybetun_program, preshared_key, run,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Most copies of a key in use by one peer: ours; and boringtun's, of which each handshake and its session has one for as
/// long as the session, eight at most, and of the private key the guard against replays another.
const MOST_IN_USE: usize = 1 + 8 + 1;

/// Makes sure that the process holds `key` because it uses it, and no text of it.
#[track_caller]
fn assert_in_use(daemon: &Daemon, key: &str) {
    let copies = copies(daemon.id(), key);
    assert!((1..=MOST_IN_USE).contains(&copies.raw), "{copies:?}");
    assert_eq!(copies, Copies { raw: copies.raw, ..Copies::NONE }, "a text of the key is left");
}

/// Makes sure that nothing of `key` is left. Whoever was at work for a peer just now may still have it for a moment.
#[track_caller]
fn assert_gone(daemon: &Daemon, key: &str, what: &str) {
    eventually(&format!("nothing is left of {what}"), Duration::from_secs(10), || {
        copies(daemon.id(), key) == Copies::NONE
    });
}

/// Everything that a key goes through: it is set in `wg`'s way, shown, used by both ends, replaced and taken away.
#[test]
fn what_the_socket_brings_goes_when_it_is_taken_back() {
    let keys = [preshared_key(), preshared_key()];
    let mut setup = Setup::between(Maybetun, Maybetun);
    setup.preshared_keys = [Some(keys[0].clone()), Some(keys[0].clone())];
    let pair = setup.start();
    pair.client.host.reaches(&pair.relay.v4());
    let ends = [&pair.client, &pair.relay];
    let private = ends.map(|end| end.config.private_key.clone());
    for (end, private) in ends.into_iter().zip(&private) {
        assert_eq!(dump(&end.host, &end.daemon)[0].preshared_key, keys[0]);
        assert_in_use(&end.daemon, &keys[0]);
        assert_in_use(&end.daemon, private);
    }

    // Both ends agree on other keys.
    let renewed = ends.map(|_| Keys::new());
    for number in [0, 1] {
        let (end, other) = (ends[number], ends[1 - number]);
        let (old, new) = (&end.config.peers[0], &renewed[1 - number].public);
        end.wg("set", &format!("peer {} remove", old.public_key)).success();
        assert_gone(&end.daemon, &keys[0], "the preshared key of a peer that was removed");
        end.daemon.wg_with_input(&end.host, "set", "private-key /dev/stdin", &renewed[number].private).success();
        assert_gone(&end.daemon, &private[number], "a private key that was replaced");
        let endpoint = old.endpoint.map(|endpoint| format!("endpoint {endpoint}")).unwrap_or_default();
        let peer = format!("peer {new} preshared-key /dev/stdin allowed-ips {} {endpoint}", other.v4());
        end.daemon.wg_with_input(&end.host, "set", &peer, &keys[1]).success();
    }
    pair.client.host.reaches(&pair.relay.v4());
    for (end, renewed) in ends.into_iter().zip(&renewed) {
        assert_in_use(&end.daemon, &keys[1]);
        assert_in_use(&end.daemon, &renewed.private);

        // The private key goes under a peer that has a session; then the peer.
        end.wg("set", "private-key /dev/null").success();
        assert_gone(&end.daemon, &renewed.private, "a private key that was taken away");
        end.wg("set", "private-key /dev/null").success();
        let peer = &dump(&end.host, &end.daemon)[0].public_key;
        end.daemon.wg_with_input(&end.host, "setconf", "/dev/stdin", "[Interface]\n").success();
        assert_eq!(dump(&end.host, &end.daemon), []);
        assert_gone(&end.daemon, &keys[1], &format!("the preshared key of {peer}"));
    }
}

#[test]
fn a_preshared_key_that_is_replaced_goes_with_the_sessions_made_under_it() {
    let keys = [preshared_key(), preshared_key()];
    let mut setup = Setup::between(Maybetun, Maybetun);
    setup.preshared_keys = [Some(keys[0].clone()), Some(keys[0].clone())];
    let pair = setup.start();
    // Without a session nothing keeps it.
    for end in [&pair.client, &pair.relay] {
        let peer = format!("peer {} preshared-key /dev/stdin", end.config.peers[0].public_key);
        end.daemon.wg_with_input(&end.host, "set", &peer, &keys[1]).success();
        assert_gone(&end.daemon, &keys[0], "a preshared key that was replaced");
    }
    pair.client.host.reaches(&pair.relay.v4());
    for end in [&pair.client, &pair.relay] {
        let peer = format!("peer {} preshared-key /dev/null", end.config.peers[0].public_key);
        end.wg("set", &peer).success();
        // Now each session does, one a handshake.
        let left = copies(end.daemon.id(), &keys[1]);
        assert!(left.raw < MOST_IN_USE, "{left:?}");
        end.wg("set", "private-key /dev/null").success();
        assert_gone(&end.daemon, &keys[1], "a preshared key that was replaced, and its sessions");
    }
}

#[test]
fn a_connection_that_stays_open_keeps_no_key() {
    let host = Host::new();
    let daemon = Daemon::start(Maybetun, &host, &interface_name());
    let (peer, preshared) = (Keys::new().public, preshared_key());
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    let set = format!("set=1\npublic_key={}\npreshared_key={}\n\n", key_in_hex(&peer), key_in_hex(&preshared));
    // With it comes the beginning of another request.
    stream.write_all(format!("{set}set=1\n").as_bytes()).unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"errno=0\n\n");
    assert_in_use(&daemon, &preshared);
    daemon.wg(&host, "set", &format!("peer {peer} remove")).success();
    assert_gone(&daemon, &preshared, "the preshared key of a peer that was removed");
    stream.write_all(b"fwmark=1\n\n").unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"errno=0\n\n");
}

#[test]
fn what_a_file_brings_goes_when_it_is_taken_back() {
    let file = ClientFile::new("10.9.0.0/24, fd09::/64", "SaveConfig = true\n");
    let preshared = preshared_key();
    let text = file.read() + &format!("PresharedKey = {preshared}\n");
    file.write(&text);
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).unwrap().trim_start_matches(" = ");
    let (private, peer) = (value("PrivateKey"), value("PublicKey"));
    let known = file.relay.config.peers[0].public_key.clone();
    let agreed = format!("peer {known} preshared-key /dev/stdin");
    file.relay.daemon.wg_with_input(&file.relay.host, "set", &agreed, &preshared).success();

    let mut command = file.client.command(maybetun_program());
    let daemon = Daemon::spawn(command.arg("up").arg(file.path()), &file.interface);
    file.assert_up();
    assert_in_use(&daemon, &preshared);
    assert_in_use(&daemon, private);
    daemon.wg(&file.client, "set", &format!("peer {peer} remove")).success();
    assert_gone(&daemon, &preshared, "the preshared key of a peer that was removed");
    let renewed = Keys::new().private;
    daemon.wg_with_input(&file.client, "set", "private-key /dev/stdin", &renewed).success();
    assert_gone(&daemon, private, "a private key that was replaced");
    daemon.terminate();
    assert!(file.read().contains(&renewed), "the key in force is saved: {}", file.read());
}

#[test]
fn what_a_reload_brings_and_takes_away_stays_nowhere_else() {
    let file = ClientFile::new("10.9.0.0/24, fd09::/64", "");
    let keys = [preshared_key(), preshared_key()];
    let text = file.read();
    let with = |private: &str, preshared: &str| {
        let own = text.lines().find(|line| line.starts_with("PrivateKey")).unwrap();
        file.write(&(text.replace(own, &format!("PrivateKey = {private}")) + &format!("PresharedKey = {preshared}\n")));
    };
    let private = [Keys::new().private, Keys::new().private];
    with(&private[0], &keys[0]);
    let mut command = file.client.command(maybetun_program());
    let daemon = Daemon::spawn(command.arg("up").arg(file.path()), &file.interface);
    eventually("the socket answers", Duration::from_secs(20), || daemon.answers_uapi());
    let reload = || {
        let mut command = file.client.command(maybetun_program());
        run(command.args(["reload", &file.interface]), "").success()
    };
    reload();
    assert_in_use(&daemon, &private[0]);
    assert_in_use(&daemon, &keys[0]);
    with(&private[1], &keys[1]);
    reload();
    assert_in_use(&daemon, &private[1]);
    assert_in_use(&daemon, &keys[1]);
    assert_gone(&daemon, &private[0], "a private key that was replaced");
    assert_gone(&daemon, &keys[0], "a preshared key that was replaced");
    file.write(&text.replace("[Peer]", "[Peer]\nNoSuchKey = 1"));
    let mut command = file.client.command(maybetun_program());
    run(command.args(["reload", &file.interface]), "").failure();
    let refused = text.lines().find_map(|line| line.strip_prefix("PrivateKey = ")).unwrap();
    assert_gone(&daemon, refused, "a private key in a file that was refused");
}

/// A group that is not root's.
const NOBODY: u32 = 65_534;

/// Kills its process when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Returns whose group the maps of a process are: its own if it may be dumped and traced, root's if not (proc(5)).
fn group_of_maps(id: u32) -> u32 {
    fs::metadata(format!("/proc/{id}/maps")).unwrap().gid()
}

/// Returns the limit on the size of core dumps that is in force.
fn core_limit(id: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn nobody_reads_the_memory_of_a_process_with_keys_and_no_core_is_left() {
    let host = Host::new();
    // What is started here may leave one, as far as this test is concerned.
    let (_, most) = getrlimit(Resource::RLIMIT_CORE).unwrap();
    setrlimit(Resource::RLIMIT_CORE, most, most).unwrap();
    let other = Running(Command::new("sleep").arg("1000").gid(NOBODY).spawn().unwrap());
    eventually("a process of another kind is its user's", Duration::from_secs(20), || {
        group_of_maps(other.0.id()) == NOBODY
    });
    assert_ne!(core_limit(other.0.id()), "0", "the limit of this machine must leave something to forbid");

    let name = interface_name();
    let mut command = host.command(maybetun_program());
    let backend = Daemon::spawn(command.args(["-f", &name]).gid(NOBODY), &name);
    eventually("the socket answers", Duration::from_secs(20), || backend.answers_uapi());

    // This one waits for its input.
    let mut command = Command::new(maybetun_program());
    let waiting = Running(command.arg("pubkey").gid(NOBODY).stdin(Stdio::piped()).spawn().unwrap());
    for id in [backend.id(), waiting.0.id()] {
        eventually("its memory is its own", Duration::from_secs(20), || group_of_maps(id) == 0);
        eventually("it leaves no core", Duration::from_secs(20), || core_limit(id) == "0");
    }
}

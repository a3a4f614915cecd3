//! Where the tunnels of one network namespace keep their files.
//!
//! `/run` is one for all namespaces that `ip netns` makes, and each may have a tunnel of the same name. `wg` knows one
//! directory of sockets; whoever comes first has his there too. All else is in a directory of the namespace's own.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use maybetun::uapi::DIRECTORY;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::exit::{Exit, Failure};
use super::interface;

/// What the directories of namespaces are called, before the namespace's number.
const PREFIX: &str = "netns-";

/// How often a file is tried for whose directory another process took away at that moment: it was empty.
const ATTEMPTS: u32 = 100;

/// How long to wait before the next time.
const PAUSE: Duration = Duration::from_micros(100);

/// Returns the directory of this network namespace, which need not be there.
pub(crate) fn directory() -> PathBuf {
    // Where /proc is not mounted all namespaces are one.
    let number = fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino());
    Path::new(DIRECTORY).join(format!("{PREFIX}{number}"))
}

/// Returns the path of a socket in `directory`.
pub(crate) fn socket_in(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

/// Opens a file of `directory`, which is made if it is not there.
///
/// # Errors
/// When the directory cannot be made, others may write to it, or the file cannot be opened.
pub(crate) fn open(directory: &Path, file: &str, options: &OpenOptions) -> io::Result<File> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match make(directory).and_then(|()| options.open(directory.join(file))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && attempt < ATTEMPTS => thread::sleep(PAUSE),
            opened => return opened,
        }
    }
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(directory) {
        // There a moment ago, it says, and no longer: what follows finds out which.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    is_ours(&fs::symlink_metadata(directory)?, directory)
}

/// Makes sure that nobody else could have written what is at `path`.
///
/// # Errors
/// When it is another user's, or others may write to it.
pub(crate) fn is_ours(metadata: &fs::Metadata, path: &Path) -> io::Result<()> {
    let user = nix::unistd::geteuid().as_raw();
    if metadata.uid() == user && metadata.mode() & 0o022 == 0 && !metadata.is_symlink() {
        return Ok(());
    }
    let message = format!("{}: expected to be of user {user}, and that nobody else can write to it", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Removes `directory` if nothing is left in it.
pub(crate) fn leave(directory: &Path) {
    // Most often another tunnel is in it.
    let _ = fs::remove_dir(directory);
}

/// Names a file beyond its path.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Tells whether `path` leads to the file that is open.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    file.metadata().is_ok_and(|open| identity(path) == Some((open.dev(), open.ino())))
}

/// Tells whether two paths lead to one file.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    identity(one).is_some_and(|it| identity(other) == Some(it))
}

/// Tells whether the socket where `wg` looks for it is that of a tunnel in another network namespace.
pub(crate) fn is_elsewhere(name: &str) -> bool {
    is_elsewhere_in(Path::new(DIRECTORY), &directory(), name)
}

fn is_elsewhere_in(shared: &Path, own: &Path, name: &str) -> bool {
    let socket = socket_in(shared, name);
    let Ok(entries) = fs::read_dir(shared) else { return false };
    let is_namespace = |path: &PathBuf| {
        path.file_name().and_then(|file| file.to_str()).is_some_and(|file| file.starts_with(PREFIX)) && path != own
    };
    let mut others = entries.flatten().map(|entry| entry.path()).filter(is_namespace);
    others.any(|other| is_same(&socket, &socket_in(&other, name)))
}

/// Returns the directory in which the socket of the tunnel called `name` is, if there is any.
///
/// # Errors
/// When there is one in another network namespace only. It is asked all the same if its interface is here: then somebody has moved
/// it. Of another program's interface that has its name that is not so, of whatever kind it is: its own is where it runs.
pub(crate) fn of_socket(name: &str) -> anyhow::Result<PathBuf> {
    let own = directory();
    // Without its socket, one that is about to make it, or died.
    if socket_in(&own, name).exists() || own.join(format!("{name}.running")).exists() {
        return Ok(own);
    }
    let may_be_here = interface::exists(name) && !interface::is_no_tun(name);
    if is_elsewhere(name) && !(may_be_here && has_moved(name)) {
        let message = format!("no tunnel {name} in this network namespace: there is one of that name in another");
        return Err(Failure::error(Exit::NoInterface, message));
    }
    Ok(DIRECTORY.into())
}

/// Tells whether the process behind the socket has no interface of that name in its own network namespace. One that does not
/// answer has.
fn has_moved(name: &str) -> bool {
    let Ok(stream) = UnixStream::connect(socket_in(Path::new(DIRECTORY), name)) else { return false };
    let Ok(peer) = getsockopt(&stream, PeerCredentials) else { return false };
    let Ok(interfaces) = fs::read_to_string(format!("/proc/{}/net/dev", peer.pid())) else { return false };
    !interfaces.lines().any(|line| line.split_once(':').is_some_and(|(interface, _)| interface.trim() == name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn writing() -> OpenOptions {
        File::options().write(true).create(true).truncate(false).clone()
    }

    #[test]
    fn a_directory_comes_with_its_first_file_and_goes_when_it_is_empty() {
        let shared = tempfile::tempdir().unwrap();
        let own = shared.path().join("netns-7");
        open(&own, "file", &writing()).unwrap();
        assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
        leave(&own);
        assert!(own.exists());
        fs::remove_file(own.join("file")).unwrap();
        leave(&own);
        assert!(!own.exists());
    }

    #[test]
    fn a_file_is_made_while_others_take_its_directory_away() {
        let shared = tempfile::tempdir().unwrap();
        let own = shared.path().join("netns-7");
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    leave(&own);
                    // As nobody does who only ends: but again and again.
                    thread::sleep(Duration::from_micros(20));
                }
            });
            let opened = (0..20_000).try_for_each(|_| {
                drop(open(&own, "file", &writing())?);
                fs::remove_file(own.join("file"))
            });
            is_done.store(true, Ordering::Relaxed);
            opened.unwrap();
        });
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_not_used() {
        let shared = tempfile::tempdir().unwrap();
        let own = shared.path().join("netns-7");
        fs::create_dir(&own).unwrap();
        fs::set_permissions(&own, fs::Permissions::from_mode(0o777)).unwrap();
        let error = open(&own, "file", &writing()).unwrap_err();
        assert!(error.to_string().contains("nobody else can write"), "{error}");
        fs::remove_dir(&own).unwrap();
        std::os::unix::fs::symlink(shared.path(), &own).unwrap();
        assert!(open(&own, "file", &writing()).is_err(), "a link leads anywhere");
    }

    #[test]
    fn a_socket_is_elsewhere_when_another_namespace_has_it_too() {
        let shared = tempfile::tempdir().unwrap();
        let [own, other] = ["netns-7", "netns-8"].map(|name| shared.path().join(name));
        for directory in [&own, &other] {
            fs::create_dir(directory).unwrap();
            fs::write(socket_in(directory, "wg0"), "").unwrap();
        }
        assert!(!is_elsewhere_in(shared.path(), &own, "wg0"));
        fs::hard_link(socket_in(&other, "wg0"), socket_in(shared.path(), "wg0")).unwrap();
        assert!(is_elsewhere_in(shared.path(), &own, "wg0"));
        assert!(!is_elsewhere_in(shared.path(), &other, "wg0"));
    }
}

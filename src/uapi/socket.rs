//! The socket's file: made without a moment in which others could open it, and removed when it is still ours.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{EXTENSION, socket_path};

/// Connections that wait to be accepted.
const BACKLOG: i32 = 16;

/// Temporary names tried before giving up: leftovers of crashed processes may hold some.
const TEMPORARY_NAMES: u32 = 16;

/// Explains why there is no socket to serve on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// No interface can have this name.
    #[error("{0:?} cannot be the name of an interface: expected 1 to 15 bytes without '/', ':' or space")]
    Name(String),
    /// Another process answers on the socket.
    #[error("{} is in use: is the interface already running?", .0.display())]
    InUse(PathBuf),
    /// Something that is not a socket has the socket's name.
    #[error("{} exists and is not a socket: remove it", .0.display())]
    NotASocket(PathBuf),
    /// The directory cannot be made, or not be written to.
    #[error("cannot make {}: {source}; this needs root, or write access to its parent directory", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The socket cannot be made.
    #[error("cannot make the configuration socket {}: {source}", path.display())]
    Socket {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Names a file beyond its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// A file that is removed on drop, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Where it is too.
    other: Option<PathBuf>,
    identity: Identity,
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.path].into_iter().chain(&self.other)
    }

    fn is_at(&self, path: &Path) -> bool {
        Identity::of(path).is_ok_and(|identity| identity == self.identity)
    }

    /// Tells whether every path still leads to this very file.
    pub(super) fn is_in_place(&self) -> bool {
        self.paths().all(|path| self.is_at(path))
    }

    /// Gives the file a second name, that of `interface` in `directory`, which must be of the same file system.
    pub(super) fn link_in(&mut self, directory: &Path, interface: &str) -> Result<(), BindError> {
        let path = socket_path(directory, interface).ok_or_else(|| BindError::Name(interface.to_owned()))?;
        let failed = |source| BindError::Socket { path: path.clone(), source };
        match fs::hard_link(&self.path, &path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                refuse_unless_stale(&path)?;
                let temporary = temporary_name(&self.path, interface, TEMPORARY_NAMES);
                // Of a process that had the number before.
                let _ = fs::remove_file(&temporary);
                fs::hard_link(&self.path, &temporary).map_err(failed)?;
                fs::rename(&temporary, &path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        self.other = Some(path);
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        for path in self.paths().filter(|path| self.is_at(path)) {
            // Nobody is left to tell, and the next start replaces a stale socket.
            let _ = fs::remove_file(path);
        }
    }
}

/// Returns a name beside `path` that no client looks for.
fn temporary_name(path: &Path, interface: &str, attempt: u32) -> PathBuf {
    path.with_file_name(format!(".{interface}.{}.{attempt}", std::process::id()))
}

/// Listens on the socket of `interface` in `directory`, which is made if it is not there.
pub(super) fn listen(directory: &Path, interface: &str) -> Result<(UnixListener, SocketFile), BindError> {
    let path = socket_path(directory, interface).ok_or_else(|| BindError::Name(interface.to_owned()))?;
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(BindError::Directory { path: directory.to_owned(), source });
        }
        Ok(()) | Err(_) => {}
    }
    let failed = |source| BindError::Socket { path: path.clone(), source };
    // Listening starts in another place, so that no client finds a socket that does not answer and takes it for stale.
    let room = Room::make(directory, interface).map_err(failed)?;
    let (listener, mut file) = listen_in(&room).map_err(failed)?;
    match renameat_with(CWD, &file.path, CWD, &path, RenameFlags::NOREPLACE).map_err(io::Error::from) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            refuse_unless_stale(&path)?;
            fs::rename(&file.path, &path).map_err(failed)?;
        }
        Err(error) => return Err(failed(error)),
    }
    file.path = path;
    Ok((listener, file))
}

/// A directory that nobody else enters, removed on drop.
struct Room(PathBuf);

impl Room {
    fn make(directory: &Path, interface: &str) -> io::Result<Self> {
        for attempt in 0..TEMPORARY_NAMES {
            let path = temporary_name(&directory.join(interface), interface, attempt);
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made.map(|()| Self(path)),
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // What stays takes one name of those that the next process with our number tries.
        let _ = fs::remove_dir(&self.0);
    }
}

fn listen_in(room: &Room) -> io::Result<(UnixListener, SocketFile)> {
    let path = room.0.join(EXTENSION);
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(&path)?)?;
    let file = SocketFile { identity: Identity::of(&path)?, path, other: None };
    // Only Linux takes the mode from the socket before it has a file: everywhere nobody reaches the file before it has it.
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok((socket.into(), file))
}

fn refuse_unless_stale(path: &Path) -> Result<(), BindError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(BindError::NotASocket(path.to_owned())),
        Ok(_) | Err(_) => {}
    }
    // Does not block: a socket whose backlog is full is alive.
    let refused = Socket::new(Domain::UNIX, Type::STREAM, None)
        .and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect(&SockAddr::unix(path)?)
        })
        .is_err_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound));
    if refused { Ok(()) } else { Err(BindError::InUse(path.to_owned())) }
}

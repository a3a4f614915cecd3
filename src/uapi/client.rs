//! The client side of the configuration socket: blocking, and needing nothing of tokio.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::net::if_::if_nametoindex;
use socket2::{Domain, SockAddr, Socket, Type};
use zeroize::Zeroizing;

use super::request::{self, Request};
use super::response::{self, ResponseError};
use super::{DIRECTORY, EXTENSION, socket_path};
use crate::secret::SecretBuffer;
use crate::settings::{Status, Update};

/// How long the other side may keep silent: while connecting, and before each piece of its response.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Longest response read, in bytes: some 200,000 peers.
const MAX_RESPONSE: usize = 128 * 1024 * 1024;

/// Bytes read at once.
const READ_SIZE: usize = 16 * 1024;

/// Explains why a device could not be asked, or what it answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No interface can have this name.
    #[error("{0:?} cannot be the name of an interface: expected 1 to 15 bytes without '/', ':' or space")]
    Name(String),
    /// Nobody listens on the socket.
    #[error("no running userspace tunnel answers on {}: is the interface up, and its name right?", .0.display())]
    NotRunning(PathBuf),
    /// The socket is another user's.
    #[error("no permission to open {}: run this as root, or as the user who runs the tunnel", .0.display())]
    Denied(PathBuf),
    /// The other side kept silent for 5 s.
    #[error("{} does not answer: the process behind it hangs, or is not a tunnel", .0.display())]
    Timeout(PathBuf),
    /// Talking failed in another way.
    #[error("cannot talk to {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The device refused, or answered something that is not a response.
    #[error("{}: {source}", path.display())]
    Response {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        source: ResponseError,
    },
}

impl ClientError {
    fn from_io(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            Self::NotRunning(path)
        } else if source.kind() == io::ErrorKind::PermissionDenied {
            Self::Denied(path)
        } else if matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            Self::Timeout(path)
        } else {
            Self::Io { path, source }
        }
    }
}

/// Returns the state of the device behind `interface`.
///
/// # Errors
/// When nobody answers, or not with a status.
pub fn get(interface: &str) -> Result<Status, ClientError> {
    get_in(Path::new(DIRECTORY), interface)
}

/// Returns the state of the device whose socket is in `directory`.
///
/// # Errors
/// As for [`get`].
pub fn get_in(directory: &Path, interface: &str) -> Result<Status, ClientError> {
    // The zone of another network namespace says nothing here.
    let zone_index = |zone: &str| Some(if_nametoindex(zone).unwrap_or_default());
    let mut status = ask(directory, interface, &Request::Get, |text| response::parse(text, zone_index))?;
    let now = SystemTime::now();
    for peer in &mut status.peers {
        peer.last_handshake_age = peer.last_handshake.map(|at| now.duration_since(at).unwrap_or_default());
    }
    Ok(status)
}

/// Applies `update` to the device behind `interface`.
///
/// # Errors
/// When nobody answers, or the device refuses.
pub fn set(interface: &str, update: &Update) -> Result<(), ClientError> {
    set_in(Path::new(DIRECTORY), interface, update)
}

/// Applies `update` to the device whose socket is in `directory`.
///
/// # Errors
/// As for [`set`].
pub fn set_in(directory: &Path, interface: &str, update: &Update) -> Result<(), ClientError> {
    ask(directory, interface, &Request::Set(update.clone()), response::parse_errno)
}

/// Returns the names of the interfaces that answer, and of those that this user may not ask, in order.
///
/// # Errors
/// When [`DIRECTORY`] is there but cannot be read.
pub fn list_interfaces() -> io::Result<Vec<String>> {
    list_interfaces_in(Path::new(DIRECTORY))
}

/// Returns the names of the interfaces with a socket in `directory` that answers, or that this user may not open, in order.
///
/// # Errors
/// When the directory is there but cannot be read.
pub fn list_interfaces_in(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let is_named_so = path.extension().is_some_and(|extension| extension == EXTENSION);
        let Some(name) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| is_named_so) else { continue };
        let is_socket = entry.file_type().is_ok_and(|kind| kind.is_socket());
        let is_stale = || connect(&path).is_err_and(|error| error.kind() != io::ErrorKind::PermissionDenied);
        if is_socket && socket_path(directory, name).is_some() && !is_stale() {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn ask<T>(
    directory: &Path,
    interface: &str,
    request: &Request,
    parse: impl FnOnce(&str) -> Result<T, ResponseError>,
) -> Result<T, ClientError> {
    let path = socket_path(directory, interface).ok_or_else(|| ClientError::Name(interface.to_owned()))?;
    let response = exchange(&path, request).map_err(|source| ClientError::from_io(&path, source))?;
    parse(&response).map_err(|source| ClientError::Response { path, source })
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    // On Unix sockets the write timeout bounds connecting, too.
    socket.set_write_timeout(Some(TIMEOUT))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(socket.into())
}

fn exchange(path: &Path, request: &Request) -> io::Result<Zeroizing<String>> {
    let mut stream = connect(path)?;
    stream.write_all(request::format(request).as_bytes())?;
    let mut received = SecretBuffer::with_capacity(READ_SIZE);
    let mut chunk = Zeroizing::new([0; READ_SIZE]);
    // A response that is cut short is for the parser to refuse.
    while !received.as_bytes().ends_with(b"\n\n") {
        let count = match stream.read(&mut *chunk) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        if received.as_bytes().len() + count > MAX_RESPONSE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("the response exceeds {MAX_RESPONSE} bytes"),
            ));
        }
        received.push(&chunk[..count]);
    }
    let length = received.as_bytes().len();
    received.take_text(length).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the response is not text"))
}

//! Tells systemd that the service is up, or reads its file again (sd_notify(3)).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::time::{TimeSpec, TimeValLike as _};
use nix::time::{ClockId, clock_gettime};

/// Sends `READY=1` to the socket that `NOTIFY_SOCKET` names; does nothing outside a unit of type `notify`.
pub(crate) fn ready() {
    tell(b"READY=1\n");
}

/// Sends `RELOADING=1` to it, with the time, as units of type `notify-reload` want it too. [`ready`] says that it is over.
pub(crate) fn reloading() {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(now) => tell(reloading_at(now).as_bytes()),
        Err(error) => tracing::warn!("cannot read the clock: {error}"),
    }
}

fn reloading_at(now: TimeSpec) -> String {
    format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.num_microseconds())
}

fn tell(message: &[u8]) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Err(error) = send(&socket, message) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}

/// Sends `message` to `socket`: a path, or after `@` a name in the abstract namespace.
fn send(socket: &OsStr, message: &[u8]) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn a_socket_with_a_path_is_reached() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), b"READY=1\n").unwrap();
        assert_eq!(received(&socket), b"READY=1\n");
    }

    #[test]
    fn a_socket_in_the_abstract_namespace_is_reached() {
        let name = format!("maybetun-notify-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), b"READY=1\n").unwrap();
        assert_eq!(received(&socket), b"READY=1\n");
    }

    #[test]
    fn a_reload_says_when_it_began_in_microseconds() {
        assert_eq!(reloading_at(TimeSpec::new(7, 5_000)), "RELOADING=1\nMONOTONIC_USEC=7000005\n");
    }
}

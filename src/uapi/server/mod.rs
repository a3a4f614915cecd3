//! The server side of the configuration socket.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::time::sleep;
use tracing::debug;

use super::connection::converse;
use super::conversations::Conversations;
use super::socket::{BindError, SocketFile, listen};
use super::watch::{Watch, removed};
use super::{Configure, DIRECTORY};

/// How long a client may take to send a whole request, counted from the last response, and to read a response. One that
/// takes others' place has less: see [`Conversations`].
const DEADLINE: Duration = Duration::from_secs(30);

/// How long to wait when the process has too many files open to accept a connection.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// Tells why a server ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeEnd {
    /// Somebody removed or replaced the socket's file: how a userspace tunnel is told to stop.
    SocketRemoved,
    /// The socket cannot be waited on.
    Failed(io::Error),
}

/// A configuration socket that listens. Its file is removed on drop if it is still this server's.
#[derive(Debug)]
pub struct Server {
    listener: StdUnixListener,
    file: SocketFile,
    watch: Watch,
    deadline: Duration,
}

impl Server {
    /// Listens on the socket of `interface` in [`DIRECTORY`].
    ///
    /// The socket can be opened by its owner only (mode 0600), from the first moment. A socket that nobody answers on is
    /// replaced. Clients can connect from now on, and are answered once [`serve`](Self::serve) runs.
    ///
    /// # Errors
    /// When the name is no interface's, another process answers on the socket, or the socket cannot be made.
    pub fn bind(interface: &str) -> Result<Self, BindError> {
        Self::bind_in(Path::new(DIRECTORY), interface)
    }

    /// Listens on the socket of `interface` in `directory`, which is made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind).
    pub fn bind_in(directory: &Path, interface: &str) -> Result<Self, BindError> {
        let (listener, file) = listen(directory, interface)?;
        let watch =
            Watch::on(file.path()).map_err(|source| BindError::Socket { path: file.path().to_owned(), source })?;
        Ok(Self { listener, file, watch, deadline: DEADLINE })
    }

    /// Makes the socket reachable as that of `interface` in `directory` too, which must be of the same file system. To remove
    /// either name is to remove the socket. A socket there that nobody answers on is replaced.
    ///
    /// # Errors
    /// When another process answers on the socket that is there, or the name cannot be made.
    pub fn link_in(&mut self, directory: &Path, interface: &str) -> Result<(), BindError> {
        self.file.link_in(directory, interface)
    }

    /// Returns where the socket is.
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Answers clients for `device` until the socket's file is removed, on the current tokio runtime.
    ///
    /// Dropping the future ends every conversation and removes the file. While no client is connected, nothing wakes.
    pub async fn serve<C: Configure>(self, device: C) -> ServeEnd {
        let listening = UnixListener::from_std(self.listener).and_then(|listener| Ok((listener, self.watch.run()?)));
        let (listener, watch) = match listening {
            Ok(listening) => listening,
            Err(error) => return ServeEnd::Failed(error),
        };
        tokio::select! {
            removed = removed(&watch, &self.file) => removed.map_or_else(ServeEnd::Failed, |()| ServeEnd::SocketRemoved),
            never = answer_all(&listener, Arc::new(device), self.deadline) => match never {},
        }
    }
}

/// Answers every client that connects.
async fn answer_all<C: Configure>(listener: &UnixListener, device: Arc<C>, deadline: Duration) -> Infallible {
    let mut conversations = Conversations::default();
    loop {
        tokio::select! {
            () = conversations.ended() => {}
            stream = accept(listener) => {
                conversations.make_room().await;
                let device = Arc::clone(&device);
                conversations.begin(|waiting| async move { converse(stream, &*device, deadline, &waiting).await });
            }
        }
    }
}

async fn accept(listener: &UnixListener) -> tokio::net::UnixStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                debug!(%error, "cannot accept a connection on the configuration socket");
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

#[cfg(test)]
mod tests;

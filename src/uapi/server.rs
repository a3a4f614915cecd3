//! The server side of the configuration socket.

use std::io;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::connection::converse;
use super::socket::{BindError, SocketFile, Watch, listen, removed};
use super::{Configure, DIRECTORY};

/// Connections answered at once. Further ones wait in the socket's backlog.
const MAX_CONNECTIONS: usize = 16;

/// How long a client may take to send a whole request, counted from the last response, and to read a response. Without
/// it, clients that hang would hold all connections for ever.
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
        let watch = Watch::on(&file).map_err(|source| BindError::Socket { path: file.path().to_owned(), source })?;
        Ok(Self { listener, file, watch, deadline: DEADLINE })
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
        let device = Arc::new(device);
        let mut conversations = JoinSet::new();
        loop {
            tokio::select! {
                removed = removed(&watch, &self.file) => {
                    return removed.map_or_else(ServeEnd::Failed, |()| ServeEnd::SocketRemoved);
                }
                Some(ended) = conversations.join_next(), if !conversations.is_empty() => {
                    if let Err(error) = ended {
                        warn!(%error, "a conversation on the configuration socket ended badly");
                    }
                }
                accepted = accept(&listener), if conversations.len() < MAX_CONNECTIONS => {
                    let (device, deadline) = (Arc::clone(&device), self.deadline);
                    conversations.spawn(async move { converse(accepted, &*device, deadline).await });
                }
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

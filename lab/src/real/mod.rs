//! The same plans in real time: two network namespaces, the program itself at both ends of a tunnel, TUN devices, and the kernel's TCP.
//!
//! Between the two, in place of the internet, is a thread that carries each packet as the network's links have it, and sees what an
//! observer beside the client sees. In each namespace, what runs in virtual time on a stack without a clock, the browser and the server,
//! runs on the kernel's sockets. Many [`session`]s may run at once, each with networks of its own; what is over takes all of it along.
//!
//! [`Session::browse`] has a browser that people use, Chromium, load the same page from a web server.
//!
//! It needs root, `/dev/net/tun`, and `setpriv` of util-linux. Buffers and all else of the kernel's TCP are as the system has them, but for
//! Cubic. A connection that is closed with something unread is reset, where in virtual time it ends in order.

mod chromium;
mod daemon;
mod delays;
mod host;
mod process;
mod server;
mod session;
mod sockets;
mod web;
mod wire;

use std::io;
use std::path::PathBuf;

pub use delays::Delays;
pub use session::{Run, Session, session};

use crate::namespace::NamespaceError;

/// Why something cannot be done in real time.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RealError {
    /// This user is not the one who may.
    #[error(
        "loads in real time need root: they make network namespaces and TUN devices, and the program keeps its files in /run"
    )]
    NotRoot,
    /// There is no network namespace.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A device cannot be made.
    #[error("cannot make a TUN device: the lab needs root and /dev/net/tun")]
    Device(#[source] io::Error),
    /// The program of the tunnel cannot be started.
    #[error("cannot start {} by setpriv", program.display())]
    Start {
        /// Which.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The program of the tunnel ended.
    #[error("{} ended: {said}", program.display())]
    Ended {
        /// Which.
        program: PathBuf,
        /// The last that it said.
        said: String,
    },
    /// A defense cannot be made.
    #[error("the defense that is measured with cannot be made: {0}")]
    Defense(String),
    /// The two ends do not agree, or have no session.
    #[error("the tunnel has no session, or no defense, after a minute: {0}")]
    NotReady(String),
    /// The thread between the namespaces failed.
    #[error("what carries packets between client and relay broke off")]
    WireBroke(#[source] io::Error),
    /// The server's thread ended.
    #[error("the server beside the relay ended")]
    ServerEnded,
    /// A plan is no page, which a browser could load.
    #[error("the plan is no page: its requests are streams, too large, or come before the document")]
    NoPage,
    /// The system failed otherwise.
    #[error("the system failed")]
    System(#[from] io::Error),
}

//! A laboratory on one computer: hosts in network namespaces, wires between them, and what an observer of a wire sees.
//!
//! - [`namespace`]: a network for each host, and the right to make one.
//! - [`network`] (feature `network`): wires, addresses and routes, by netlink.
//! - [`capture`]: the frames that pass an interface.
//! - [`datagram`]: all that can be read of one before its ciphertext.
//! - [`sighting`] and [`observer`]: what an observer between a client and a relay notes, and counts.
//! - [`classifier`] (feature `classifier`): how well he tells normal packets from padding.
//!
//! It knows nothing of maybetun: who runs it, in which process or thread, is the user's matter.

pub mod capture;
#[cfg(feature = "classifier")]
pub mod classifier;
pub mod datagram;
pub mod namespace;
#[cfg(feature = "network")]
pub mod network;
pub mod observer;
pub mod sighting;

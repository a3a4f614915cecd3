//! A userspace WireGuard tunnel that defends its traffic against traffic analysis.
//!
//! # Layers
//! - [`tunnel`]: one peer, sans-IO: IP packets, datagrams and the time in; datagrams, IP packets, events and the next
//!   deadline out. No clock, no socket, no task.
//! - [`device`] (feature `device`): the tokio driver: sockets, TUN, many peers, cryptokey routing.
//! - [`uapi`] (feature `uapi`): WireGuard's cross-platform configuration socket.
//! - [`seed`]: the seed that both peers share, and its streams of random numbers.
//! - [`negotiation`]: how both ends agree on a defense that only they know.
//! - [`config`]: wg-quick files.
//! - [`masking`]: padding that follows the user's traffic: what the throughput says of it, what is asked for, and what that may cost.
//! - [`traffic`]: what passes through a tunnel, told once as it happens.
//! - [`settings`] and [`keys`]: what the layers tell each other.
//!
//! # Features
//! - `uapi` (default): the configuration socket; needs `device`.
//! - `device`: the tokio driver. Without it the crate is sans-IO and pulls no tokio.
//! - `virtual-time`: for tests: the handshake reads clocks that the test moves, `MockClock`'s time and its system time.

pub mod config;
pub mod defense;
#[cfg(test)]
mod documents;
pub mod keys;
pub mod masking;
pub mod negotiation;
mod secret;
pub mod seed;
pub mod settings;
mod text;
pub mod traffic;
pub mod tunnel;

#[cfg(feature = "device")]
pub mod device;
#[cfg(feature = "uapi")]
pub mod uapi;

/// The examples of the documents, as tests.
#[cfg(all(doctest, feature = "device"))]
#[doc = include_str!("../docs/app.md")]
struct Documents;

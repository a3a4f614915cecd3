//! A laboratory on one computer: hosts in network namespaces or in virtual time, wires between them, and what an observer sees.
//!
//! On the system's network:
//! - `namespace`: a network for each host, and the right to make one.
//! - `network` (feature `network`): wires, addresses and routes, by netlink.
//! - `capture`: the frames that pass an interface.
//! - `datagram`: all that can be read of one before its ciphertext.
//! - `sighting` and `observer`: what an observer between a client and a relay notes, and counts.
//! - `classifier` (feature `classifier`): how well he tells normal packets from padding.
//!
//! In virtual time, where an hour takes as long as what happens in it:
//! - `virtual_network` (feature `virtual-network`): hosts without sockets, and links with a rate and faults.
//! - `tunnels` (feature `tunnels`): tunnels on it.
//! - `hosts` (feature `workloads`): TCP/IP hosts on it, or inside tunnels.
//! - `workload` (feature `workloads`): what they load, and what an observer sees of it.
//! - `study` (feature `study`): what a defense hides, and what it costs; `defense`: those that it knows.
//!
//! In real time, by the system's network and the program itself:
//! - `real` (feature `real`): the same loads between network namespaces.
//!
//! In one process, in real time:
//! - `devices` (feature `devices`): devices on in-memory TUN devices, with real sockets.
//!
//! On paper, where nothing is needed but traces:
//! - `trace`: what an observer sees of a load of a page; its files (feature `traces`).
//! - `attack` (feature `attack`): how well he names the site, or what the user does.
//! - `report` (feature `report`): results as JSON, and as a page; `plot`: what all plots have in common.
//!
//! But for `tunnels`, `devices`, `workload`, `defense`, `real` and `study`, it knows nothing of maybetun: who runs it, in which process or thread, is the user's matter.
//! What needs Linux and namespaces is the feature `hosts`, which is on by default.

mod all_cores;
#[cfg(feature = "attack")]
pub mod attack;
#[cfg(feature = "hosts")]
pub mod capture;
#[cfg(feature = "classifier")]
pub mod classifier;
pub mod datagram;
#[cfg(feature = "study")]
pub mod defense;
#[cfg(feature = "devices")]
pub mod devices;
#[cfg(feature = "workloads")]
pub mod hosts;
#[cfg(feature = "hosts")]
pub mod namespace;
#[cfg(feature = "network")]
pub mod network;
#[cfg(feature = "hosts")]
pub mod observer;
pub mod plot;
#[cfg(feature = "workloads")]
mod quic;
#[cfg(feature = "real")]
pub mod real;
#[cfg(feature = "report")]
pub mod report;
pub mod sighting;
#[cfg(feature = "study")]
pub mod study;
pub mod trace;
#[cfg(feature = "tunnels")]
pub mod tunnels;
#[cfg(feature = "virtual-network")]
pub mod virtual_network;
#[cfg(feature = "workloads")]
pub mod workload;

pub use all_cores::on_all_cores;

/// The example of the document for researchers, as a test.
#[cfg(all(doctest, feature = "virtual-time"))]
#[doc = include_str!("../../docs/research.md")]
struct Documents;

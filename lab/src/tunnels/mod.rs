//! Tunnels for tests, benchmarks and measurements: two of them, or many, without sockets.
//!
//! - [`Pair`]: two tunnels whose owner carries each datagram himself, at whatever time. For what one call does, or costs.
//! - [`TwoEnds`]: two tunnels on a [virtual network](crate::virtual_network) that loses, repeats and delays what it is told to,
//!   with all that a test of the protocol asks for: agreements, other networks, clocks that are set.
//! - [`End`] and [`Star`]: tunnels as [hosts](crate::virtual_network::Host) of a virtual network, with other hosts inside. For
//!   measurements: the hosts inside are TCP/IP stacks, say, and a page is loaded through the tunnel.

mod clock;
mod end;
mod packets;
mod pair;
mod star;
#[cfg(test)]
mod tests;
mod two_ends;

pub use clock::Clocks;
pub use end::End;
pub use packets::{LEAST, address, address_on, inner_address, inner_packet, number, packet};
pub use pair::Pair;
#[cfg(feature = "workloads")]
pub(crate) use star::v4;
pub use star::{RELAY, Star, client, inner_client, inner_relay};
pub use two_ends::{DELAY, Sighting, TwoEnds, renew};

pub use crate::virtual_network::Fate;

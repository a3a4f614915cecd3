//! TCP/IP hosts in virtual time: a stack without sockets or a clock, and an application on it.
//!
//! - [`TcpHost`] is a [`Host`](crate::virtual_network::Host) of a virtual network, or inside the end of a tunnel.
//! - [`Application`] is what runs on it: it is asked to act whenever something may have changed.
//! - [`Stack`] is what it acts on: connections, datagrams.
//!
//! The stack is `smoltcp` 0.14. The same seed, packets and times give the same packets. Whatever arrives, it does not panic, and its
//! memory is bounded by [`Settings`].
//!
//! # What differs from Linux
//!
//! Read in the sources of smoltcp 0.14.0 (`socket/tcp.rs`, `socket/tcp/congestion/cubic.rs`, `storage/assembler.rs`):
//!
//! | | here | Linux 6 |
//! |---|---|---|
//! | initial window | 2,048 bytes: two segments, the second cut | ten segments (RFC 6928) |
//! | least RTO | 1 s, as RFC 6298 has it | 200 ms |
//! | first RTO | 1 s | 1 s |
//! | SACK | blocks are sent; a sender does not use them | used, with RACK and tail-loss probes |
//! | after a loss | Reno's fast recovery, left at the first new acknowledgement: several losses in a window end in an RTO | recovery by SACK |
//! | start | no HyStart: slow start goes on until a loss | HyStart |
//! | timestamps | none: what is sent again gives no round trip (Karn) | on |
//! | congestion control | Cubic (RFC 9438), or none | Cubic |
//! | acknowledgements | when more than a segment waits, else after [`Settings::acknowledge_after`], 40 ms by default; at once out of order | each at first, then each two segments, else after 40 to 200 ms; one for several with receive offload |
//! | window | [`Settings::receive_buffer`] from the first packet on | grows with what is read |
//! | gaps that a receiver remembers | 32 | by memory |
//! | pacing, ECN | none | none with Cubic, and ECN when asked |
//!
//! So short loads take one to two round trips longer than on Linux, and loads under loss much longer: the least RTO and the missing
//! SACK outweigh the rest. All that a defense is compared with suffers alike.

mod device;
mod host;
mod linux;
mod stack;
#[cfg(test)]
mod tests;

pub use host::{Application, TcpHost};
pub use stack::{Congestion, Connection, Datagrams, Settings, Stack, StackError};

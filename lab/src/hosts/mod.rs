//! TCP/IP hosts: an application, and what it acts on.
//!
//! - [`TcpHost`] is a [`Host`](crate::virtual_network::Host) of a virtual network, or inside the end of a tunnel.
//! - [`Application`] is what runs on it: it is asked to act whenever something may have changed.
//! - [`Sockets`] are what it acts on, connections and datagrams: those of [`Stack`] in virtual time, or the kernel's in real time.
//!
//! [`Stack`] is `smoltcp` 0.14, behind which `linux` sends and acknowledges as Linux 6 does. The same seed, packets and times give
//! the same packets. Whatever arrives, it does not panic, and its memory is bounded by [`Settings`].
//!
//! # What is as on Linux
//!
//! | | |
//! |---|---|
//! | window | ten segments at first (RFC 6928); Cubic (RFC 9438) in the form of `tcp_cubic.c`, with fast convergence and no slower than Reno |
//! | slow start | ends by Linux's HyStart, by trains of acknowledgements and by delay; that is not HyStart++ (RFC 9406) |
//! | losses | SACK (RFC 2018, 2883), RACK and probes of the tail (RFC 8985), PRR (RFC 6937); undone when time stamps tell that there was none (RFC 3522) |
//! | timeout | a second at first, then the round trip and at least 200 ms; it doubles, to 120 s |
//! | unused windows | shrink, and after silence are the first again |
//! | acknowledgements | each segment at first, then each second, or after [`Settings::acknowledge_after`]; at once where a gap is filled; behind one three at once, then each millisecond |
//! | time stamps | in each segment: a full one has 52 bytes of headers |
//! | receive window | 64 KiB at first; grows with what is read, to [`Settings::receive_buffer`] |
//! | send buffer | grows with the window, to [`Settings::send_buffer`] |
//! | pacing, ECN | none |
//!
//! # What differs from Linux
//!
//! | | here | Linux 6 |
//! |---|---|---|
//! | variance of round trips | RFC 6298's | the largest deviation of a round trip |
//! | wait behind a gap | a millisecond | or 5 % of the round trip, if that is less |
//! | acknowledgement of a single segment | after 40 ms | after 40 to 200 ms, by what came before |
//! | offloads | none: each packet is sent by itself; what has arrived when the host comes to it ([`Settings::wakeup`]) is acknowledged once | what arrives together is joined, and acknowledged once |
//! | receive window | grows at once | by each segment, and less if the segments are small |
//! | late packets are told by | time stamps | also by duplicates, and F-RTO |
//! | window after a lost SYN | ten segments | one |
//! | nobody answers | it goes on, every 120 s | the connection breaks after 15 timeouts |
//! | a peer without SACK | repairs by timeouts alone | by duplicate acknowledgements |
//! | end | 10 s of TIME-WAIT; what comes after the application has closed is kept | 60 s; a reset |
//!
//! Beside a kernel of 6.18 with Cubic, on a link of 20 Mbit/s in a process between two namespaces, the same transfers take, from the end of
//! the handshake on (the kernel's median of three or more, 26 November 2026):
//!
//! | link | here | the kernel |
//! |---|---|---|
//! | 30 kB, 100 ms, a queue of 100 ms | 107 ms | 107 ms |
//! | 100 kB, alike | 304 ms | 307 ms |
//! | 500 kB, alike | 536 ms | 543 ms |
//! | 10 MB, alike | 4.48 s | 4.48 s |
//! | 5 MB, 30 ms, a queue of 100 ms | 2.16 s | 2.13 s |
//! | 5 MB, 30 ms, a queue of 16 ms | 2.15 s | 2.15 s |
//! | 5 MB, 30 ms, 1 % of packets lost | 9.3 s (7.4 to 12.2) | 10.2 s (6.4 to 11.6) |

mod device;
mod host;
mod linux;
mod sockets;
mod stack;
#[cfg(test)]
mod tests;

pub use host::{Application, TcpHost};
pub use sockets::{Connection, Datagrams, SocketError, Sockets};
pub use stack::{Congestion, Settings, Stack};

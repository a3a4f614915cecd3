//! A network in virtual time: hosts without sockets, links with a rate and faults, and what an observer sees.
//!
//! Nothing here waits, and nothing reads a clock: time is what has passed since the network began, and goes on from one thing that
//! happens to the next. All that is random is drawn from one seed, so the same network with the same hosts does the same again.
//!
//! - [`Wire`] is what lies between hosts: addresses, links, packets under way, and when each host wants to be woken. Its owner
//!   asks for what happens next, and does it.
//! - [`Network`] is such an owner: it has the hosts, which implement [`Host`], and goes on until a given time.
//! - [`Link`] is one direction between two hosts: delay, rate, queue, jitter, loss, reordering and repetition.
//! - [`Behind`] is a host with a link of its own before it.
//! - [`Tap`] sees what passes, and may meddle with it; [`Trace`] is one that only notes time, direction and size.
//!
//! A packet is moved, not copied: from its host through the wire to the other host it is one buffer. A host that makes packets from
//! borrowed bytes takes buffers that were used before ([`Outbox::send`]). Whatever happens costs O(log n), for n packets under way.
//!
//! ```
//! use std::net::{IpAddr, SocketAddr};
//! use std::time::{Duration, Instant};
//! use maybetun_lab::virtual_network::{Host, Link, Network, Outbox, Packet, Trace};
//!
//! /// Sends back what it is sent.
//! struct Echo;
//!
//! impl Host for Echo {
//!     fn receive(&mut self, packet: Packet, _: Instant, out: &mut Outbox) {
//!         out.put(Packet { from: packet.to, to: packet.from, ..packet });
//!     }
//! }
//!
//! let addresses = [1, 2].map(|last| SocketAddr::from(([192, 0, 2, last], 7)));
//! let mut network = Network::new(1, Trace::default());
//! let [ours, theirs] = addresses.map(|address| network.add(address.ip(), Echo));
//! // 1 Mbit/s and 20 ms to them, 10 ms and no limit back.
//! let upload = Link { rate: Some(125_000), ..Link::with_delay(Duration::from_millis(20)) };
//! network.link(ours, theirs, upload);
//! network.link(theirs, ours, Link::with_delay(Duration::from_millis(10)));
//!
//! network.act(ours, |_, _, out| out.send(addresses[0], addresses[1], &[0; 1_000 - 28]));
//! network.run_until(Duration::from_millis(40));
//!
//! // 1,000 bytes with their headers take 8 ms to leave; it comes back, and is sent again.
//! let times: Vec<_> = network.tap.passed.iter().map(|passed| (passed.at.as_millis(), passed.from, passed.size)).collect();
//! assert_eq!(times, [(0, ours, 1_000), (28, theirs, 1_000), (38, ours, 1_000)]);
//! ```

mod agenda;
mod behind;
mod host;
mod link;
mod network;
mod tap;
mod wire;

pub use behind::Behind;
pub use host::{Host, Outbox, Packet};
#[cfg(feature = "real")]
pub(crate) use link::Lane;
#[cfg(feature = "workloads")]
pub(crate) use link::fraction;
pub use link::{Link, MAX_QUEUE, UDP_V4_HEADERS};
pub use network::Network;
pub use tap::{Fate, Loss, Passed, Passing, Tap, Trace};
pub use wire::{Happening, Node, Wire};

//! What hosts load through a tunnel, as data; and what an observer sees of it.
//!
//! - [`Plan`]: requests with sizes up and down, times and dependencies, and streams of datagrams. A page, a video, an upload, a call
//!   and a quiet phone are plans, and several at once are one.
//! - [`Protocol`]: how its requests share connections, over TCP or QUIC ([`Plan::over`]).
//! - [`Site`]: a site drawn from published distributions, whose visits differ. [`Plan::read_har`] reads a real one.
//! - [`call`], [`video`] and others: what else people do.
//! - [`Access`]: the network between client and relay.
//! - [`load`] and [`run`]: a plan through real tunnels in virtual time, and the trace of the outer flow with what it cost. A
//!   [`Session`] is several plans one after another through the same tunnel.
//!
//! ```
//! # #[cfg(feature = "virtual-time")] {
//! use maybetun_lab::workload::{Access, Site, load};
//!
//! let site = Site::generate(7);
//! let loaded = load(&site, 1, &Access::default(), None, 1);
//! assert!(loaded.time.is_some(), "the page is there");
//! assert!(loaded.down > site.visit(1).down(), "all of it went through the tunnel, with headers");
//! # }
//! ```

mod access;
mod activity;
mod browser;
mod draws;
mod framing;
mod har;
mod http3;
mod lateness;
mod load;
mod plan;
mod protocol;
mod server;
mod site;
#[cfg(test)]
mod tests;

pub use access::{Access, RateChange};
pub use activity::{bulk_down, bulk_up, call, camera, chatter, idle, messaging, video};
pub use browser::Browser;
pub use har::HarError;
pub use lateness::Lateness;
pub use load::{Effort, Load, Run, Session, load, run};
pub use plan::{MAX_BYTES, MAX_ORIGINS, MAX_REQUESTS, Plan, PlanError, Request, Stream};
pub use protocol::{Protocol, UnknownProtocol};
pub use server::Server;
pub use site::Site;

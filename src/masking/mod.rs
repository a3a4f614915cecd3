//! What an observer of the outer flow sees of a tunnel's traffic, and what the user does: on this, padding that knows the traffic is
//! steered. It has no clock and sends nothing.
//!
//! - [`Monitor`] is told of all [`Traffic`](crate::traffic::Traffic), and has the throughput of the last minute, both ways, the user's and
//!   the padding apart.
//! - [`Classifier`] names the user's [`Activity`] by it.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use maybetun::masking::{Activity, Classifier, Monitor};
//! use maybetun::traffic::{Direction, Kind, Traffic};
//!
//! let start = Instant::now();
//! let (mut monitor, mut classifier) = (Monitor::new(start), Classifier::new());
//! // A call: a packet every 20 ms both ways.
//! for number in 0..1_000 {
//!     let at = start + number * Duration::from_millis(20);
//!     for direction in [Direction::Sent, Direction::Received] {
//!         monitor.observe(&Traffic::datagram(Kind::Normal, direction, 232, at).carrying(1, 200));
//!     }
//!     classifier.look(&mut monitor, at);
//! }
//! assert_eq!(classifier.activity(), Activity::Interactive);
//! let window = monitor.window(Duration::from_secs(10));
//! assert_eq!(window.upload_ratio(), Some(1.0));
//! ```

mod activity;
mod monitor;

pub use activity::{Activity, Classifier};
pub use monitor::{Flow, HISTORY, MAX_STEP, MIN_STEP, Monitor, Step, Window};

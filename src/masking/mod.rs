//! What an observer of the outer flow sees of a tunnel's traffic, and what the user does: on this, padding that knows the traffic is
//! steered. Nothing here has a clock, or sends.
//!
//! - [`Monitor`] is told of all [`Traffic`](crate::traffic::Traffic), and has the throughput of the last minute, both ways, the user's and
//!   the padding apart.
//! - [`Classifier`] names the user's [`Activity`] by it.
//! - [`Masking`] is the controller: by [`Terms`] it asks for padding that the sum lacks, and says what is to be kept from leaving.
//! - [`Budget`] has the books of what that may cost.
//!
//! ```
//! use std::time::{Duration, Instant};
//! use maybetun::masking::{Activity, Classifier, Monitor};
//! use maybetun::settings::Role;
//! use maybetun::traffic::{Direction, Kind, Traffic};
//!
//! let start = Instant::now();
//! let (mut monitor, mut classifier) = (Monitor::new(start), Classifier::new(Role::Client));
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
mod allowance;
mod band;
mod budget;
mod control;
mod monitor;
mod pace;
mod status;
mod terms;

pub use activity::{Activity, Classifier};
pub use allowance::Allowance;
pub use band::Band;
pub use budget::{Budget, Purpose};
pub use control::{Asker, MAX_GATHERING, Masking};
pub use monitor::{Counted, Flow, HISTORY, MAX_STEP, MIN_STEP, Monitor, RECENT, Step, Window};
pub use status::{MaskingStatus, Shortfall};
pub use terms::{MaskingMode, Terms, Unreadable};

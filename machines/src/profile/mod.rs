//! Traffic profiles: what a kind of use looks like on the wire, as data, and a walk through one.
//!
//! A [`Profile`] is a Markov chain over states of activity. A state lasts for a drawn time; while it does, each direction
//! is a sequence of bursts at drawn rates with drawn gaps between them. A [`Walk`] draws one course of it and smooths it:
//! what it returns is a rate with momentum, which never jumps. Whoever knows the profile and the stream of random numbers
//! computes the same course, on any machine: nothing that is walked is a floating-point number.
//!
//! Rates are bytes a second, times microseconds, shares hundredths of a percent. The text form is described in
//! `docs/research.md`; what ships was derived, by [`derive`](mod@derive), from captures.
//!
//! ```
//! use std::time::Duration;
//!
//! use maybetun_machines::profile::{ProfileName, Walk};
//! use rand_chacha::ChaCha20Rng;
//! use rand_core::SeedableRng as _;
//!
//! let video = ProfileName::Video.profile();
//! let walk = || Walk::new(video, ChaCha20Rng::from_seed([7; 32]));
//! let (mut one, mut other) = (walk(), walk());
//! let minute = Duration::from_secs(60);
//! for second in 0..60 {
//!     one.at(Duration::from_secs(second));
//! }
//! assert_eq!(one.at(minute), other.at(minute));
//! ```

#[cfg(feature = "capture")]
pub mod capture;
pub mod derive;
mod error;
mod mean;
mod model;
mod name;
mod text;
mod walk;

pub use error::ProfileError;
pub use model::{
    Activity, MAX_BURST, MAX_INERTIA, MAX_POINTS, MAX_RATE, MAX_STATES, MAX_TIME, MAX_WEIGHT, MIN_INERTIA, MIN_POINTS,
    MIN_TIME, Profile, Quantiles, State,
};
pub use name::ProfileName;
pub use text::MAX_PROFILE;
pub use walk::{MOST_SIMULATED, STEP, Walk};

/// Longest name in characters, of a profile or a state.
pub const MAX_NAME: usize = 32;

/// Longest description in characters.
pub const MAX_DESCRIPTION: usize = 256;

/// Longest source in characters.
pub const MAX_SOURCE: usize = 1_024;

/// How fast a tunnel sends: outer bytes a second each way, IP and UDP headers included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Rates {
    /// From the client to the relay.
    pub upload: u64,
    /// From the relay to the client.
    pub download: u64,
}

/// A way through the tunnel, as the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// From the client to the relay.
    Upload,
    /// From the relay to the client.
    Download,
}

impl Direction {
    /// Both, in the order in which a walk draws for them.
    pub const ALL: [Self; 2] = [Self::Upload, Self::Download];

    /// Returns the key of the direction in the text form.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Download => "download",
        }
    }
}

//! Defenses against traffic analysis as data: what one is, its text form, and the catalogue of those that come with
//! maybetun.
//!
//! A [`Defense`] is what both ends of a tunnel run: Maybenot machines and [`Limits`] for the client, machines and limits
//! for the relay. It is written in TOML, with the machines in Maybenot's text form:
//!
//! ```toml
//! name = "noop"
//! description = "Pads nothing and blocks nothing"
//! source = "https://docs.rs/maybenot-machines"
//!
//! [client]
//! machines = ["02eNpjYEAHjOgCAAA0AAI="]
//!
//! [client.limits]
//! max_padding_frac = 0.5
//!
//! [relay]
//! machines = []
//! ```
//!
//! [`find`] looks a defense up in the catalogue, [`draw`] draws a new one from a seed, [`Defense::parse`] reads one that
//! comes from elsewhere. All give a
//! defense whose machines are valid and within the bounds of [`machine`] and [`Defense`]; nothing here runs one.
//!
//! [`profile`] has traffic profiles: what kinds of use look like, which padding may follow.
//!
//! ```
//! use maybetun_machines::{Role, find};
//!
//! let front = find("front").expect("the catalogue has it");
//! let client = front.side(Role::Client);
//! assert_eq!(client.machines.len(), 1);
//! assert!(client.limits.validate().is_ok());
//! ```

mod bounds;
mod catalogue;
mod defense;
mod ephemeral;
mod error;
mod limits;
pub mod machine;
mod pool;
pub mod profile;
mod side;
mod text;

pub use bounds::{OutOfBounds, Quantity};
pub use catalogue::{Entry, catalogue, find};
pub use defense::{Defense, Digest, MAX_DESCRIPTION, MAX_NAME, MAX_SOURCE, Overhead};
pub use ephemeral::{EPHEMERAL, draw, pool_pair};
pub use error::DefenseError;
pub use limits::{DEFAULT_ACTIONS_PER_SECOND, Limits, MAX_ACTIONS_PER_SECOND};
pub use machine::MachineError;
pub use pool::{POOL_PAIRS, POOL_VERSION, Strength, Tier, UnknownName, pool_digest};
pub use side::{MAX_MACHINES, MAX_STATES_A_SIDE, Role, Side};
pub use text::MAX_FILE;

//! Two tunnels on a network that loses, reorders and repeats, in virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agreement;
mod alike;
mod attacks;
mod changes;
mod constant_size;
mod defended;
mod departures;
mod fail_closed;
mod first_packets;
mod handshakes;
mod limits;
mod machines;
mod masking;
mod networks;
mod one_way;
mod properties;
mod required;
mod sealed;
mod silence;
mod timers;

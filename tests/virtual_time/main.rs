//! Two tunnels on a network that loses, reorders and repeats, in virtual time.

mod handshakes;
mod network;
mod properties;

mod timers;

//! Two defended tunnels against Maybenot's simulator: the same machines, the same packets, the same delay.

mod catalogue;
mod compare;
mod fixed;
#[path = "../virtual_time/network.rs"]
#[allow(dead_code, reason = "shared with other tests, which need more of it")]
mod network;
mod random;
mod rules;
#[path = "../virtual_time/sealed.rs"]
#[allow(dead_code, reason = "shared with other tests, which need more of it")]
mod sealed;

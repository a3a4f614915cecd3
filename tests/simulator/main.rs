//! Two defended tunnels against Maybenot's simulator: the same machines, the same packets, the same delay.

mod catalogue;
mod compare;
mod fixed;
mod random;
mod rules;

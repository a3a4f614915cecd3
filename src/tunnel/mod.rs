//! One peer, sans-IO.

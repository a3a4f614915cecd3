//! The `maybetun` command.

fn main() {}

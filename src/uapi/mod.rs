//! WireGuard's cross-platform configuration socket.

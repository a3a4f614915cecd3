//! What happens to a device while it runs.

/// A change of a TUN device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TunEvent {
    /// The interface was brought up: traffic may flow.
    Up,
    /// The interface was taken down: close the sockets, keep the configuration.
    Down,
    /// The interface has this MTU, in bytes.
    Mtu(u16),
    /// The interface was deleted: stop.
    Gone,
}

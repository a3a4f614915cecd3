//! TUN devices: where IP packets enter and leave the tunnel.
//!
//! [`Tun`] is the seam between the driver and the operating system. It moves **batches**: one call may bring many
//! packets, so that an implementation with segmentation offload can hand over a whole 64 KiB burst at once.
//! Three implementations exist: [`LinuxTun`] (`/dev/net/tun`), [`FdTun`] (a descriptor that Android's `VpnService` or
//! Apple's `NEPacketTunnelProvider` hands over) and [`memory::pair`] (tests and embedders without a device).

mod batch;
mod event;
pub mod memory;

pub use batch::{MAX_PACKET, PacketBatch};
pub use event::TunEvent;

use std::io;

/// A device that carries IP packets in batches.
///
/// All methods take `&self`: one task reads while another writes.
pub trait Tun: Send + Sync + 'static {
    /// Waits until packets are there, then appends to `batch` as many as are ready and fit.
    ///
    /// # Errors
    /// Any error is final: the device is gone and the caller should stop.
    fn recv(&self, batch: &mut PacketBatch) -> impl Future<Output = io::Result<()>> + Send;

    /// Writes every packet of `batch`, in order, and empties it. A packet that the operating system refuses is dropped,
    /// as on any link.
    ///
    /// # Errors
    /// Any error is final: the device is gone and the caller should stop.
    fn send(&self, batch: &mut PacketBatch) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits for the next change of the device: up, down, another MTU, gone. The first calls report the state that the
    /// device has now. A device without such notices reports [`TunEvent::Up`] and its MTU once, then waits for ever.
    fn event(&self) -> impl Future<Output = TunEvent> + Send;

    /// Returns the interface name, if there is one.
    fn name(&self) -> &str;
}

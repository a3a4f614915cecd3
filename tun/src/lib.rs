//! TUN devices: where IP packets enter and leave the tunnel.
//!
//! [`Tun`] is the seam between the driver and the operating system. It moves **batches**: one call may bring many
//! packets, so that an implementation with segmentation offload can hand over a whole 64 KiB burst at once.
//!
//! | device | for | state and MTU from |
//! |---|---|---|
//! | [`LinuxTun`] | Linux: `/dev/net/tun`, needs CAP_NET_ADMIN | rtnetlink |
//! | [`FdTun`] | Android's `VpnService`, Apple's `NEPacketTunnelProvider`: a descriptor that they hand over | the embedder |
//! | [`memory::MemoryTun`] | tests, and embedders with an IP stack of their own | its [`memory::MemoryHost`] |
//!
//! All need a tokio runtime with I/O enabled. None wakes while nothing happens.
//!
//! # Example
//!
//! Answers every IPv4 packet by sending it back where it came from, until the interface is deleted:
//!
//! ```no_run
//! # #[cfg(target_os = "linux")]
//! # mod example {
//! use maybetun_tun::{LinuxTun, PacketBatch, Tun, TunEvent};
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tun = LinuxTun::create("echo0")?;
//!     let (mut batch, mut answers) = (PacketBatch::new(), PacketBatch::new());
//!     loop {
//!         tokio::select! {
//!             event = tun.event() => match event {
//!                 TunEvent::Gone => return Ok(()),
//!                 TunEvent::Up | TunEvent::Down | TunEvent::Mtu(_) => println!("{}: {event:?}", tun.name()),
//!             },
//!             received = tun.recv(&mut batch) => {
//!                 received?;
//!                 for index in 0..batch.len() {
//!                     while let Some((buffer, length)) = batch.next_packet(index) {
//!                         let packet = &mut buffer[..length];
//!                         if packet[0] >> 4 == 4 {
//!                             let (source, destination) = packet[12..20].split_at_mut(4);
//!                             source.swap_with_slice(destination);
//!                         }
//!                         answers.push(packet);
//!                         if answers.is_full() {
//!                             tun.send(&mut answers).await?;
//!                         }
//!                     }
//!                 }
//!                 batch.clear();
//!                 tun.send(&mut answers).await?;
//!             }
//!         }
//!     }
//! }
//! # }
//! ```

#![cfg_attr(not(target_os = "linux"), allow(rustdoc::broken_intra_doc_links))]

mod batch;
#[cfg(unix)]
mod descriptor;
mod event;
#[cfg(unix)]
mod fd;
#[cfg(target_os = "linux")]
mod link;
#[cfg(target_os = "linux")]
mod linux;
pub mod memory;
#[cfg(not(target_os = "linux"))]
mod no_offload;
#[cfg(target_os = "linux")]
mod offload;
#[cfg(unix)]
mod refusal;

pub use batch::{MAX_PACKET, PacketBatch};
pub use event::TunEvent;
#[cfg(unix)]
pub use fd::{FdTun, Framing};
#[cfg(target_os = "linux")]
pub use linux::{CreateError, DEFAULT_MTU, LinuxTun, LinuxTunOptions};

use std::io;

/// What the benchmarks of offload measure, without a device.
#[doc(hidden)]
#[cfg(target_os = "linux")]
pub mod for_benchmarks {
    pub use crate::offload::for_benchmarks::{burst, cut, join};
}

/// Tells whether an error of a [`Tun`] says that the device no longer exists, rather than that it failed.
pub fn is_gone(error: &io::Error) -> bool {
    #[cfg(unix)]
    if refusal::Refusal::of(error) == refusal::Refusal::Gone {
        return true;
    }
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof)
}

/// A device that carries IP packets in batches.
///
/// All methods take `&self`: one task reads while another writes.
pub trait Tun: Send + Sync + 'static {
    /// Waits until [`try_recv`](Self::try_recv) may bring something; it may still bring nothing. Cancel safe.
    ///
    /// # Errors
    /// Any error is final: the device is gone and the caller should stop.
    fn readable(&self) -> impl Future<Output = io::Result<()>> + Send;

    /// Appends to `batch` what is there now and fits, and says whether that was anything. An entry is a packet or, from a
    /// device with segmentation offload, a burst of them. Not only who waited may ask: a packet may be there before
    /// [`readable`](Self::readable) says so.
    ///
    /// # Errors
    /// Any error is final: the device is gone and the caller should stop.
    fn try_recv(&self, batch: &mut PacketBatch) -> io::Result<bool>;

    /// Waits until packets are there, then appends them to `batch`: at least one entry, unless `batch` is full already.
    /// Cancel safe.
    ///
    /// # Errors
    /// Any error is final: the device is gone and the caller should stop.
    fn recv(&self, batch: &mut PacketBatch) -> impl Future<Output = io::Result<()>> + Send {
        async {
            while !batch.is_full() {
                self.readable().await?;
                if self.try_recv(batch)? {
                    break;
                }
            }
            Ok(())
        }
    }

    /// Writes every packet of `batch`, which holds no bursts, and empties it. The packets of one flow stay in order. A packet that the operating system refuses is dropped,
    /// as on any link. Not cancel safe: some packets may be written though `batch` still holds all.
    ///
    /// # Errors
    /// Any error is final: the device is gone and the caller should stop.
    fn send(&self, batch: &mut PacketBatch) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits for the next change of the device: up, down, another MTU, gone. The first calls report the state that the
    /// device has now. A device without such notices reports [`TunEvent::Up`] and its MTU once, then waits for ever.
    /// So does every device after [`TunEvent::Gone`]. Cancel safe.
    fn event(&self) -> impl Future<Output = TunEvent> + Send;

    /// Returns the interface name; empty if there is none.
    fn name(&self) -> &str;

    /// Returns the index of the interface among those of the system, if it is one that the system routes by: whoever looks
    /// where datagrams would leave can tell that they would come back.
    fn interface(&self) -> Option<u32> {
        None
    }

    /// Splits the device into its queues, at least one. Each is read by itself and brings packets that no other brings;
    /// the system keeps the packets of one flow on one queue, that on which the other direction is written. All must be
    /// read. [`event`](Self::event) of the first reports for all; the interface ends with the last.
    fn split(self) -> Vec<Self>
    where
        Self: Sized,
    {
        vec![self]
    }
}

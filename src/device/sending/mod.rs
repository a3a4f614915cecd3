//! Hands datagrams to the operating system, without waiting.
//!
//! On Linux and Android by ourselves: several datagrams as one that the kernel cuts (segmentation offload), or each by
//! itself. What one destination refuses changes nothing for others: whatever a send says is forgotten once it is counted,
//! but for what is known of the way to one peer ([`Offload`]).

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod elsewhere;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
mod offload;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::io;
use std::time::Instant;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) use elsewhere::SystemSocket;
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) use linux::SystemSocket;
pub(super) use offload::Offload;

use super::kernel_queue::charge;
use crate::tunnel::{Endpoint, Run};

/// Who cuts a run into datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Segmentation {
    /// The kernel, on its way to the network. On IPv4 the identifiers of what was sent at once show that it was.
    Kernel,
    /// The sender: each datagram looks as if it were alone.
    Sender,
}

/// What takes datagrams: a socket, or what a test has in its place.
pub(super) trait Transmit {
    /// Sends the run as one that the kernel cuts.
    fn send_whole(&self, run: Run<'_>, to: Endpoint) -> io::Result<()>;

    /// Sends the first datagrams of the run, each by itself, and returns how many: at least one.
    fn send_each(&self, run: Run<'_>, to: Endpoint) -> io::Result<usize>;
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Memory that what the operating system took is charged with, in bytes.
    pub(super) charged: usize,
    /// Datagrams that it refused.
    pub(super) failed: u64,
    /// Bytes of those.
    pub(super) failed_bytes: u64,
    /// The kernel took no more.
    pub(super) is_full: bool,
    /// Our address that the peer knows is not ours any more.
    pub(super) local_address_is_stale: bool,
}

/// Sends the datagrams of the run from the first on, until `transmit` takes no more, and returns how many it took or
/// refused. `offload` is what is known of the way to the peer that they are for.
pub(super) fn send(
    transmit: &impl Transmit,
    run: Run<'_>,
    segmentation: Segmentation,
    to: Endpoint,
    offload: &mut Offload,
    sent: &mut Sent,
    now: Instant,
) -> usize {
    let count = run.datagrams().count();
    let mut refusal = None;
    if segmentation == Segmentation::Kernel && count > 1 && offload.is_on(to.remote, now) {
        match transmit.send_whole(run, to) {
            Ok(()) => {
                sent.charged += charge_of(run, count);
                offload.accepted(to.remote);
                return count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sent.is_full = true;
                return 0;
            }
            // What the way to this destination does not take at once, it may take one by one.
            Err(error) => refusal = Some(error),
        }
    }
    let failed = sent.failed;
    let mut done = 0;
    while done < count {
        let rest = run.behind(done);
        match transmit.send_each(rest, to) {
            Ok(taken) => {
                sent.charged += charge_of(rest, taken);
                done += taken;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                sent.is_full = true;
                break;
            }
            Err(error) => {
                tracing::trace!(%error, "datagram not sent");
                sent.failed += 1;
                sent.failed_bytes += rest.datagrams().next().map_or(0, <[u8]>::len) as u64;
                done += 1;
            }
        }
    }
    // Where each by itself is refused too, it is not for being many.
    if let Some(error) = refusal.filter(|_| done > 0 && sent.failed == failed) {
        offload.refused(to.remote, &error, now);
    }
    done
}

/// Returns what the first `count` datagrams of the run are charged with, in bytes.
fn charge_of(run: Run<'_>, count: usize) -> usize {
    run.datagrams().take(count).map(|datagram| charge(datagram.len())).sum()
}

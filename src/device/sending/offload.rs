//! Whether datagrams for one peer are given to the kernel many at once, or each by itself.
//!
//! A refusal depends on the way to the peer: its interface has no offload, its path takes smaller packets, an ICMP message
//! said so, forged or not. So it holds for this peer, while he is where he is, and for a time.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// When a way that refused many at once is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// What is known of the way to one peer.
#[derive(Debug, Default)]
pub(in crate::device) struct Offload {
    refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    by: SocketAddr,
    until: Instant,
}

impl Offload {
    /// Tells whether many at once are worth a try at `now`.
    pub(super) fn is_on(&self, to: SocketAddr, now: Instant) -> bool {
        self.refusal.as_ref().is_none_or(|refusal| refusal.by != to || refusal.until <= now)
    }

    /// Notes that many at once were refused, and each by itself was not.
    pub(super) fn refused(&mut self, by: SocketAddr, error: &io::Error, now: Instant) {
        if self.refusal.as_ref().is_none_or(|refusal| refusal.by != by) {
            tracing::debug!(to = %by, %error, "segmentation offload is off for a peer");
        }
        self.refusal = Some(Refusal { by, until: now + RETRY });
    }

    /// Notes that many at once were taken.
    pub(super) fn accepted(&mut self, to: SocketAddr) {
        if self.refusal.take().is_some_and(|refusal| refusal.by == to) {
            tracing::debug!(%to, "segmentation offload is on again for a peer");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_holds_for_one_address_and_a_time() {
        let [here, there] = [1, 2].map(|last| SocketAddr::from(([192, 0, 2, last], 51820)));
        let (mut offload, now) = (Offload::default(), Instant::now());
        assert!(offload.is_on(here, now));
        offload.refused(here, &io::ErrorKind::InvalidInput.into(), now);
        assert!(!offload.is_on(here, now) && !offload.is_on(here, now + RETRY / 2));
        assert!(offload.is_on(there, now) && offload.is_on(here, now + RETRY));
        offload.accepted(here);
        assert!(offload.is_on(here, now));
    }
}

//! How much padding may leave, whatever machines ask for: the user's limits, the device's, and what an address that has
//! not shown that it receives may be sent; and that none does to a peer that has fallen silent.
//!
//! What is counted is what machines have had sent or queued as padding. A padding action in whose place a packet of the
//! user's leaves costs nothing. Control frames and keepalives leave in any case, and are counted, so that padding makes
//! room for them.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::timers::MAX_SILENCE;
use crate::settings::{Fraction, Limits};
use crate::traffic::{Drop, V4_HEADERS, V6_HEADERS};

/// What an address that has not shown that it receives may be sent, as a multiple of what came from it: that of QUIC (RFC
/// 9000, section 8.1).
const AMPLIFICATION: u64 = 3;

/// The limit that more padding would be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Frac,
    Rate,
    DeviceRate,
    Unproven,
    Silent,
    /// Masking keeps it from leaving, or a budget does.
    Masked(Drop),
}

impl From<Over> for Drop {
    fn from(over: Over) -> Self {
        match over {
            Over::Frac => Self::OverFrac,
            Over::Rate => Self::OverRate,
            Over::DeviceRate => Self::OverDeviceRate,
            Over::Unproven => Self::Unproven,
            Over::Silent => Self::Silent,
            Over::Masked(why) => why,
        }
    }
}

/// A bound on the bytes a second that padding of several tunnels may take together; clones are the same one.
///
/// In any second it is at most twice the rate: what was saved in a second without padding, and what comes in another.
#[derive(Debug, Clone)]
pub struct PaddingRate(Arc<Mutex<Bucket>>);

impl PaddingRate {
    /// Returns a bound of so many bytes a second; 0 is none.
    pub fn new(bytes_per_second: u64) -> Self {
        Self(Arc::new(Mutex::new(Bucket::new(bytes_per_second))))
    }

    fn with<R>(&self, act: impl FnOnce(&mut Bucket) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Default for PaddingRate {
    /// Returns one that bounds nothing.
    fn default() -> Self {
        Self::new(0)
    }
}

/// Bytes that may be taken now, and how they grow: a second's worth at most.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// Bytes a second; 0 is no limit.
    rate: u64,
    /// Nanoseconds of the rate that are there to be taken, at `at`.
    saved: Duration,
    at: Option<Instant>,
}

impl Bucket {
    const DEPTH: Duration = Duration::from_secs(1);

    fn new(rate: u64) -> Self {
        Self { rate, saved: Self::DEPTH, at: None }
    }

    fn cost(&self, bytes: u64) -> Duration {
        Duration::from_nanos((u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(self.rate.max(1))) as u64)
    }

    fn saved(&self, now: Instant) -> Duration {
        let since = self.at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        (self.saved + since).min(Self::DEPTH)
    }

    fn has(&self, bytes: u64, now: Instant) -> bool {
        self.rate == 0 || self.saved(now) >= self.cost(bytes)
    }

    fn take(&mut self, bytes: u64, now: Instant) {
        if self.rate > 0 {
            self.saved = self.saved(now).saturating_sub(self.cost(bytes));
            self.at = Some(self.at.map_or(now, |at| at.max(now)));
        }
    }
}

/// What came from an address and went there, in bytes, while it has not shown that it receives.
#[derive(Debug, Clone, Copy)]
struct Unproven {
    remote: SocketAddr,
    received: u64,
    sent: u64,
}

/// The books of one tunnel's padding. They outlive epochs, and what machines are told.
#[derive(Debug)]
pub(super) struct Padding {
    frac: Option<f64>,
    rate: Bucket,
    device: PaddingRate,
    /// Packets of this tunnel that left, and how many of them were no packets of the user's; what waits as padding is
    /// counted already.
    packets: u64,
    padding: u64,
    /// The address that was the last to show that it receives.
    proven: Option<SocketAddr>,
    unproven: Option<Unproven>,
    /// Since when padding has been sent and nothing heard from the peer.
    unanswered: Option<Instant>,
}

impl Padding {
    pub(super) fn new(device: PaddingRate) -> Self {
        Self {
            frac: None,
            rate: Bucket::new(Limits::default().padding_rate()),
            device,
            packets: 0,
            padding: 0,
            proven: None,
            unproven: None,
            unanswered: None,
        }
    }

    /// Takes other limits; what was counted under others is not held against them.
    pub(super) fn set_limits(&mut self, limits: &Limits) {
        self.frac = limits.max_padding_frac.map(Fraction::get).filter(|frac| *frac > 0.0 && *frac < 1.0);
        self.rate = Bucket::new(limits.padding_rate());
        (self.packets, self.padding) = (0, 0);
    }

    /// Returns the limit that one more packet of `bytes` to `remote` at `now` would be over, if there is one.
    pub(super) fn over(&self, bytes: usize, remote: Option<SocketAddr>, now: Instant) -> Option<Over> {
        let bytes = outer(bytes, remote);
        let is_over_frac = self.frac.is_some_and(|frac| (self.padding + 1) as f64 > frac * (self.packets + 1) as f64);
        if is_over_frac {
            return Some(Over::Frac);
        }
        if !self.rate.has(bytes, now) {
            return Some(Over::Rate);
        }
        if self.is_over_unproven(bytes, remote) {
            return Some(Over::Unproven);
        }
        (!self.device.with(|device| device.has(bytes, now))).then_some(Over::DeviceRate)
    }

    /// Notes that something came from the peer.
    pub(super) fn note_heard(&mut self) {
        self.unanswered = None;
    }

    /// Tells whether padding went unanswered for so long that there is no more.
    pub(super) fn is_unheard(&self, now: Instant) -> bool {
        self.unanswered.is_some_and(|since| now.saturating_duration_since(since) > MAX_SILENCE)
    }

    /// Tells whether `remote` was the last to show that it receives.
    pub(super) fn is_proven(&self, remote: Option<SocketAddr>) -> bool {
        remote == self.proven
    }

    /// Tells whether `remote` has not shown that it receives, and was sent what such an address may be.
    fn is_over_unproven(&self, bytes: u64, remote: Option<SocketAddr>) -> bool {
        if self.is_proven(remote) {
            return false;
        }
        let unproven = self.unproven.filter(|unproven| Some(unproven.remote) == remote);
        unproven.is_none_or(|unproven| unproven.sent + bytes > AMPLIFICATION * unproven.received)
    }

    /// Counts padding of `bytes` that leaves at `now`, or waits from then on.
    pub(super) fn take(&mut self, bytes: usize, remote: Option<SocketAddr>, now: Instant) {
        let bytes = outer(bytes, remote);
        self.note_other();
        self.rate.take(bytes, now);
        self.device.with(|device| device.take(bytes, now));
    }

    /// Notes that padding of `bytes` leaves for `remote` at `now`; `false` if it must not: see [`over`](Self::over).
    pub(super) fn leaves(&mut self, bytes: usize, remote: Option<SocketAddr>, now: Instant) -> bool {
        let bytes = outer(bytes, remote);
        if self.is_over_unproven(bytes, remote) {
            return false;
        }
        if let Some(unproven) = self.unproven.as_mut().filter(|unproven| Some(unproven.remote) == remote) {
            unproven.sent += bytes;
        }
        self.unanswered.get_or_insert(now);
        true
    }

    /// Counts a datagram with packets of the user's.
    pub(super) fn note_normal(&mut self) {
        self.packets += 1;
    }

    /// Counts a datagram without any that no machine has asked for.
    pub(super) fn note_other(&mut self) {
        self.packets += 1;
        self.padding += 1;
    }

    /// Notes an authenticated datagram of `length` bytes from `remote`; tells whether `remote` should be asked to show that
    /// it receives: it is not known to, and was not asked yet.
    pub(super) fn received(&mut self, length: usize, remote: SocketAddr) -> bool {
        if self.proven == Some(remote) {
            self.unproven = None;
            return false;
        }
        let received = outer(length, Some(remote));
        match self.unproven.as_mut().filter(|unproven| unproven.remote == remote) {
            Some(unproven) => {
                unproven.received += received;
                false
            }
            None => {
                self.unproven = Some(Unproven { remote, received, sent: 0 });
                true
            }
        }
    }

    /// Notes that what was sent to `remote` was received by the peer.
    pub(super) fn prove(&mut self, remote: SocketAddr) {
        self.proven = Some(remote);
        self.unproven = self.unproven.filter(|unproven| unproven.remote != remote);
    }
}

/// Returns the length of the IP packet around a UDP payload of `bytes`.
fn outer(bytes: usize, remote: Option<SocketAddr>) -> u64 {
    let is_ipv6 = remote.is_some_and(|remote| remote.is_ipv6());
    (bytes + if is_ipv6 { V6_HEADERS } else { V4_HEADERS }) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BYTES: usize = 1_452;

    fn remote(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 51_820))
    }

    /// Padding without a limit, to a proven address.
    fn unlimited() -> Padding {
        let mut padding = Padding::new(PaddingRate::default());
        padding.set_limits(&Limits { max_padding_rate: Some(0), ..Limits::default() });
        padding.prove(remote(1));
        padding
    }

    fn take(padding: &mut Padding, to: SocketAddr, now: Instant) -> Result<(), Over> {
        padding.over(BYTES, Some(to), now).map_or(Ok(()), Err)?;
        padding.take(BYTES, Some(to), now);
        assert!(padding.leaves(BYTES, Some(to), now));
        Ok(())
    }

    proptest! {
        #[test]
        fn a_fraction_holds_at_every_instant(
            hundredths in 1..100u32,
            packets in prop::collection::vec(0..3u8, 1..500),
        ) {
            let frac = f64::from(hundredths) / 100.0;
            let mut padding = unlimited();
            padding.set_limits(&Limits { max_padding_frac: Fraction::new(frac), max_padding_rate: Some(0), ..Limits::default() });
            padding.prove(remote(1));
            let (mut sent, mut all, now) = (0, 0, Instant::now());
            for packet in packets {
                if packet == 0 {
                    padding.note_normal();
                    all += 1;
                } else if take(&mut padding, remote(1), now).is_ok() {
                    (sent, all) = (sent + 1, all + 1);
                }
                prop_assert!(f64::from(sent) <= frac * f64::from(all));
            }
        }

        #[test]
        fn in_any_second_at_most_twice_the_rate_leaves(
            rate in 1..100_000_000u64,
            pauses in prop::collection::vec(0..100_000u64, 1..2_000),
        ) {
            let (start, mut at) = (Instant::now(), Duration::ZERO);
            let mut padding = unlimited();
            padding.set_limits(&Limits { max_padding_rate: Some(rate), ..Limits::default() });
            padding.prove(remote(1));
            let mut left: Vec<(Duration, u64)> = Vec::new();
            for pause in pauses {
                at += Duration::from_micros(pause);
                if take(&mut padding, remote(1), start + at).is_ok() {
                    left.push((at, outer(BYTES, Some(remote(1)))));
                }
            }
            for (first, (from, _)) in left.iter().enumerate() {
                let second: u64 = left[first..].iter().take_while(|(at, _)| *at < *from + Bucket::DEPTH).map(|(_, bytes)| bytes).sum();
                prop_assert!(second <= 2 * rate);
            }
        }
    }

    #[test]
    fn a_rate_is_reached_and_shared_where_it_is_the_device_s() {
        let (device, start) = (PaddingRate::new(150_000), Instant::now());
        let mut tunnels = [0, 1].map(|_| Padding::new(device.clone()));
        let mut taken = [0, 0];
        for millis in 0..10_000 {
            for (padding, taken) in tunnels.iter_mut().zip(&mut taken) {
                padding.prove(remote(1));
                *taken += u64::from(take(padding, remote(1), start + Duration::from_millis(millis)).is_ok());
            }
        }
        let bytes = (taken[0] + taken[1]) * outer(BYTES, Some(remote(1)));
        assert!((1_640_000..=1_650_000).contains(&bytes), "10 s of the rate, and one saved: {bytes}");
        assert_eq!(tunnels[0].over(BYTES, Some(remote(1)), start + Duration::from_secs(10)), Some(Over::DeviceRate));
    }

    #[test]
    fn an_address_that_has_not_shown_that_it_receives_gets_three_times_what_came_from_it() {
        let (mut padding, now) = (unlimited(), Instant::now());
        assert_eq!(take(&mut padding, remote(2), now), Err(Over::Unproven), "nothing came from it");
        assert!(padding.received(BYTES, remote(2)) && !padding.received(BYTES, remote(2)), "it is asked once");
        let taken = (0..100).filter(|_| take(&mut padding, remote(2), now).is_ok()).count();
        assert_eq!(taken, 6);
        // Moving there and back gives nothing anew beyond what came.
        assert!(!padding.received(BYTES, remote(1)) && padding.received(100, remote(2)));
        assert_eq!(take(&mut padding, remote(2), now), Err(Over::Unproven));
        padding.prove(remote(2));
        assert!((0..100).all(|_| take(&mut padding, remote(2), now).is_ok()));
        assert_eq!(take(&mut padding, remote(1), now), Err(Over::Unproven), "it is the last that counts");
    }
}

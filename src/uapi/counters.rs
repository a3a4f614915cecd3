//! Our own keys in the response to a get: counters that WireGuard's protocol does not carry. A
//! counter that is 0 is left out; `wg` ignores them all.

use crate::settings::{DeviceDrops, Statistics};

/// A key and where its value lives.
pub(super) type Counter<T> = (&'static str, fn(&mut T) -> &mut u64);

/// Counters of the device; they stand before the first peer.
pub(super) const DEVICE: [Counter<DeviceDrops>; 4] = [
    ("maybetun_dropped_no_route", |drops| &mut drops.no_route),
    ("maybetun_dropped_unknown", |drops| &mut drops.unknown),
    ("maybetun_dropped_rate_limited", |drops| &mut drops.rate_limited),
    ("maybetun_dropped_send_failed", |drops| &mut drops.send_failed),
];

/// Counters of a peer.
pub(super) const PEER: [Counter<Statistics>; 10] = [
    ("maybetun_tx_packets", |statistics| &mut statistics.sent_packets),
    ("maybetun_rx_packets", |statistics| &mut statistics.received_packets),
    ("maybetun_handshakes", |statistics| &mut statistics.handshakes),
    ("maybetun_dropped_queue_full", |statistics| &mut statistics.dropped.queue_full),
    ("maybetun_dropped_no_session", |statistics| &mut statistics.dropped.no_session),
    ("maybetun_dropped_no_endpoint", |statistics| &mut statistics.dropped.no_endpoint),
    ("maybetun_dropped_source_not_allowed", |statistics| &mut statistics.dropped.source_not_allowed),
    ("maybetun_dropped_replayed", |statistics| &mut statistics.dropped.replayed),
    ("maybetun_dropped_unauthenticated", |statistics| &mut statistics.dropped.unauthenticated),
    ("maybetun_dropped_malformed", |statistics| &mut statistics.dropped.malformed),
];

/// Finds the place of the counter called `key` in `of`.
pub(super) fn place<'a, T>(counters: &[Counter<T>], key: &str, of: &'a mut T) -> Option<&'a mut u64> {
    let (_, field) = counters.iter().find(|(name, _)| *name == key)?;
    Some(field(of))
}

//! Our own keys in the response to a get: counters that WireGuard's protocol does not carry. A
//! counter that is 0 is left out; `wg` ignores them all.

use std::time::Duration;

use crate::settings::{DefenseStatistics, DeviceDrops, HandshakeLoad, Statistics};

/// A key and where its value lives.
pub(super) type Counter<T> = (&'static str, fn(&mut T) -> &mut u64);

/// Counters of the device; they stand before the first peer.
pub(super) const DEVICE: [Counter<DeviceDrops>; 6] = [
    ("maybetun_dropped_no_route", |drops| &mut drops.no_route),
    ("maybetun_dropped_unknown", |drops| &mut drops.unknown),
    ("maybetun_dropped_rate_limited", |drops| &mut drops.rate_limited),
    ("maybetun_dropped_send_failed", |drops| &mut drops.send_failed),
    ("maybetun_dropped_congested", |drops| &mut drops.congested),
    ("maybetun_dropped_came_back", |drops| &mut drops.came_back),
];

/// Counters of the device's handshake messages; they stand behind those.
pub(super) const HANDSHAKES: [Counter<HandshakeLoad>; 5] = [
    ("maybetun_handshakes_per_second", |load| &mut load.per_second),
    ("maybetun_handshakes_max_per_second", |load| &mut load.max_per_second),
    ("maybetun_handshakes_cookies_sent", |load| &mut load.cookies_sent),
    ("maybetun_handshakes_too_many", |load| &mut load.too_many),
    ("maybetun_handshakes_invalid", |load| &mut load.invalid),
];

/// Counters of a peer.
pub(super) const PEER: [Counter<Statistics>; 11] = [
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
    ("maybetun_dropped_unprotected", |statistics| &mut statistics.dropped.unprotected),
];

/// Counters of a defense that gotatun tells too, by its names; they are told even if they are 0, as it does.
pub(super) const DAITA: [Counter<DefenseStatistics>; 4] = [
    ("daita_rx_padding_bytes", |statistics| &mut statistics.constant_size_received_bytes),
    ("daita_tx_padding_bytes", |statistics| &mut statistics.constant_size_sent_bytes),
    ("daita_rx_decoy_packet_bytes", |statistics| &mut statistics.padding_received_bytes),
    ("daita_tx_decoy_packet_bytes", |statistics| &mut statistics.padding_sent_bytes),
];

/// The other counters of a defense.
pub(super) const DEFENSE: [Counter<DefenseStatistics>; 22] = [
    ("maybetun_defense_rx_normal_bytes", |statistics| &mut statistics.normal_received_bytes),
    ("maybetun_defense_tx_normal_bytes", |statistics| &mut statistics.normal_sent_bytes),
    ("maybetun_defense_rx_padding_packets", |statistics| &mut statistics.padding_received_packets),
    ("maybetun_defense_tx_padding_packets", |statistics| &mut statistics.padding_sent_packets),
    ("maybetun_defense_padding_dropped_no_session", |statistics| &mut statistics.padding_dropped.no_session),
    ("maybetun_defense_padding_dropped_queue_full", |statistics| &mut statistics.padding_dropped.queue_full),
    ("maybetun_defense_padding_dropped_no_room", |statistics| &mut statistics.padding_dropped.no_room),
    ("maybetun_defense_padding_dropped_over_frac", |statistics| &mut statistics.padding_dropped.over_frac),
    ("maybetun_defense_padding_dropped_over_rate", |statistics| &mut statistics.padding_dropped.over_rate),
    ("maybetun_defense_padding_dropped_over_device_rate", |statistics| {
        &mut statistics.padding_dropped.over_device_rate
    }),
    ("maybetun_defense_padding_dropped_unproven", |statistics| &mut statistics.padding_dropped.unproven),
    ("maybetun_defense_padding_dropped_silent", |statistics| &mut statistics.padding_dropped.silent),
    ("maybetun_defense_too_large", |statistics| &mut statistics.too_large),
    ("maybetun_defense_marks_ignored", |statistics| &mut statistics.marks_ignored),
    ("maybetun_defense_tx_bundles", |statistics| &mut statistics.bundles_sent),
    ("maybetun_defense_tx_bundled_packets", |statistics| &mut statistics.bundled_sent_packets),
    ("maybetun_defense_rx_bundles", |statistics| &mut statistics.bundles_received),
    ("maybetun_defense_rx_bundled_packets", |statistics| &mut statistics.bundled_received_packets),
    ("maybetun_defense_padding_actions", |statistics| &mut statistics.padding_actions),
    ("maybetun_defense_blocking_actions", |statistics| &mut statistics.blocking_actions),
    ("maybetun_defense_actions_capped", |statistics| &mut statistics.actions_capped),
    ("maybetun_defense_queue_high_water", |statistics| &mut statistics.queue_high_water),
];

/// A key and where its duration lives. The value is in whole microseconds.
pub(super) type Span = (&'static str, fn(&mut DefenseStatistics) -> &mut Duration);

/// Durations of a defense.
pub(super) const DEFENSE_SPANS: [Span; 3] = [
    ("maybetun_defense_blocked_us", |statistics| &mut statistics.blocked),
    ("maybetun_defense_lateness_p50_us", |statistics| &mut statistics.lateness_p50),
    ("maybetun_defense_lateness_p99_us", |statistics| &mut statistics.lateness_p99),
];

/// Finds the place of the counter called `key` in `of`.
pub(super) fn place<'a, T>(counters: &[Counter<T>], key: &str, of: &'a mut T) -> Option<&'a mut u64> {
    let (_, field) = counters.iter().find(|(name, _)| *name == key)?;
    Some(field(of))
}

use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(100);

#[test]
fn the_first_flight_has_ten_segments_and_the_second_twenty() {
    let mut talk = Talk::new(&half(ROUND_TRIP), &segments(100), &[], nothing());
    talk.heard();
    let flight = |number: u32| {
        // The handshake takes the first round trip.
        let from = ROUND_TRIP * (number + 1);
        talk.data().iter().filter(|seen| (from..from + ROUND_TRIP).contains(&seen.at)).count()
    };
    assert_eq!([0, 1, 2].map(flight), [10, 20, 40]);
}

#[test]
fn the_window_is_the_first_again_after_a_time_of_silence() {
    let says = [(Duration::ZERO, 60 * FULL), (5 * SECOND, 60 * FULL)];
    let mut talk = Talk::new(&half(ROUND_TRIP), &says, &[], nothing());
    talk.heard();
    let again = talk.data().iter().filter(|seen| (5 * SECOND..5 * SECOND + ROUND_TRIP).contains(&seen.at)).count();
    assert_eq!(again, 10);
}

/// 20 Mbit/s.
const RATE: u64 = 2_500_000;

fn bottleneck(round_trip: Duration, queue: usize) -> Link {
    Link { rate: Some(RATE), queue, ..half(round_trip) }
}

#[test]
fn slow_start_ends_before_a_queue_of_a_round_trip_overflows() {
    let bandwidth_delay = RATE as usize / 10;
    let mut talk = Talk::new(&bottleneck(ROUND_TRIP, bandwidth_delay), &segments(5_000), &[], nothing());
    talk.network.run_until(SECOND);
    let overflows = &talk.network.tap.overflows;
    assert!(overflows.is_empty(), "{overflows:?}");
    // And the link is full soon.
    let took = talk.heard();
    let least = Duration::from_secs_f64(5_000.0 * 1_420.0 / RATE as f64);
    assert!(took < least + SECOND, "{took:?} instead of {least:?}");
}

#[test]
fn a_queue_that_is_small_costs_little() {
    let mut talk = Talk::new(&bottleneck(30 * MS, 40_000), &segments(5_000), &[], nothing());
    let took = talk.heard();
    let least = Duration::from_secs_f64(5_000.0 * 1_420.0 / RATE as f64);
    assert!(took < least * 6 / 5, "{took:?} instead of {least:?}");
}

#[test]
fn a_send_buffer_grows_with_the_window() {
    let mut talk = Talk::new(&half(ROUND_TRIP), &segments(5_000), &[], nothing());
    talk.network.run_until(ROUND_TRIP * 3 / 2);
    let before = talk.network.host(talk.client).application.sent;
    assert_eq!(before, 10 * 2 * 4_352);
    talk.network.run_until(ROUND_TRIP * 7 / 2);
    assert!(talk.network.host(talk.client).application.sent > 4 * before);
}

#[test]
fn without_congestion_control_all_that_the_peer_takes_is_sent_at_once() {
    let settings = Settings { congestion: crate::hosts::Congestion::Unlimited, ..Settings::default() };
    let mut talk = Talk::with(&settings, &half(ROUND_TRIP), &segments(100), &[], nothing());
    talk.network.run_until(ROUND_TRIP * 3 / 2);
    assert_eq!(talk.data().len(), 65_535_usize.div_ceil(FULL));
}

/// What Linux 6.18's Cubic took, from the end of the handshake on: between two namespaces that a process with such a link joins.
#[test]
fn transfers_take_as_long_as_on_linux() {
    let bandwidth_delay = RATE as usize / 10;
    for (size, round_trip, queue, linux) in [
        (30_000, 100, bandwidth_delay, 107),
        (100_000, 100, bandwidth_delay, 307),
        (500_000, 100, bandwidth_delay, 543),
        (10_000_000, 100, bandwidth_delay, 4_482),
        (5_000_000, 30, bandwidth_delay, 2_133),
        (5_000_000, 30, 40_000, 2_146),
    ] {
        let link = bottleneck(MS * round_trip, queue);
        let mut talk = Talk::new(&link, &[(Duration::ZERO, size)], &[], nothing());
        let took = (talk.heard() - MS * round_trip * 3 / 2).as_secs_f64() * 1_000.0;
        let linux = f64::from(linux);
        assert!((took / linux - 1.0).abs() < 0.03, "{size} bytes at {round_trip} ms: {took} ms instead of {linux}");
    }
}

/// Linux 6.18's Cubic took 6.4 to 11.6 s for the same, 10.2 in the median of twelve: between two namespaces that a process with such a
/// link joins.
#[test]
fn random_losses_cost_what_they_do_on_linux() {
    let mut times: Vec<_> = (0..16)
        .map(|seed| {
            let decide = super::properties::faults(seed, [10, 0, 0], (0, 0));
            let link = bottleneck(30 * MS, RATE as usize / 10);
            Talk::new(&link, &[(Duration::ZERO, 5_000_000)], &[], decide).heard()
        })
        .collect();
    times.sort_unstable();
    assert!(times[0] > 6 * SECOND && times[15] < 14 * SECOND, "{times:?}");
    assert!((8 * SECOND..11 * SECOND).contains(&times[8]), "{times:?}");
}

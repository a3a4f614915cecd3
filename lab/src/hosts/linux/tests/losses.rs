use super::*;

const ROUND_TRIP: Duration = Duration::from_millis(100);

/// What so many segments take, of which some are lost once; and the talk.
fn with_losses(count: usize, lost: &[usize]) -> (Duration, Talk) {
    let mut talk = Talk::new(&half(ROUND_TRIP), &segments(count), &[], once(lost));
    (talk.heard(), talk)
}

#[test]
fn a_loss_in_the_middle_costs_a_round_trip() {
    let (without, _) = with_losses(30, &[]);
    let (with, talk) = with_losses(30, &[12]);
    assert_eq!(talk.repeats().len(), 1);
    assert_eq!(with - without, ROUND_TRIP);
}

#[test]
fn several_losses_of_a_window_are_repaired_together() {
    let (without, _) = with_losses(30, &[]);
    for lost in [&[12, 17][..], &[10, 11, 12, 20, 24], &[10, 12, 14, 16, 18, 20, 22]] {
        let (with, talk) = with_losses(30, lost);
        let repeats: Vec<_> = talk.repeats().iter().map(|seen| seen.from / FULL).collect();
        assert_eq!(repeats, lost, "each once, and nothing else");
        assert!(with - without <= ROUND_TRIP * 2, "{lost:?}: {:?}", with - without);
    }
}

#[test]
fn what_is_lost_again_is_found_without_a_timeout() {
    let mut times = 0;
    let decide = move |seen: &Seen| {
        let is_it = seen.is_up && seen.is_data() && seen.from == 12 * FULL;
        times += u32::from(is_it);
        lose(is_it && times <= 2)
    };
    let (without, _) = with_losses(60, &[]);
    let mut talk = Talk::new(&half(ROUND_TRIP), &segments(60), &[], Box::new(decide));
    let with = talk.heard();
    // A timeout alone is 300 ms after what was sent again.
    assert!(with - without <= ROUND_TRIP * 2 + ROUND_TRIP / 2, "{:?}", with - without);
    assert_eq!(talk.repeats().len(), 2);
}

#[test]
fn a_lost_tail_is_repaired_by_a_probe() {
    let (without, _) = with_losses(30, &[]);
    let (with, talk) = with_losses(30, &[28, 29]);
    let repeats = talk.repeats();
    let order: Vec<_> = repeats.iter().map(|seen| seen.from / FULL).collect();
    assert_eq!(order, [29, 28], "the last comes first, and tells of the others");
    // Two round trips from the last acknowledgement on, which came with the end of one; then it tells, and that is repaired.
    let last = talk.data()[29].at;
    let probe = repeats[0].at - last;
    assert!((ROUND_TRIP * 3..ROUND_TRIP * 3 + 20 * MS).contains(&probe), "{probe:?}");
    assert!(with - without <= ROUND_TRIP * 4 + 50 * MS, "{:?}", with - without);
}

#[test]
fn a_lost_end_is_sent_again() {
    let mut times = 0;
    let decide = move |seen: &Seen| {
        times += u32::from(seen.is_up && seen.is_end);
        lose(seen.is_up && seen.is_end && times <= 2)
    };
    let mut talk = Talk::new(&half(ROUND_TRIP), &segments(3), &[], Box::new(decide));
    let took = talk.finish();
    assert!(took < 2 * SECOND, "{took:?}");
}

#[test]
fn a_timeout_is_200_ms_at_least_and_doubles() {
    let decide = |seen: &Seen| lose(seen.is_up && seen.is_data() && seen.from >= 20 * FULL);
    let mut talk = Talk::new(&half(2 * MS), &segments(21), &[], Box::new(decide));
    talk.network.run_until(30 * SECOND);
    let sent: Vec<_> = talk.data().iter().filter(|seen| seen.from == 20 * FULL).map(|seen| seen.at).collect();
    let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // The first is a probe's.
    assert!((200 * MS..207 * MS).contains(&gaps[1]), "{gaps:?}");
    assert!(gaps.len() >= 6 && gaps[1..].windows(2).all(|pair| pair[1] == pair[0] * 2), "{gaps:?}");
}

#[test]
fn after_a_timeout_all_is_repaired_in_slow_start() {
    // Nothing of the second round trip arrives, and no probe of it.
    let decide = |seen: &Seen| lose(seen.is_up && (240 * MS..640 * MS).contains(&seen.at));
    let mut talk = Talk::new(&half(ROUND_TRIP), &segments(200), &[], Box::new(decide));
    let took = talk.heard();
    assert!(took < 3 * SECOND, "{took:?}");
    let first = talk.repeats().iter().filter(|seen| seen.at >= 640 * MS).map(|seen| seen.from).next();
    assert!(first.is_some());
}

/// Each end has what the other has sent, and the other does not hear so. In smoltcp alone, each then acknowledged from where it had
/// begun again, took what the other says for outside of its window, and neither ever heard.
#[test]
fn two_ends_that_have_both_timed_out_hear_each_other_again() {
    let says = [(Duration::ZERO, 60 * FULL), (SECOND, 20 * FULL)];
    // What is said at once arrives, and no answer does.
    let decide = |seen: &Seen| lose((1_001 * MS..10_000 * MS).contains(&seen.at));
    let mut talk = Talk::new(&half(ROUND_TRIP), &says, &says, Box::new(decide));
    let took = talk.finish();
    assert!(took < 30 * SECOND, "{took:?}");
}

#[test]
fn packets_that_are_late_are_not_taken_for_lost_for_long() {
    // What leaves meanwhile arrives when that is over, in order.
    let pause = 1_000 * MS..1_800 * MS;
    let of_pause = pause.clone();
    let decide = move |seen: &Seen| {
        let is_late = seen.is_up && of_pause.contains(&seen.at);
        if is_late { Fate::Delay(of_pause.end - seen.at) } else { Fate::Deliver }
    };
    let says: Vec<_> = (0..300).map(|turn| (10 * MS * turn, 4 * FULL)).collect();
    let mut talk = Talk::new(&half(ROUND_TRIP), &says, &[], Box::new(decide));
    talk.heard();
    let late = talk.data().iter().filter(|seen| pause.contains(&seen.at)).count();
    let repeats = talk.repeats().len();
    assert!(late > 40 && repeats < 10, "{repeats} of {late} were sent again");
}

#[test]
fn reordered_packets_are_learnt_of() {
    // Each tenth segment is overtaken by a quarter of a round trip's.
    let mut count = 0;
    let decide = move |seen: &Seen| {
        count += u32::from(seen.is_up && seen.is_data());
        let is_late = seen.is_up && seen.is_data() && count % 10 == 0;
        if is_late { Fate::Delay(10 * MS) } else { Fate::Deliver }
    };
    let link = Link { rate: Some(2_500_000), ..half(ROUND_TRIP) };
    let mut talk = Talk::new(&link, &segments(2_000), &[], Box::new(decide));
    talk.heard();
    let repeats = talk.repeats().len();
    assert!(repeats < 60, "{repeats} of 200 were sent again");
}

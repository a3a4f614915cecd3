use proptest::prelude::*;

use super::*;
use crate::masking::Allowance;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// The payload of a padding datagram.
const PAYLOAD: usize = 1_452;

fn on(budget: Allowance) -> Terms {
    Terms { mode: MaskingMode::Adaptive, masking_budget: budget, ..Terms::default() }
}

/// One end between a user and a network that takes all padding that the budgets allow.
struct End {
    masking: Masking,
    now: Instant,
    asked: u64,
    left: u64,
    /// When it left.
    instants: Vec<Instant>,
    wakeups: u64,
}

impl End {
    fn new(role: Role, terms: Terms) -> Self {
        let now = Instant::now() + Duration::from_secs(1_000_000);
        Self {
            masking: Masking::new(role, terms, [7; 32], now),
            now,
            asked: 0,
            left: 0,
            instants: Vec::new(),
            wakeups: 0,
        }
    }

    /// Has datagrams with packets of the user's pass.
    fn pass(&mut self, direction: Direction, datagrams: usize, packet: usize) {
        for _ in 0..datagrams {
            let datagram = Traffic::datagram(Kind::Normal, direction, PAYLOAD, self.now).carrying(1, packet);
            self.masking.observe(&datagram);
        }
    }

    /// Lets time pass, and does what is due.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.masking.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.wakeups += 1;
            while let Some(effect) = self.masking.poll(self.now) {
                assert!(matches!(effect, Effect::Pad { .. }));
                self.asked += 1;
                match self.masking.over(Asker::Masking, PAYLOAD, self.now) {
                    None => {
                        self.masking.spend(Asker::Masking, PAYLOAD, self.now);
                        self.masking.observe(&Traffic::datagram(Kind::Padding, Direction::Sent, PAYLOAD, self.now));
                        self.left += 1;
                        self.instants.push(self.now);
                    }
                    Some(why) => self.masking.refused(why, self.now),
                }
            }
        }
        self.now = until;
    }
}

#[test]
fn a_relay_pads_the_download_until_the_ratio_is_in_its_band() {
    let mut relay = End::new(Role::Relay, on(Allowance { per_second: Some(10_000_000), ..Allowance::NONE }));
    for _ in 0..600 {
        relay.pass(Direction::Received, 5, 1_400);
        relay.run(100 * MS);
    }
    let status = relay.masking.status(relay.now);
    let ratio = f64::from(status.ratio.unwrap()) / 100.0;
    assert!((5.0..8.0).contains(&ratio), "{ratio} %");
    assert_eq!((status.activity, status.is_visible, status.shortfall), (Activity::Upload, false, Shortfall::None));
    assert_eq!(relay.asked, relay.left);
}

#[test]
fn where_the_budget_is_used_up_the_class_is_visible_and_nothing_more_is_asked_for_at_once() {
    let mut relay = End::new(Role::Relay, on(Allowance::MASKING));
    for _ in 0..600 {
        relay.pass(Direction::Received, 5, 1_400);
        relay.run(100 * MS);
    }
    let status = relay.masking.status(relay.now);
    assert!(status.is_visible && status.shortfall == Shortfall::MaskingBudget, "{status:?}");
    // Nine tenths of 30 % of 3,000 packets.
    let most = 3_000.0 * 1_400.0 * 0.27 / 1_480.0;
    assert!((0.9 * most..=most).contains(&(relay.left as f64)), "{} of {most}", relay.left);
    assert!(relay.asked - relay.left <= 61, "once a second: {}", relay.asked - relay.left);
}

#[test]
fn a_client_pads_the_upload_where_too_little_goes_up_and_keeps_machines_from_more() {
    let mut client = End::new(Role::Client, on(Allowance::NONE));
    let suppressed = |client: &End| client.masking.over(Asker::Machines, PAYLOAD, client.now);
    assert_eq!(suppressed(&client), Some(Drop::Suppressed), "nothing has come down");
    for _ in 0..300 {
        client.pass(Direction::Received, 40, 1_400);
        client.run(100 * MS);
    }
    let ratio = f64::from(client.masking.status(client.now).ratio.unwrap()) / 100.0;
    assert!((3.0..=4.0).contains(&ratio), "{ratio} %");
    // While he downloads a quarter of what the user has sent is plausible: nothing.
    assert_eq!(suppressed(&client), Some(Drop::Suppressed));
    client.pass(Direction::Sent, 2_000, 1_400);
    client.run(SECOND);
    assert_eq!(suppressed(&client), Some(Drop::Suppressed), "now too much goes up");
}

#[test]
fn machines_may_pad_where_the_ratio_has_room() {
    let mut client = End::new(Role::Client, on(Allowance::NONE));
    client.pass(Direction::Received, 1_000, 1_400);
    client.run(100 * MS);
    let mut left = 0;
    while client.masking.over(Asker::Machines, PAYLOAD, client.now).is_none() {
        client.masking.spend(Asker::Machines, PAYLOAD, client.now);
        client.masking.observe(&Traffic::datagram(Kind::Padding, Direction::Sent, PAYLOAD, client.now));
        left += 1;
    }
    assert!((39..=40).contains(&left), "half of 8 %: {left}");
}

#[test]
fn a_call_is_made_to_look_like_a_video_where_the_budget_allows_it() {
    let mut relay = End::new(Role::Relay, on(Allowance { per_second: Some(20_000_000), ..Allowance::NONE }));
    for _ in 0..3_000 {
        relay.pass(Direction::Received, 1, 200);
        relay.pass(Direction::Sent, 1, 200);
        relay.run(20 * MS);
    }
    let status = relay.masking.status(relay.now);
    assert_eq!((status.activity, status.target), (Activity::Interactive, Some(ProfileName::Video)));
    assert!(!status.is_visible && relay.left > 10_000, "{status:?}, {}", relay.left);
    let idle = End::new(Role::Relay, on(Allowance::NONE));
    assert!(idle.masking.status(idle.now).target.is_none());
}

#[test]
fn a_silent_tunnel_wakes_nobody_and_a_saving_one_at_most_once_a_second() {
    let mut relay = End::new(Role::Relay, Terms { saves_battery: true, ..on(Allowance::NONE) });
    assert_eq!(relay.masking.next_timeout(), None);
    for _ in 0..60 {
        relay.pass(Direction::Received, 3, 100);
        relay.run(SECOND);
    }
    assert!(relay.wakeups <= 61 && relay.left > 0, "{} wakeups, {} datagrams", relay.wakeups, relay.left);
    relay.run(120 * SECOND);
    assert_eq!(relay.masking.next_timeout(), None);
    let wakeups = relay.wakeups;
    relay.run(100_000 * SECOND);
    assert_eq!(relay.wakeups, wakeups);
}

#[test]
fn what_is_off_does_nothing_and_a_budget_of_all_padding_holds_without_masking() {
    let budget = Allowance { per_hour: Some(100_000), ..Allowance::NONE };
    let mut client = End::new(Role::Client, Terms { padding_budget: Some(budget), ..Terms::default() });
    client.pass(Direction::Sent, 10, 1_400);
    assert_eq!(client.masking.next_timeout(), None);
    let mut left = 0;
    while client.masking.over(Asker::Machines, PAYLOAD, client.now).is_none() {
        client.masking.spend(Asker::Machines, PAYLOAD, client.now);
        left += 1;
    }
    // What one size added to ten packets is spent, too; machines have seventeen twentieths.
    assert_eq!(left, (85_000 - 10 * 80) / 1_480);
    assert_eq!(client.masking.over(Asker::Machines, PAYLOAD, client.now), Some(Drop::OverPaddingBudget));
}

#[test]
fn a_budget_of_all_padding_grows_with_what_the_user_moves_and_is_there_again_after_its_time() {
    let share = Allowance { of_user: Some(3_000), per_hour: Some(50_000), ..Allowance::NONE };
    let mut client = End::new(Role::Client, Terms { padding_budget: Some(share), ..Terms::default() });
    let spend_all = |client: &mut End| {
        let mut left = 0;
        while client.masking.over(Asker::Machines, PAYLOAD, client.now).is_none() {
            client.masking.spend(Asker::Machines, PAYLOAD, client.now);
            left += 1;
        }
        left
    };
    assert_eq!(spend_all(&mut client), 0, "the user has moved nothing");
    client.pass(Direction::Received, 500, 1_400);
    let first = spend_all(&mut client);
    assert!(first > 0, "{first}");
    client.run(7_200 * SECOND);
    client.pass(Direction::Received, 1, 1_400);
    client.run(SECOND);
    client.pass(Direction::Received, 1, 1_400);
    assert!(spend_all(&mut client) > 20, "an hour is over");
}

#[test]
fn nothing_that_masking_does_is_like_clockwork() {
    let mut firsts = Vec::new();
    for seed in 0..50 {
        let now = Instant::now();
        let budget = Allowance { per_second: Some(10_000_000), ..Allowance::NONE };
        let masking = Masking::new(Role::Relay, on(budget), [seed; 32], now);
        let mut relay = End { masking, now, asked: 0, left: 0, instants: Vec::new(), wakeups: 0 };
        relay.pass(Direction::Received, 20, 1_400);
        relay.run(2 * SECOND);
        firsts.push(relay.instants[0].duration_since(now).as_millis());
    }
    firsts.sort_unstable();
    let (least, most) = (firsts[0], firsts[firsts.len() - 1]);
    firsts.dedup();
    assert!(firsts.len() > 25 && most - least > 50, "{firsts:?}");
}

#[test]
fn what_the_ends_say_to_each_other_alone_is_not_made_up_for() {
    let mut relay = End::new(Role::Relay, on(Allowance { per_second: Some(10_000_000), ..Allowance::NONE }));
    relay.pass(Direction::Received, 20, 1_400);
    relay.run(120 * SECOND);
    let left = relay.left;
    assert!(left > 0);
    for _ in 0..60 {
        let keepalive = Traffic::datagram(Kind::Keepalive, Direction::Received, PAYLOAD, relay.now);
        relay.masking.observe(&keepalive);
        relay.run(25 * SECOND);
    }
    let most = 15 * 32;
    assert!(relay.left - left <= most, "bursts in the background alone: {}", relay.left - left);
    let left = relay.left;
    relay.run(3_600 * SECOND);
    assert_eq!((relay.left, relay.masking.next_timeout()), (left, None));
}

#[test]
fn bursts_in_the_background_are_as_large_as_they_were_drawn() {
    let mut relay = End::new(Role::Relay, on(Allowance { per_day: Some(10_000_000), ..Allowance::NONE }));
    relay.pass(Direction::Received, 1, 100);
    relay.run(12 * SECOND);
    let mut bursts = Vec::new();
    for _ in 0..100 {
        let before = relay.left;
        relay.run(5 * SECOND);
        bursts.extend((relay.left > before).then_some(relay.left - before));
    }
    assert!(bursts.len() > 2 && bursts.iter().all(|burst| (16..=32).contains(burst)), "{bursts:?}");
}

#[test]
fn a_slot_of_blocking_is_kept_from_nobody() {
    let client = End::new(Role::Client, on(Allowance::NONE));
    assert_eq!(client.masking.over(Asker::Machines, PAYLOAD, client.now), Some(Drop::Suppressed));
    assert_eq!(client.masking.over(Asker::Slot, PAYLOAD, client.now), None);
}

#[test]
fn a_link_that_the_user_fills_is_his() {
    let mut relay = End::new(Role::Relay, on(Allowance::NONE));
    for _ in 0..300 {
        // 500 kB a second down, and too much up.
        relay.pass(Direction::Sent, 34, 1_400);
        relay.pass(Direction::Received, 6, 1_400);
        relay.run(100 * MS);
    }
    let beside = relay.left;
    assert!(beside <= 300 * 34 / 20, "{beside} datagrams beside {}", 300 * 34);
    relay.pass(Direction::Received, 1, 60);
    relay.run(10 * SECOND);
    assert!(relay.left > 5 * beside.max(100), "what was missing comes when he is done: {}", relay.left);
}

#[test]
fn a_metered_network_has_a_quarter_of_the_budget_from_the_next_padding_on() {
    let allowance = Allowance { per_day: Some(10_000_000), ..Allowance::NONE };
    let mut relay = End::new(Role::Relay, on(allowance));
    for _ in 0..20 {
        relay.pass(Direction::Received, 500, 100);
        relay.run(SECOND);
    }
    let spent = relay.masking.status(relay.now).spent;
    assert!(spent > 3_000_000, "{spent}");
    relay.masking.set_terms(Terms { is_metered: true, ..on(allowance) }, true);
    assert_eq!(relay.masking.status(relay.now).allowed, Some(2_250_000));
    relay.pass(Direction::Received, 500, 100);
    relay.run(10 * SECOND);
    assert_eq!(relay.masking.status(relay.now).spent, spent);
}

#[test]
fn a_packet_waits_for_others_only_while_a_download_is_under_way() {
    let mut client = End::new(Role::Client, on(Allowance::MASKING));
    let round_trip = Some(40 * MS);
    client.pass(Direction::Sent, 1, 60);
    assert_eq!(client.masking.gathering(round_trip, client.now), None, "nothing comes");
    for _ in 0..10 {
        client.pass(Direction::Received, 15, 1_400);
        client.pass(Direction::Sent, 1, 60);
        client.run(20 * MS);
    }
    assert_eq!(client.masking.gathering(round_trip, client.now), Some(10 * MS));
    assert_eq!(client.masking.gathering(Some(SECOND), client.now), Some(MAX_GATHERING));
    assert_eq!(client.masking.gathering(None, client.now), None, "it is not known for how long");
    client.pass(Direction::Received, 60, 1_400);
    assert_eq!(client.masking.gathering(round_trip, client.now), None, "enough has come down");
    client.pass(Direction::Sent, 3, 60);
    client.now += GATHERING_PAUSE + MS;
    assert_eq!(client.masking.gathering(round_trip, client.now), None, "after a pause");
}

proptest! {
    /// Whatever passes, whatever the clock does and however terms change: no budget is overdrawn, and nothing panics.
    #[test]
    fn no_traffic_has_more_padding_leave_than_is_allowed(
        steps in prop::collection::vec((0u8..6, 0usize..200, 0u64..3_000), 1..120),
        role in prop::sample::select(vec![Role::Client, Role::Relay]),
        day in 0u64..3_000_000,
        hour in prop::option::of(0u64..1_000_000),
        share in prop::option::of(0u16..10_000),
        mode in prop::sample::select(vec![MaskingMode::Adaptive, MaskingMode::Profile(ProfileName::Video), MaskingMode::Profile(ProfileName::Gaming)]),
    ) {
        let allowance = Allowance { per_day: Some(day), per_hour: hour, of_user: share, ..Allowance::NONE };
        let part = if role == Role::Client { 1 } else { 9 };
        let mut end = End::new(role, Terms { mode, ..on(allowance) });
        let mut user = 0u64;
        for (what, datagrams, wait) in steps {
            match what {
                0 | 1 => end.pass(if what == 0 { Direction::Sent } else { Direction::Received }, datagrams, 1_400),
                2 => end.pass(Direction::Received, datagrams, 60),
                3 => {
                    let now = end.now;
                    end.now -= Duration::from_millis(wait);
                    end.pass(Direction::Received, datagrams, 0);
                    end.masking.poll(end.now);
                    end.now = now;
                }
                4 => end.run(Duration::from_secs(wait / 10)),
                _ => end.masking.set_is_v6(wait % 2 == 0),
            }
            user += if what < 2 { datagrams as u64 * 1_400 } else if what == 2 { datagrams as u64 * 60 } else { 0 };
            end.run(Duration::from_millis(wait));
            prop_assert!(share.is_none_or(|share| end.left * 1_480 <= u64::from(share) * part / 10 * user / 10_000 + 1_500));
        }
        // What left is summed again, by the instants.
        for (span, most) in [(3_600 * SECOND, hour), (24 * 3_600 * SECOND, Some(day))] {
            let Some(most) = most else { continue };
            for (first, from) in end.instants.iter().enumerate() {
                let within = end.instants[first..].iter().take_while(|at| **at < *from + span).count() as u64;
                prop_assert!(within * 1_480 <= most * part / 10, "{within} of {most} in {span:?}");
            }
        }
    }
}

#[test]
fn the_band_of_each_profile_is_one() {
    for name in ProfileName::ALL {
        let (low, high) = name.profile().upload_ratio();
        assert!(Band::new(low, high).is_some(), "{name}");
    }
}

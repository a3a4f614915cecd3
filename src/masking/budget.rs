//! What padding may cost: books that are never overdrawn.
//!
//! Of each bound the books keep what was spent in slots, and a slot counts until all of it is older than the bound's time. So no
//! second, hour or day, wherever it begins, has more than its bound.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Allowance;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Slots of each span: of a second, 100 ms; of an hour, a minute; of a day, a quarter of an hour.
const SLOTS: [(Duration, u32); 3] = [(SECOND, 10), (HOUR, 60), (DAY, 96)];

/// What padding is for. What is named first is given up first as a budget runs out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// To look like what the user does not do: it may use six tenths of a budget.
    Cover,
    /// What machines ask for: seventeen twentieths.
    Machines,
    /// To keep the upload ratio in its band: all of it.
    Ratio,
}

impl Purpose {
    /// Returns the part of a budget that may be used for it, in twentieths.
    fn twentieths(self) -> u64 {
        match self {
            Self::Cover => 12,
            Self::Machines => 17,
            Self::Ratio => 20,
        }
    }
}

/// Bytes in the last second, hour or day.
#[derive(Debug, Clone)]
struct Window {
    span: Duration,
    slot: Duration,
    /// When each slot ends, and the bytes in it; at most as many as fit in the span, and one.
    slots: VecDeque<(Duration, u64)>,
    sum: u64,
}

impl Window {
    fn new((span, slots): (Duration, u32)) -> Self {
        Self { span, slot: span / slots, slots: VecDeque::new(), sum: 0 }
    }

    /// Returns what counts at `now`.
    fn at(&self, now: Duration) -> u64 {
        let over = self.slots.iter().take_while(|(end, _)| *end + self.span <= now);
        self.sum - over.map(|(_, bytes)| bytes).sum::<u64>()
    }

    fn pass(&mut self, now: Duration) {
        while let Some((_, bytes)) = self.slots.pop_front_if(|(end, _)| *end + self.span <= now) {
            self.sum -= bytes;
        }
    }

    fn add(&mut self, bytes: u64, now: Duration) {
        self.pass(now);
        // What overflows counts as the largest number, for as long as it counts.
        let bytes = bytes.min(u64::MAX - self.sum);
        self.sum += bytes;
        match self.slots.back_mut().filter(|(end, _)| now < *end) {
            Some((_, in_slot)) => *in_slot += bytes,
            None => {
                let begun = now.as_nanos() / self.slot.as_nanos();
                let end = Duration::from_nanos(u64::try_from((begun + 1) * self.slot.as_nanos()).unwrap_or(u64::MAX));
                self.slots.push_back((end, bytes));
            }
        }
    }
}

/// The fastest second of the last hour, in bytes.
#[derive(Debug, Clone, Default)]
struct Fastest {
    /// The second that is being filled, and its bytes.
    second: (u64, u64),
    /// The fastest second of each minute: at most 61.
    minutes: VecDeque<(u64, u64)>,
}

impl Fastest {
    fn add(&mut self, bytes: u64, now: Duration) {
        let second = now.as_secs();
        if self.second.0 != second {
            self.second = (second, 0);
        }
        self.second.1 = self.second.1.saturating_add(bytes);
        let minute = second / 60;
        while self.minutes.pop_front_if(|(old, _)| *old + 60 < minute).is_some() {}
        match self.minutes.back_mut().filter(|(last, _)| *last == minute) {
            Some((_, fastest)) => *fastest = (*fastest).max(self.second.1),
            None => self.minutes.push_back((minute, self.second.1)),
        }
    }

    fn get(&self, now: Duration) -> u64 {
        let minute = now.as_secs() / 60;
        self.minutes.iter().filter(|(of, _)| of + 60 >= minute).map(|(_, fastest)| *fastest).max().unwrap_or(0)
    }
}

/// The books of one budget.
#[derive(Debug, Clone)]
pub struct Budget {
    allowance: Allowance,
    start: Instant,
    /// The latest time that was told: it never goes back.
    now: Duration,
    windows: [Window; 3],
    spent: u64,
    user: u64,
    fastest: Fastest,
}

impl Budget {
    /// Returns books without an entry, that begin at `now`.
    pub fn new(allowance: Allowance, now: Instant) -> Self {
        Self {
            allowance,
            start: now,
            now: Duration::ZERO,
            windows: SLOTS.map(Window::new),
            spent: 0,
            user: 0,
            fastest: Fastest::default(),
        }
    }

    /// Allows another cost from now on; what was spent counts on.
    pub fn allow(&mut self, allowance: Allowance) {
        self.allowance = allowance;
    }

    /// Returns what is allowed.
    pub fn allowance(&self) -> Allowance {
        self.allowance
    }

    fn time(&self, now: Instant) -> Duration {
        self.now.max(now.saturating_duration_since(self.start))
    }

    /// Notes that something passes, either way: `user` bytes of the user's, and `bytes` of IP packets that are no padding.
    pub fn note(&mut self, user: u64, bytes: u64, now: Instant) {
        self.now = self.time(now);
        self.user = self.user.saturating_add(user);
        self.fastest.add(bytes, self.now);
    }

    /// Tells whether `bytes` more may be spent for this, where `user` bytes of the user's have passed that were not noted yet.
    pub fn fits(&self, bytes: u64, user: u64, purpose: Purpose, now: Instant) -> bool {
        let now = self.time(now);
        let Allowance { per_second, per_hour, per_day, of_user, of_link } =
            self.allowance.part(purpose.twentieths(), 20);
        let [second, hour, day] = self.windows.each_ref().map(|window| window.at(now));
        let bounds = [
            (second, per_second),
            (hour, per_hour),
            (day, per_day),
            (self.spent, of_user.map(|share| part(share, self.user.saturating_add(user)))),
            (second, of_link.map(|share| part(share, self.fastest.get(now)))),
        ];
        bounds.into_iter().all(|(spent, most)| most.is_none_or(|most| spent.saturating_add(bytes) <= most))
    }

    /// Notes that so many bytes are spent.
    pub fn spend(&mut self, bytes: u64, now: Instant) {
        self.now = self.time(now);
        self.spent = self.spent.saturating_add(bytes);
        let now = self.now;
        self.windows.iter_mut().for_each(|window| window.add(bytes, now));
    }

    /// Returns what a second may have, where that is bounded.
    pub fn most_a_second(&self) -> Option<u64> {
        let Allowance { per_second, of_link, .. } = self.allowance;
        per_second.into_iter().chain(of_link.map(|share| part(share, self.fastest()))).min()
    }

    /// Returns the bytes of the fastest second of the last hour, both ways together.
    pub fn fastest(&self) -> u64 {
        self.fastest.get(self.now)
    }

    /// Returns the bytes of the last day, a quarter of an hour more at most.
    pub fn spent_in_a_day(&self, now: Instant) -> u64 {
        self.windows[2].at(self.time(now))
    }
}

/// Returns a share of bytes, in hundredths of a percent.
fn part(share: u16, of: u64) -> u64 {
    u64::try_from(u128::from(share) * u128::from(of) / 10_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MB: u64 = 1_000_000;

    /// Spends 1,480 bytes as often as fits, and returns how many bytes that were.
    fn spend_all(budget: &mut Budget, purpose: Purpose, now: Instant) -> u64 {
        let mut spent = 0;
        while spent < 1_000 * MB && budget.fits(1_480, 0, purpose, now) {
            budget.spend(1_480, now);
            spent += 1_480;
        }
        spent
    }

    #[test]
    fn what_is_less_needed_is_given_up_first() {
        let start = Instant::now();
        let mut budget = Budget::new(Allowance { per_day: Some(100 * MB), ..Allowance::NONE }, start);
        let [cover, machines, ratio] =
            [Purpose::Cover, Purpose::Machines, Purpose::Ratio].map(|purpose| spend_all(&mut budget, purpose, start));
        for (spent, most) in [(cover, 60 * MB), (machines, 25 * MB), (ratio, 15 * MB)] {
            assert!(spent <= most + 1_480 && spent + 2 * 1_480 > most, "{spent} of {most}");
        }
        assert_eq!(spend_all(&mut budget, Purpose::Ratio, start + DAY - SECOND), 0);
        assert!(spend_all(&mut budget, Purpose::Ratio, start + DAY + DAY / 96) > 99 * MB);
    }

    #[test]
    fn a_share_of_the_users_bytes_is_saved_up_and_less_of_it_holds_at_once() {
        let start = Instant::now();
        let mut budget = Budget::new(Allowance::MASKING, start);
        assert!(!budget.fits(1, 0, Purpose::Ratio, start));
        budget.note(100 * MB, 110 * MB, start);
        let spent = spend_all(&mut budget, Purpose::Ratio, start + HOUR);
        assert!((29 * MB..=30 * MB).contains(&spent), "{spent}");
        budget.allow(Allowance::MASKING.part(1, 4));
        budget.note(200 * MB, 200 * MB, start + HOUR);
        assert!(!budget.fits(1_480, 0, Purpose::Ratio, start + HOUR), "a quarter of 90 MB was spent already");
        budget.note(200 * MB, 200 * MB, start + HOUR);
        assert!(budget.fits(1_480, 0, Purpose::Ratio, start + HOUR));
    }

    #[test]
    fn a_share_of_the_link_is_one_of_the_fastest_second() {
        let start = Instant::now();
        let mut budget = Budget::new(Allowance { of_link: Some(1_000), ..Allowance::NONE }, start);
        assert!(!budget.fits(1_480, 0, Purpose::Ratio, start), "no link was seen yet");
        (0..10).for_each(|tenth| budget.note(MB, MB, start + tenth * SECOND / 10));
        let spent = spend_all(&mut budget, Purpose::Ratio, start + 2 * SECOND);
        assert!((MB - 1_480..=MB).contains(&spent), "{spent}");
        assert!(!budget.fits(1_480, 0, Purpose::Ratio, start + 2 * HOUR), "it is forgotten after an hour");
    }

    proptest! {
        /// Whatever is asked for and whenever, no second, hour or day has more than is allowed, nor have all together.
        #[test]
        fn no_budget_is_overdrawn(
            entries in prop::collection::vec((0u64..3, 0u64..4_000, 0u64..3_000_000, 0u64..2_000_000), 1..300),
            bounds in prop::array::uniform3(prop::option::of(0..50 * MB)),
            of_user in prop::option::of(0..10_000u16),
            cut in 0usize..300,
        ) {
            let start = Instant::now() + DAY;
            let [per_second, per_hour, per_day] = bounds;
            let allowance = Allowance { per_second, per_hour, per_day, of_user, of_link: None };
            let mut budget = Budget::new(allowance, start);
            let (mut at, mut user, mut spent) = (Duration::ZERO, 0u64, Vec::new());
            for (number, (scale, wait, bytes, of_the_user)) in entries.into_iter().enumerate() {
                // A clock that goes back says nothing.
                at += if number == cut { Duration::ZERO } else { Duration::from_millis(wait) * [1, 60, 3_600][scale as usize] };
                let told = if number == cut { start - HOUR } else { start + at };
                budget.note(of_the_user, of_the_user, told);
                user += of_the_user;
                if budget.fits(bytes, 0, Purpose::Ratio, told) {
                    budget.spend(bytes, told);
                    spent.push((at, bytes));
                    let all: u64 = spent.iter().map(|(_, bytes)| bytes).sum();
                    prop_assert!(of_user.is_none_or(|share| u128::from(all) * 10_000 <= u128::from(share) * u128::from(user)));
                }
            }
            for (span, most) in [(SECOND, per_second), (HOUR, per_hour), (DAY, per_day)] {
                for (first, (from, _)) in spent.iter().enumerate() {
                    let within: u64 = spent[first..].iter().take_while(|(at, _)| *at < *from + span).map(|(_, bytes)| bytes).sum();
                    prop_assert!(most.is_none_or(|most| within <= most), "{within} in {span:?} of {most:?}");
                }
            }
        }
    }
}

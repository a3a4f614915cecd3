//! One direction between two hosts: what becomes of each packet, and when it arrives.

use std::time::Duration;

use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::Loss;

/// Bytes of the headers around a datagram over IPv4, without options.
pub const UDP_V4_HEADERS: usize = 20 + 8;

/// A queue that drops nothing, in bytes.
pub const MAX_QUEUE: usize = usize::MAX;

/// One direction between two hosts. Every field can be set by itself; a probability is from 0 to 1.
///
/// A packet waits in the queue until those before it have left at the link's rate, then leaves at that rate, and is under way for
/// the delay and its jitter. Whether it is lost is drawn after that: a lost packet has taken its place. Draws are the link's own,
/// and as many for each packet whatever the fields say: another probability changes what it is about, and nothing else.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Time that the first bit takes.
    pub delay: Duration,
    /// The most by which a packet takes longer, drawn evenly. Packets keep their order all the same.
    pub jitter: Duration,
    /// Bytes a second, headers counted; `None` is without a limit, and 0 is taken for 1.
    pub rate: Option<u64>,
    /// The most bytes that wait to leave or are leaving; a packet that finds no room is dropped. One that finds nothing there is
    /// taken, whatever its size. Without a rate nothing waits.
    pub queue: usize,
    /// The probability that a packet is lost.
    pub loss: f64,
    /// How many packets are lost in a row, on average: the same loss comes in bursts (Gilbert's model). Up to 1, whether one is lost
    /// has nothing to do with the one before.
    pub loss_run: f64,
    /// The probability that a packet arrives twice.
    pub repetition: f64,
    /// The probability that a packet arrives later than its place, so that others overtake it.
    pub reordering: f64,
    /// How much later.
    pub lateness: Duration,
    /// Bytes that a packet has on the link beside its payload.
    pub headers: usize,
}

impl Default for Link {
    /// Returns a link that takes no time and has neither limit nor faults, for datagrams over IPv4.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            rate: None,
            queue: MAX_QUEUE,
            loss: 0.0,
            loss_run: 1.0,
            repetition: 0.0,
            reordering: 0.0,
            lateness: Duration::ZERO,
            headers: UDP_V4_HEADERS,
        }
    }
}

impl Link {
    /// Returns a link that is nothing but slow.
    pub fn with_delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

/// Where packets arrive: a first time, and a second if the packet is repeated.
pub(crate) type Arrivals = (Duration, Option<Duration>);

/// A link in use.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) link: Link,
    /// When what was taken so far has left.
    free: Duration,
    /// When the last packet that kept its place arrives.
    last: Duration,
    /// Whether the last packet was lost on the way.
    is_losing: bool,
    rng: Xoshiro256PlusPlus,
}

/// What is drawn for each packet.
struct Draws {
    jitter: Duration,
    is_lost: bool,
    is_repeated: bool,
    is_late: bool,
}

impl Lane {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self { link: Link::default(), free: Duration::ZERO, last: Duration::ZERO, is_losing: false, rng }
    }

    /// Makes it another link. What it has taken keeps its time, and its place against what comes now is open.
    pub(crate) fn set(&mut self, link: Link) {
        self.link = link;
        self.last = Duration::ZERO;
    }

    /// Takes a packet of `size` bytes, headers counted, that comes at `now`, and says when it arrives.
    pub(crate) fn take(&mut self, size: usize, now: Duration) -> Result<Arrivals, Loss> {
        let draws = self.draw();
        self.free = self.leaves(size, now).ok_or(Loss::QueueFull)?;
        if draws.is_lost {
            return Err(Loss::OnTheWay);
        }
        let due = self.free + self.link.delay + draws.jitter;
        let arrives = if draws.is_late { due + self.link.lateness } else { due.max(self.last) };
        if !draws.is_late {
            self.last = arrives;
        }
        Ok((arrives, draws.is_repeated.then_some(arrives)))
    }

    /// Returns when the last bit of a packet leaves; `None` if the queue has no room for it.
    fn leaves(&self, size: usize, now: Duration) -> Option<Duration> {
        const SECOND: u128 = 1_000_000_000;
        let Some(rate) = self.link.rate else { return Some(now) };
        let rate = u128::from(rate.max(1));
        let wait = self.free.saturating_sub(now);
        let waiting = wait.as_nanos().saturating_mul(rate) / SECOND;
        if !wait.is_zero() && waiting.saturating_add(size as u128) > self.link.queue as u128 {
            return None;
        }
        let time = u64::try_from(size as u128 * SECOND / rate).unwrap_or(u64::MAX);
        Some(now + wait + Duration::from_nanos(time))
    }

    /// Returns the probability that the next packet is lost, so that bursts end after their mean and as many begin as it takes.
    fn loss(&self) -> f64 {
        let Link { loss, loss_run: run, .. } = self.link;
        match (run > 1.0, self.is_losing) {
            (false, _) => loss,
            (true, true) => 1.0 - 1.0 / run,
            (true, false) if loss < 1.0 => loss / (run * (1.0 - loss)),
            (true, false) => 1.0,
        }
    }

    fn draw(&mut self) -> Draws {
        let jitter = self.rng.next_u64();
        let loss = self.loss();
        let mut happens = |probability: f64| fraction(self.rng.next_u64()) < probability;
        let (is_lost, is_repeated) = (happens(loss), happens(self.link.repetition));
        self.is_losing = is_lost;
        let is_late = happens(self.link.reordering);
        let most = u64::try_from(self.link.jitter.as_nanos()).unwrap_or(u64::MAX);
        // The high half of the product: even, but for one part in 2⁶⁴.
        let jitter = (u128::from(jitter) * (u128::from(most) + 1)) >> 64;
        Draws { jitter: Duration::from_nanos(jitter as u64), is_lost, is_repeated, is_late }
    }
}

/// Returns a number from 0 to less than 1, which is the same on every machine.
pub(crate) fn fraction(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn lane(link: Link, seed: u64) -> Lane {
        let mut lane = Lane::new(seed);
        lane.set(link);
        lane
    }

    /// Sends packets of 1,000 bytes at the times given, in milliseconds.
    fn send(lane: &mut Lane, times: impl IntoIterator<Item = u32>) -> Vec<Result<Arrivals, Loss>> {
        times.into_iter().map(|at| lane.take(1_000, at * MS)).collect()
    }

    #[test]
    fn packets_leave_at_the_rate_and_arrive_after_the_delay() {
        let link = Link { rate: Some(1_000_000), ..Link::with_delay(10 * MS) };
        let arrivals = send(&mut lane(link, 1), [0, 0, 0, 20]);
        assert_eq!(arrivals, [11, 12, 13, 31].map(|at| Ok((at * MS, None))));
    }

    #[test]
    fn a_queue_holds_its_bytes_and_drops_the_newest() {
        let link = Link { rate: Some(1_000_000), queue: 3_000, ..Link::default() };
        let mut lane = lane(link, 1);
        let arrivals = send(&mut lane, [0, 0, 0, 0, 1, 1]);
        let expected = [Ok(1), Ok(2), Ok(3), Err(Loss::QueueFull), Ok(4), Err(Loss::QueueFull)];
        assert_eq!(arrivals, expected.map(|at| at.map(|at: u32| (at * MS, None))));
        assert_eq!(lane.take(9_000, 4 * MS), Ok((13 * MS, None)), "it finds nothing there");
    }

    #[test]
    fn a_link_that_is_shorter_now_lets_packets_overtake() {
        let mut lane = lane(Link::with_delay(50 * MS), 1);
        assert_eq!(send(&mut lane, [0]), [Ok((50 * MS, None))]);
        lane.set(Link::with_delay(10 * MS));
        assert_eq!(send(&mut lane, [1]), [Ok((11 * MS, None))]);
    }

    #[test]
    fn jitter_is_within_its_bound_and_keeps_the_order() {
        let link = Link { jitter: 5 * MS, ..Link::with_delay(10 * MS) };
        let arrivals = send(&mut lane(link, 1), 0..1_000);
        let times: Vec<_> = arrivals.into_iter().map(|arrival| arrival.unwrap().0).collect();
        assert!(times.is_sorted());
        let delays: Vec<_> = times.iter().zip(0..).map(|(at, sent)| *at - sent * MS).collect();
        assert!(delays.iter().all(|delay| (10 * MS..=15 * MS).contains(delay)));
        assert!(delays.iter().any(|delay| *delay < 11 * MS) && delays.iter().any(|delay| *delay > 14 * MS));
    }

    #[test]
    fn bursts_lose_as_many_packets_and_several_in_a_row() {
        for run in [1.0, 4.0] {
            let link = Link { loss: 0.05, loss_run: run, ..Link::default() };
            let is_lost: Vec<_> = send(&mut lane(link, 1), 0..400_000).iter().map(Result::is_err).collect();
            let lost = is_lost.iter().filter(|is_lost| **is_lost).count();
            let bursts = is_lost.windows(2).filter(|pair| *pair == [false, true]).count();
            assert!((18_500..21_500).contains(&lost), "{lost} lost in runs of {run}");
            let mean = lost as f64 / bursts as f64;
            assert!((mean - run).abs() < 0.3, "runs of {mean}, not of {run}");
        }
    }

    #[test]
    fn faults_come_as_often_as_they_should() {
        let late = 50 * MS;
        let link = Link { loss: 0.1, repetition: 0.2, reordering: 0.3, lateness: late, ..Link::default() };
        let arrivals = send(&mut lane(link, 1), 0..10_000);
        let lost = arrivals.iter().filter(|arrival| arrival.is_err()).count();
        let repeated = arrivals.iter().filter(|arrival| matches!(arrival, Ok((_, Some(_))))).count();
        let is_late =
            |(sent, arrival): (u32, &Result<Arrivals, Loss>)| arrival.is_ok_and(|at| at.0 == sent * MS + late);
        let overtaken = (0..).zip(&arrivals).filter(|arrival| is_late(*arrival)).count();
        assert!((900..1_100).contains(&lost), "{lost}");
        assert!((1_700..1_900).contains(&repeated), "of nine in ten: {repeated}");
        assert!((2_500..2_900).contains(&overtaken), "of nine in ten: {overtaken}");
        let never = send(&mut lane(Link::default(), 1), 0..1_000);
        assert!(never.iter().all(|arrival| matches!(arrival, Ok((_, None)))));
        let always = send(&mut lane(Link { loss: 1.0, ..Link::default() }, 1), 0..1_000);
        assert!(always.iter().all(Result::is_err));
    }

    #[test]
    fn another_probability_changes_nothing_but_what_it_is_about() {
        let jitter = 5 * MS;
        let lossy = send(&mut lane(Link { jitter, loss: 0.5, ..Link::default() }, 1), (0..1_000).map(|at| 10 * at));
        let whole = send(&mut lane(Link { jitter, ..Link::default() }, 1), (0..1_000).map(|at| 10 * at));
        assert!(lossy.iter().zip(&whole).all(|(lossy, whole)| lossy.is_err() || lossy == whole));
    }

    #[test]
    fn nothing_a_link_says_overflows() {
        let slow = Link { rate: Some(0), ..Link::default() };
        assert!(lane(slow, 1).take(65_535, Duration::ZERO).is_ok());
        let fast = Link { rate: Some(u64::MAX), jitter: Duration::from_secs(1 << 40), ..Link::default() };
        assert!(lane(fast, 1).take(65_535, Duration::from_secs(1 << 40)).is_ok());
    }
}

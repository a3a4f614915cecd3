//! The throughput of a tunnel over the last minute, in steps.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::traffic::{Direction, Kind, Layer, Traffic, V4_HEADERS, V6_HEADERS};

/// The shortest step.
pub const MIN_STEP: Duration = Duration::from_millis(50);

/// The longest step, and the usual one.
pub const MAX_STEP: Duration = Duration::from_millis(100);

/// How long steps are kept.
pub const HISTORY: Duration = Duration::from_secs(60);

/// The time whose sums are always at hand: what an observer is taken to look at.
pub const RECENT: Duration = Duration::from_secs(10);

/// What has passed one way. Sums stay at the largest number rather than overflow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Datagrams.
    pub datagrams: u64,
    /// Their bytes, with the headers of UDP and IP.
    pub bytes: u64,
    /// Packets of the user's in them.
    pub user_packets: u64,
    /// The bytes of these, without any header of the tunnel's.
    pub user_bytes: u64,
    /// Bytes of datagrams that carry nothing but padding, with all headers.
    pub padding_bytes: u64,
}

impl Flow {
    fn each(&mut self, other: &Self, change: impl Fn(u64, u64) -> u64) {
        self.datagrams = change(self.datagrams, other.datagrams);
        self.bytes = change(self.bytes, other.bytes);
        self.user_packets = change(self.user_packets, other.user_packets);
        self.user_bytes = change(self.user_bytes, other.user_bytes);
        self.padding_bytes = change(self.padding_bytes, other.padding_bytes);
    }

    fn add(&mut self, other: &Self) {
        self.each(other, u64::saturating_add);
    }

    fn take_away(&mut self, other: &Self) {
        self.each(other, u64::saturating_sub);
    }
}

/// What an interface has counted since it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// Packets that were sent.
    pub sent_packets: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets that were received.
    pub received_packets: u64,
    /// Their bytes.
    pub received_bytes: u64,
}

/// What has passed in one step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Step {
    /// To the peer.
    pub sent: Flow,
    /// From the peer.
    pub received: Flow,
}

/// The throughput of the last minute. It takes the time from what it is told: a step in which nothing passes costs nothing.
#[derive(Debug, Clone)]
pub struct Monitor {
    step: Duration,
    headers: usize,
    /// When the step began that is being filled.
    began: Instant,
    current: Step,
    /// Those that are over, the newest last: at most [`HISTORY`] of them.
    steps: VecDeque<Step>,
    /// The sum of the newest of them, as many as [`RECENT`] has.
    recent: Step,
    /// What the interface had counted, where that is looked at.
    counted: Option<Counted>,
}

impl Monitor {
    /// Returns one that begins now, with steps of [`MAX_STEP`].
    pub fn new(now: Instant) -> Self {
        Self::with_step(MAX_STEP, now)
    }

    /// Returns one with other steps, from [`MIN_STEP`] to [`MAX_STEP`]; others are taken for the nearest.
    pub fn with_step(step: Duration, now: Instant) -> Self {
        let step = step.clamp(MIN_STEP, MAX_STEP);
        Self {
            step,
            headers: V4_HEADERS,
            began: now,
            current: Step::default(),
            steps: VecDeque::new(),
            recent: Step::default(),
            counted: None,
        }
    }

    /// Says over which IP version datagrams go from now on; IPv4 at first.
    pub fn set_is_v6(&mut self, is_v6: bool) {
        self.headers = if is_v6 { V6_HEADERS } else { V4_HEADERS };
    }

    /// Returns how long a step is.
    pub fn step(&self) -> Duration {
        self.step
    }

    /// Takes what passes. What is dropped, and what passes inside, does not count.
    pub fn observe(&mut self, traffic: &Traffic) {
        if traffic.layer != Layer::Datagram {
            return;
        }
        self.pass(traffic.at);
        let flow = match traffic.direction {
            Direction::Sent => &mut self.current.sent,
            Direction::Received => &mut self.current.received,
            Direction::Dropped(_) => return,
        };
        let bytes = traffic.bytes.saturating_add(self.headers) as u64;
        let is_padding = match traffic.kind {
            Kind::Padding | Kind::Keepalive => true,
            Kind::Normal | Kind::Control | Kind::Handshake | Kind::Unknown => false,
        };
        flow.add(&Flow {
            datagrams: 1,
            bytes,
            user_packets: traffic.packets as u64,
            user_bytes: traffic.normal_bytes as u64,
            padding_bytes: if is_padding { bytes } else { 0 },
        });
    }

    /// Takes what an interface has counted by `now`, beside a tunnel that is not ours: all that has passed it since the last time is taken
    /// for the user's, and to have passed now. The first time says nothing; nor do counters that have gone back, because they began anew
    /// or have wrapped.
    pub fn count(&mut self, counted: Counted, now: Instant) {
        self.pass(now);
        let Some(before) = self.counted.replace(counted) else { return };
        let flow = |packets: Option<u64>, bytes: Option<u64>| match packets.zip(bytes) {
            Some((packets, bytes)) => {
                Flow { datagrams: packets, bytes, user_packets: packets, user_bytes: bytes, padding_bytes: 0 }
            }
            None => Flow::default(),
        };
        let sent = [(counted.sent_packets, before.sent_packets), (counted.sent_bytes, before.sent_bytes)];
        let received =
            [(counted.received_packets, before.received_packets), (counted.received_bytes, before.received_bytes)];
        let since = |ways: [(u64, u64); 2]| {
            let [packets, bytes] = ways.map(|(now, before)| now.checked_sub(before));
            flow(packets, bytes)
        };
        self.current.sent.add(&since(sent));
        self.current.received.add(&since(received));
    }

    /// Lets time pass: steps that have ended by `now` are over. An instant that is before the last is taken for that.
    pub fn pass(&mut self, now: Instant) {
        let most = self.most_steps();
        let passed = now.saturating_duration_since(self.began).as_nanos() / self.step.as_nanos();
        if passed == 0 {
            return;
        }
        let over = std::mem::take(&mut self.current);
        self.push(over, most);
        // Whatever was before is forgotten after so long.
        let silent = usize::try_from(passed - 1).unwrap_or(usize::MAX).min(most);
        (0..silent).for_each(|_| self.push(Step::default(), most));
        // Less than a step is left: it fits.
        let left = now.saturating_duration_since(self.began).as_nanos() % self.step.as_nanos();
        self.began = now - Duration::from_nanos(left as u64);
    }

    fn push(&mut self, step: Step, most: usize) {
        let recent = (RECENT.as_nanos() / self.step.as_nanos()) as usize;
        if let Some(past) = self.steps.len().checked_sub(recent).and_then(|at| self.steps.get(at)) {
            self.recent.sent.take_away(&past.sent);
            self.recent.received.take_away(&past.received);
        }
        self.recent.sent.add(&step.sent);
        self.recent.received.add(&step.received);
        if self.steps.len() >= most {
            self.steps.pop_front();
        }
        self.steps.push_back(step);
    }

    /// Returns what has passed in the last step that is over, and in the one that is not.
    pub fn latest(&self) -> Step {
        let mut latest = self.steps.back().copied().unwrap_or_default();
        latest.sent.add(&self.current.sent);
        latest.received.add(&self.current.received);
        latest
    }

    /// Returns what has passed in the last [`RECENT`], and in the step that is not over.
    pub fn recent(&self) -> Step {
        let mut recent = self.recent;
        recent.sent.add(&self.current.sent);
        recent.received.add(&self.current.received);
        recent
    }

    fn most_steps(&self) -> usize {
        (HISTORY.as_nanos() / self.step.as_nanos()) as usize
    }

    /// Returns the steps that are over, the newest first.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().rev()
    }

    /// Returns what has passed in the newest steps that are over, as many as fit in `time` and are known.
    pub fn window(&self, time: Duration) -> Window {
        let count = (time.as_nanos() / self.step.as_nanos()) as usize;
        let steps: Vec<_> = self.steps().take(count).collect();
        let mut window = Window { time: self.step * steps.len() as u32, ..Window::default() };
        for step in &steps {
            window.sent.add(&step.sent);
            window.received.add(&step.received);
        }
        let dispersion = |of: fn(&Step) -> u64| dispersion(steps.iter().map(|step| of(step) as f64));
        window.dispersion = [dispersion(|step| step.sent.bytes), dispersion(|step| step.received.bytes)];
        window
    }
}

/// What has passed in a time.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Window {
    /// How long it is.
    pub time: Duration,
    /// To the peer.
    pub sent: Flow,
    /// From the peer.
    pub received: Flow,
    /// How bursty it is, sent and received: the index of dispersion of the bytes of steps, their variance over their mean, in bytes;
    /// 0 when nothing has passed, or as much in each.
    pub dispersion: [f64; 2],
}

impl Window {
    /// Returns outer bytes sent over outer bytes received, of the client's end; `None` if nothing was received.
    pub fn upload_ratio(&self) -> Option<f64> {
        (self.received.bytes > 0).then(|| self.sent.bytes as f64 / self.received.bytes as f64)
    }

    /// Returns outer bytes a second, sent and received.
    pub fn rates(&self) -> [f64; 2] {
        let seconds = self.time.as_secs_f64();
        [self.sent.bytes, self.received.bytes].map(|bytes| if seconds > 0.0 { bytes as f64 / seconds } else { 0.0 })
    }
}

/// Returns the variance of numbers over their mean.
fn dispersion(numbers: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = numbers.clone().count() as f64;
    let mean = numbers.clone().sum::<f64>() / count;
    let variance = numbers.map(|number| (number - mean).powi(2)).sum::<f64>() / count;
    if mean > 0.0 { variance / mean } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::traffic::Drop;

    const MS: Duration = Duration::from_millis(1);
    const SECOND: Duration = Duration::from_secs(1);

    fn datagram(kind: Kind, direction: Direction, bytes: usize, at: Instant) -> Traffic {
        let is_normal = kind == Kind::Normal;
        Traffic::datagram(kind, direction, bytes, at)
            .carrying(usize::from(is_normal), if is_normal { bytes - 32 } else { 0 })
    }

    #[test]
    fn directions_and_the_users_bytes_and_padding_are_told_apart() {
        let start = Instant::now();
        let mut monitor = Monitor::new(start);
        for (kind, direction, bytes) in [
            (Kind::Normal, Direction::Sent, 132),
            (Kind::Padding, Direction::Sent, 1_452),
            (Kind::Handshake, Direction::Received, 92),
            (Kind::Normal, Direction::Received, 1_032),
            (Kind::Normal, Direction::Dropped(Drop::QueueFull), 1_032),
        ] {
            monitor.observe(&datagram(kind, direction, bytes, start));
        }
        monitor.observe(&Traffic::packets(Direction::Sent, 1, 100, start));
        assert_eq!(monitor.steps().count(), 0, "the first is not over");
        monitor.pass(start + 100 * MS);
        let window = monitor.window(SECOND);
        let sent = Flow { datagrams: 2, bytes: 1_640, user_packets: 1, user_bytes: 100, padding_bytes: 1_480 };
        let received = Flow { datagrams: 2, bytes: 1_180, user_packets: 1, user_bytes: 1_000, padding_bytes: 0 };
        assert_eq!((window.time, window.sent, window.received), (100 * MS, sent, received));
        assert_eq!(window.upload_ratio(), Some(1_640.0 / 1_180.0));
        assert_eq!(window.rates(), [16_400.0, 11_800.0]);
        monitor.set_is_v6(true);
        monitor.observe(&datagram(Kind::Padding, Direction::Sent, 1_452, start + 100 * MS));
        monitor.pass(start + 200 * MS);
        assert_eq!(monitor.steps().next().unwrap().sent.padding_bytes, 1_500);
    }

    #[test]
    fn an_interfaces_counters_are_what_has_passed_between_two_readings() {
        let start = Instant::now();
        let mut monitor = Monitor::new(start);
        // They go on, begin anew with another interface, and wrap.
        let readings = [(100, 10_000), (110, 11_000), (5, 500), (6, 600), (u64::MAX, u64::MAX), (1, 100)];
        for (number, (packets, bytes)) in (0..).zip(readings) {
            let counted =
                Counted { sent_packets: packets, sent_bytes: bytes, received_packets: packets, received_bytes: bytes };
            monitor.count(counted, start + number * MAX_STEP);
        }
        monitor.pass(start + 6 * MAX_STEP);
        let steps: Vec<_> = monitor.steps().map(|step| (step.sent.user_packets, step.received.bytes)).collect();
        assert_eq!(steps, [(0, 0), (u64::MAX - 6, u64::MAX - 600), (1, 100), (0, 0), (10, 1_000), (0, 0)]);
    }

    #[test]
    fn a_minute_is_kept_and_silence_is_part_of_it() {
        let start = Instant::now();
        let mut monitor = Monitor::with_step(MIN_STEP, start);
        monitor.observe(&datagram(Kind::Normal, Direction::Sent, 132, start));
        monitor.pass(start + HISTORY);
        assert_eq!(monitor.window(HISTORY).sent.datagrams, 1);
        monitor.pass(start + HISTORY + MIN_STEP);
        assert_eq!((monitor.steps().count(), monitor.window(HISTORY).sent.datagrams), (1_200, 0));
        monitor.pass(start + 1_000_000_000 * SECOND);
        assert_eq!(monitor.window(HISTORY).time, HISTORY);
        assert_eq!(monitor.window(HISTORY).upload_ratio(), None);
        assert_eq!(Monitor::new(start).window(SECOND), Window::default());
    }

    #[test]
    fn a_burst_is_more_dispersed_than_a_stream() {
        let start = Instant::now();
        let dispersion = |times: &dyn Fn(u32) -> Duration| {
            let mut monitor = Monitor::new(start);
            for number in 0..1_000 {
                monitor.observe(&datagram(Kind::Normal, Direction::Received, 1_032, start + times(number)));
            }
            monitor.pass(start + 10 * SECOND);
            monitor.window(10 * SECOND).dispersion[1]
        };
        assert_eq!(dispersion(&|number| number * 10 * MS), 0.0);
        assert!(dispersion(&|number| number / 500 * 5 * SECOND) > 100_000.0);
    }

    proptest! {
        /// Whatever the clock does, nothing is lost but what is too old, and nothing is counted twice.
        #[test]
        fn what_passes_within_a_minute_is_counted_once(
            steps in prop::collection::vec((0u64..400, 40usize..1_500, any::<bool>()), 1..200),
            back in any::<bool>(),
        ) {
            let start = Instant::now() + HISTORY;
            let mut monitor = Monitor::new(start);
            let (mut at, mut bytes) = (start, 0u64);
            for (wait, size, is_sent) in &steps {
                at += Duration::from_millis(*wait) / 4;
                let direction = if *is_sent { Direction::Sent } else { Direction::Received };
                let told = if back && *is_sent { at - 10 * SECOND } else { at };
                monitor.observe(&datagram(Kind::Padding, direction, *size, told));
                bytes += *size as u64 + 28;
            }
            monitor.pass(at + SECOND);
            let window = monitor.window(HISTORY);
            prop_assert_eq!(window.sent.bytes + window.received.bytes, bytes);
            prop_assert_eq!(window.sent.padding_bytes + window.received.padding_bytes, bytes);
            let (recent, window) = (monitor.recent(), monitor.window(RECENT));
            prop_assert_eq!((recent.sent, recent.received), (window.sent, window.received));
        }
    }
}

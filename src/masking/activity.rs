//! What the user does, by the throughput of the last seconds.

use std::time::{Duration, Instant};

use maybetun_machines::Role;

use super::{Monitor, Step};

/// How often the classifier looks.
const PERIOD: Duration = Duration::from_secs(1);

/// How far back it looks: three segments of a video.
const WINDOW: Duration = Duration::from_secs(12);

/// A part of the window: a segment of a video, as HLS and DASH have them (four seconds are usual).
const SEGMENT: Duration = Duration::from_secs(4);

/// A part of the window in which both ends of a conversation say something.
const TURN: Duration = Duration::from_millis(500);

/// Bytes of the user's a second, both ways together, that are next to silence.
const QUIET: f64 = 2_000.0;

/// Bytes of the user's a second of each direction of a conversation.
const SPOKEN: f64 = 1_000.0;

/// The most that one direction of a conversation has of the other's bytes.
const UNEVEN: f64 = 4.0;

/// The part of turns in which both say something.
const SPOKEN_TURNS: f64 = 0.8;

/// Bytes of the user's that a segment has at least: a video of 100 kbit/s.
const SEGMENT_BYTES: u64 = 50_000;

/// Bytes of the user's a second of an upload, and how many times those of the download they are.
const UPLOAD: f64 = 12_500.0;
const UPLOAD_EXCESS: f64 = 2.0;

/// How long another activity has to be seen until it is the user's; at once if he did nothing before.
const SETTLE: Duration = Duration::from_secs(3);

/// How long who reads a page may be silent.
const READING: Duration = Duration::from_secs(30);

/// What the user does, as far as the throughput says it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Activity {
    /// Next to nothing: a phone's own chatter, messages without pictures.
    #[default]
    Idle,
    /// A call, with or without pictures: steady both ways.
    Interactive,
    /// Pages: bursts that come down, and silence while they are read.
    Browsing,
    /// A download, or a video that is watched: much comes down, and goes on.
    Download,
    /// An upload, or a camera: more goes up than comes down.
    Upload,
}

impl Activity {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Idle, Self::Interactive, Self::Browsing, Self::Download, Self::Upload];

    /// Returns its name: a lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Interactive => "interactive",
            Self::Browsing => "browsing",
            Self::Download => "download",
            Self::Upload => "upload",
        }
    }
}

impl std::fmt::Display for Activity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Names the user's activity by thresholds on the user's own bytes, of which it is told by a [`Monitor`]: padding changes nothing. It
/// looks once a second, at the last 12 s, and changes its mind when it has seen the same for 3 s.
#[derive(Debug, Clone)]
pub struct Classifier {
    /// The end whose monitor it looks at.
    role: Role,
    activity: Activity,
    /// What was seen last, and since when.
    seen: Option<(Activity, Instant)>,
    looked: Option<Instant>,
    /// When something was last there that is more than silence.
    busy: Option<Instant>,
}

impl Classifier {
    /// Returns one that looks at the monitor of this end, and has seen nothing: the user is idle.
    pub fn new(role: Role) -> Self {
        Self { role, activity: Activity::Idle, seen: None, looked: None, busy: None }
    }

    /// Returns the activity.
    pub fn activity(&self) -> Activity {
        self.activity
    }

    /// Looks at what has passed until now, if a second is over since it last did, and returns the activity.
    pub fn look(&mut self, monitor: &mut Monitor, now: Instant) -> Activity {
        if self.looked.is_some_and(|looked| now.saturating_duration_since(looked) < PERIOD) {
            return self.activity;
        }
        self.looked = Some(now);
        monitor.pass(now);
        let seen = self.name(monitor, now);
        let since = match self.seen {
            Some((before, since)) if before == seen => since,
            _ => now,
        };
        self.seen = Some((seen, since));
        if self.activity == Activity::Idle || now.saturating_duration_since(since) >= SETTLE {
            self.activity = seen;
        }
        self.activity
    }

    /// Names what the last seconds are by themselves.
    fn name(&mut self, monitor: &Monitor, now: Instant) -> Activity {
        let window = monitor.window(WINDOW);
        let seconds = window.time.as_secs_f64();
        if seconds == 0.0 {
            return Activity::Idle;
        }
        let [up, down] = self.ways(window.sent, window.received).map(|flow| flow.user_bytes as f64 / seconds);
        if up + down >= QUIET {
            self.busy = Some(now);
        }
        if up.min(down) >= SPOKEN && up.max(down) <= UNEVEN * up.min(down) && spoken_turns(monitor) >= SPOKEN_TURNS {
            return Activity::Interactive;
        }
        if up >= UPLOAD && up >= UPLOAD_EXCESS * down {
            return Activity::Upload;
        }
        if self.has_segments(monitor) {
            return Activity::Download;
        }
        // What is left is pages, and who reads one is not idle.
        let is_reading = self.activity != Activity::Idle || up + down >= QUIET;
        let was_busy = self.busy.is_some_and(|busy| now.saturating_duration_since(busy) <= READING);
        if was_busy && is_reading { Activity::Browsing } else { Activity::Idle }
    }
}

impl Classifier {
    /// Returns what goes up, and what comes down.
    fn ways<T>(&self, sent: T, received: T) -> [T; 2] {
        match self.role {
            Role::Client => [sent, received],
            Role::Relay => [received, sent],
        }
    }

    /// Tells whether each segment of a whole window has come with bytes.
    fn has_segments(&self, monitor: &Monitor) -> bool {
        let segments = parts(monitor, SEGMENT, |step| self.ways(step.sent, step.received)[1].user_bytes);
        let whole = (WINDOW.as_nanos() / SEGMENT.as_nanos()) as usize;
        segments.len() == whole && segments.iter().all(|segment| segment.iter().sum::<u64>() >= SEGMENT_BYTES)
    }
}

/// Returns the part of the turns of a window in which both directions had packets of the user's.
fn spoken_turns(monitor: &Monitor) -> f64 {
    let turns = parts(monitor, TURN, |step| (step.sent.user_packets > 0, step.received.user_packets > 0));
    let spoken = turns.iter().filter(|turn| turn.iter().any(|step| step.0) && turn.iter().any(|step| step.1));
    if turns.is_empty() { 0.0 } else { spoken.count() as f64 / turns.len() as f64 }
}

/// Returns the whole parts of the window, the newest first, with what `of` says of their steps.
fn parts<T>(monitor: &Monitor, part: Duration, of: impl Fn(&Step) -> T) -> Vec<Vec<T>> {
    let steps = (part.as_nanos() / monitor.step().as_nanos()).max(1) as usize;
    let most = (WINDOW.as_nanos() / monitor.step().as_nanos()) as usize;
    let mut all = monitor.steps().take(most).map(of).peekable();
    let mut parts = Vec::new();
    while all.peek().is_some() {
        let part: Vec<T> = all.by_ref().take(steps).collect();
        if part.len() == steps {
            parts.push(part);
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::{Direction, Kind, Traffic};

    const MS: Duration = Duration::from_millis(1);

    /// Tells a classifier of packets, in milliseconds and bytes up and down, and returns what it said in each second.
    fn said(packets: impl IntoIterator<Item = (u64, usize, usize)>, seconds: u64) -> Vec<Activity> {
        let start = Instant::now();
        let (mut monitor, mut classifier) = (Monitor::new(start), Classifier::new(Role::Client));
        let mut packets = packets.into_iter().peekable();
        (1..=seconds)
            .map(|second| {
                while let Some((at, up, down)) = packets.next_if(|(at, ..)| *at < second * 1_000) {
                    let at = start + at as u32 * MS;
                    for (direction, bytes) in [(Direction::Sent, up), (Direction::Received, down)] {
                        if bytes > 0 {
                            monitor.observe(
                                &Traffic::datagram(Kind::Normal, direction, bytes + 32, at).carrying(1, bytes),
                            );
                        }
                    }
                }
                classifier.look(&mut monitor, start + second as u32 * 1_000 * MS)
            })
            .collect()
    }

    #[test]
    fn a_page_is_browsing_until_it_is_read() {
        let page = (0..1_000).map(|number| (5_000 + number, 40, 1_400));
        let said = said(page, 60);
        assert_eq!(said[..4], [Activity::Idle; 4]);
        assert_eq!(said[6..30], [Activity::Browsing; 24]);
        assert_eq!(said[55..], [Activity::Idle; 5]);
    }

    #[test]
    fn what_one_end_sends_is_what_the_other_receives() {
        let start = Instant::now();
        let mut ends = [Role::Client, Role::Relay].map(|role| (Monitor::new(start), Classifier::new(role)));
        for number in 0..30_000 {
            let at = start + number * MS;
            for ((monitor, classifier), direction) in ends.iter_mut().zip([Direction::Sent, Direction::Received]) {
                monitor.observe(&Traffic::datagram(Kind::Normal, direction, 1_452, at).carrying(1, 1_400));
                classifier.look(monitor, at);
            }
        }
        assert_eq!(ends.map(|(_, classifier)| classifier.activity()), [Activity::Upload; 2]);
    }

    #[test]
    fn padding_is_none_of_the_users_activity() {
        let start = Instant::now();
        let (mut monitor, mut classifier) = (Monitor::new(start), Classifier::new(Role::Client));
        for number in 0..30_000 {
            let at = start + number * MS;
            for direction in [Direction::Sent, Direction::Received] {
                monitor.observe(&Traffic::datagram(Kind::Padding, direction, 1_452, at));
            }
            assert_eq!(classifier.look(&mut monitor, at), Activity::Idle);
        }
    }

    #[test]
    fn what_goes_on_is_named_and_a_short_change_is_not() {
        let call = |at: u64| (at, 200, 200);
        let download = |at: u64| (at, 40, 12_000);
        // A call of a minute, and in its middle two seconds of a download beside it.
        let packets = (0..3_000).flat_map(|number| {
            let at = number * 20;
            let beside = (30_000..32_000).contains(&at).then(|| download(at));
            std::iter::once(call(at)).chain(beside)
        });
        let said = said(packets, 60);
        assert_eq!(said[10..30], [Activity::Interactive; 20]);
        assert_eq!(said[50..], [Activity::Interactive; 10]);
        let changes = said.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes <= 4, "{said:?}");
    }

    #[test]
    fn a_clock_that_jumps_does_no_harm() {
        let start = Instant::now() + Duration::from_secs(1_000);
        let (mut monitor, mut classifier) = (Monitor::new(start), Classifier::new(Role::Client));
        for at in [start, start - Duration::from_secs(900), start + Duration::from_secs(1_000_000), start] {
            monitor.observe(&Traffic::datagram(Kind::Normal, Direction::Received, 1_452, at).carrying(1, 1_400));
            classifier.look(&mut monitor, at);
        }
        assert_eq!(classifier.activity(), Activity::Idle);
    }
}

//! What the log says of one peer: a few lines a minute, whatever the peer does.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::keys::PublicKey;
use crate::settings::Protection;

/// Most lines at once.
const BURST: u32 = 4;

/// How long it takes until there may be another line.
const INTERVAL: Duration = Duration::from_secs(15);

/// Lets [`BURST`] lines through and then one each [`INTERVAL`], and counts the others.
#[derive(Debug, Default)]
pub(super) struct Limiter {
    /// Lines that were let through and still count.
    used: u32,
    /// When the first of those stops counting.
    until: Option<Instant>,
    /// Lines that were held back since the last that was let through.
    suppressed: u64,
}

impl Limiter {
    /// Returns how many lines were held back since the last, if there may be one now; otherwise this one is.
    pub(super) fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.take(now) {
            return Some(std::mem::take(&mut self.suppressed));
        }
        self.suppressed += 1;
        None
    }

    /// Asks again for a line that was held back, and returns how many others were, if there may be one now.
    fn admit_again(&mut self, now: Instant) -> Option<u64> {
        self.take(now).then(|| std::mem::take(&mut self.suppressed).saturating_sub(1))
    }

    fn take(&mut self, now: Instant) -> bool {
        while let Some(until) = self.until.filter(|until| *until <= now) {
            self.used -= 1;
            self.until = (self.used > 0).then_some(until + INTERVAL);
        }
        if self.used == BURST {
            return false;
        }
        self.used += 1;
        self.until.get_or_insert(now + INTERVAL);
        true
    }
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    is_warning: bool,
    text: String,
}

/// What the log says of one peer.
#[derive(Debug, Default)]
pub(super) struct PeerLog {
    limiter: Limiter,
    /// Since when nothing of the user's leaves.
    held_since: Option<Instant>,
    /// How the traffic is protected, while that is still to be said.
    unsaid: Option<Line>,
    /// While an update turns to many peers: how the traffic of this one is protected since.
    hushed: Option<Option<(Protection, bool)>>,
}

impl PeerLog {
    /// Says how the traffic is protected from now on. `holds_back`: nothing of the user's leaves.
    ///
    /// What cannot be said now is as soon as it can, if nothing else has happened by then: the log ends with what is.
    pub(super) fn note_protection(&mut self, peer: PublicKey, protection: Protection, holds_back: bool, now: Instant) {
        let line = self.line(protection, holds_back, now);
        self.unsaid = None;
        if let Some(noted) = &mut self.hushed {
            *noted = Some((protection, holds_back));
            return;
        }
        match self.limiter.admit(now) {
            Some(suppressed) => say(peer, &line, suppressed),
            None => self.unsaid = Some(line),
        }
    }

    /// Says that no answer to a handshake came.
    pub(super) fn note_handshake_failed(&mut self, peer: PublicKey, now: Instant) {
        self.note(peer, Line { is_warning: false, text: "no answer to the handshake".to_owned() }, now);
    }

    /// Says that the peer will take no handshake for so long.
    pub(super) fn note_clock_set_back(&mut self, peer: PublicKey, behind: Duration, now: Instant) {
        let seconds = behind.as_secs();
        let text = format!(
            "the system's clock is {seconds} s behind the last handshake's: a peer that took that one takes none for so long"
        );
        self.warn(peer, &text, now);
    }

    /// Says what the path to the peer takes, in bytes.
    pub(super) fn note_path(&mut self, peer: PublicKey, datagram: usize, packet: usize, now: Instant) {
        let text = format!("the path to the peer takes {datagram} bytes: packets in the tunnel have at most {packet}");
        self.note(peer, Line { is_warning: false, text }, now);
    }

    /// Warns of something.
    pub(super) fn warn(&mut self, peer: PublicKey, text: &str, now: Instant) {
        self.note(peer, Line { is_warning: true, text: text.to_owned() }, now);
    }

    fn note(&mut self, peer: PublicKey, line: Line, now: Instant) {
        if let Some(suppressed) = self.limiter.admit(now) {
            say(peer, &line, suppressed);
        }
    }

    /// Says nothing of how the traffic is protected until [`unhush`](Self::unhush) returns it.
    pub(super) fn hush(&mut self) {
        self.hushed.get_or_insert_default();
    }

    /// Returns how the traffic is protected, and whether nothing of the user's leaves, if that changed since
    /// [`hush`](Self::hush).
    pub(super) fn unhush(&mut self) -> Option<(Protection, bool)> {
        self.hushed.take().flatten()
    }

    /// Returns when there is something to say; `None` if nothing waits.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.unsaid.as_ref().and(self.limiter.until)
    }

    /// Says what waits, if it may be said.
    pub(super) fn handle_timeout(&mut self, peer: PublicKey, now: Instant) {
        if self.unsaid.is_some()
            && let Some(suppressed) = self.limiter.admit_again(now)
            && let Some(line) = self.unsaid.take()
        {
            say(peer, &line, suppressed);
        }
    }

    fn line(&mut self, protection: Protection, holds_back: bool, now: Instant) -> Line {
        let state = told(protection, holds_back);
        if holds_back {
            self.held_since.get_or_insert(now);
            return Line { is_warning: true, text: state };
        }
        match self.held_since.take() {
            Some(since) => {
                let held = now.saturating_duration_since(since);
                Line { is_warning: true, text: format!("what the user sends leaves again, after {held:.1?}: {state}") }
            }
            None => Line { is_warning: false, text: state },
        }
    }
}

/// Says in words how the traffic is protected.
fn told(protection: Protection, holds_back: bool) -> String {
    let why = protection.cause().map_or("both ends run a defense of their own", |cause| cause.why());
    match holds_back {
        true => format!("nothing of the user's leaves: the defense is required, and {why}"),
        false => format!("{}: {why}", protection.word()),
    }
}

/// What one update changed for peers, however many they are: one line.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// How many peers are protected so, and whether the user is to be warned of it.
    peers: BTreeMap<String, (u64, bool)>,
}

impl Summary {
    /// Takes what [`PeerLog::unhush`] returned.
    pub(super) fn add(&mut self, noted: Option<(Protection, bool)>) {
        if let Some((protection, holds_back)) = noted {
            let (count, is_warning) = self.peers.entry(told(protection, holds_back)).or_default();
            *count += 1;
            *is_warning |= holds_back;
        }
    }

    pub(super) fn say(&self) {
        let parts: Vec<_> = self.peers.iter().map(|(text, (count, _))| format!("{count} peers: {text}")).collect();
        let text = parts.join("; ");
        match self.peers.values().any(|(_, is_warning)| *is_warning) {
            _ if text.is_empty() => {}
            true => tracing::warn!("{text}"),
            false => tracing::info!("{text}"),
        }
    }
}

fn say(peer: PublicKey, line: &Line, suppressed: u64) {
    let suppressed = Some(suppressed).filter(|lines| *lines > 0);
    match line.is_warning {
        true => tracing::warn!(?peer, suppressed, "{}", line.text),
        false => tracing::info!(?peer, suppressed, "{}", line.text),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::negotiation::Reason;
    use crate::settings::Cause;

    const PEER: PublicKey = PublicKey::BASE_POINT;
    const REQUIRED: Protection = Protection::NotProtected(Cause::Negotiating);

    /// What was logged.
    #[derive(Debug, Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Returns the lines that `act` logs on this thread.
    pub(in crate::device) fn captured(act: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .with_ansi(false)
            .with_target(false)
            .without_time()
            .finish();
        tracing::subscriber::with_default(subscriber, act);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    /// Returns the lines that `act` logs, without the peer.
    fn logged(act: impl FnOnce(&mut PeerLog)) -> Vec<String> {
        let lines = captured(|| act(&mut PeerLog::default()));
        lines.into_iter().map(|line| line.replace(&format!(" peer={PEER:?}"), "")).collect()
    }

    fn suppressed(lines: &[String]) -> u64 {
        let count = |line: &String| line.split_once("suppressed=").map_or(0, |(_, count)| count.parse().unwrap());
        lines.iter().map(count).sum()
    }

    #[test]
    fn that_nothing_leaves_is_said_with_its_cause_when_it_begins_and_when_it_ends() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let lines = logged(|log| {
            log.note_protection(PEER, REQUIRED, true, at(0));
            log.note_protection(PEER, Protection::NotProtected(Cause::Refused(Reason::Unanswered)), true, at(60));
            log.note_protection(PEER, Protection::Protected, false, at(90));
            log.note_protection(PEER, Protection::OneSided(Cause::Negotiating), false, at(200));
        });
        assert_eq!(
            lines,
            [
                "WARN nothing of the user's leaves: the defense is required, and the peer has not answered yet",
                "WARN nothing of the user's leaves: the defense is required, and the peer does not answer: it does not \
                 know how, or is out of reach",
                "WARN what the user sends leaves again, after 90.0s: protected: both ends run a defense of their own",
                "INFO one-sided: the peer has not answered yet",
            ]
        );
    }

    #[test]
    fn a_peer_that_flaps_causes_a_few_lines_a_minute_and_all_others_are_counted() {
        const MINUTES: u64 = 10;
        let start = Instant::now();
        let changes = MINUTES * 600;
        let lines = logged(|log| {
            for change in 0..changes {
                let now = start + Duration::from_millis(100) * change as u32;
                let (protection, holds_back) =
                    if change % 2 == 0 { (REQUIRED, true) } else { (Protection::Protected, false) };
                log.note_protection(PEER, protection, holds_back, now);
                log.note_handshake_failed(PEER, now);
                log.warn(PEER, "every packet leaves in fragments", now);
            }
            let end = start + Duration::from_secs(60 * MINUTES) + INTERVAL;
            log.handle_timeout(PEER, end);
            log.note_protection(PEER, REQUIRED, true, end + INTERVAL);
        });
        let most = u64::from(BURST) + MINUTES * 60 / INTERVAL.as_secs() + 2;
        assert!((10..=most).contains(&(lines.len() as u64)), "{} lines", lines.len());
        assert_eq!(suppressed(&lines) + lines.len() as u64, 3 * changes + 1);
    }

    #[test]
    fn a_clock_that_was_set_back_is_warned_of() {
        let lines = logged(|log| log.note_clock_set_back(PEER, Duration::from_millis(800_900), Instant::now()));
        let expected = "WARN the system's clock is 800 s behind the last handshake's: a peer that took that one takes none for \
                        so long";
        assert_eq!(lines, [expected]);
    }

    #[test]
    fn the_log_ends_with_what_is() {
        let start = Instant::now();
        let lines = logged(|log| {
            for change in 0..u64::from(BURST) {
                log.note_protection(PEER, Protection::Protected, false, start + Duration::from_millis(change));
            }
            log.note_protection(PEER, REQUIRED, true, start + Duration::from_secs(1));
            let deadline = log.next_timeout().unwrap();
            assert_eq!(deadline, start + INTERVAL);
            log.handle_timeout(PEER, deadline - Duration::from_millis(1));
            assert!(log.next_timeout().is_some());
            log.handle_timeout(PEER, deadline);
            assert_eq!(log.next_timeout(), None);
            log.handle_timeout(PEER, deadline + INTERVAL);
        });
        assert_eq!(lines.len(), BURST as usize + 1);
        let last = "WARN nothing of the user's leaves: the defense is required, and the peer has not answered yet";
        assert_eq!(lines.last().unwrap(), last, "nothing else was held back");
    }

    #[test]
    fn how_long_nothing_left_is_said_even_if_its_beginning_was_not() {
        let start = Instant::now();
        let lines = logged(|log| {
            for _ in 0..BURST {
                log.note_handshake_failed(PEER, start);
            }
            log.note_protection(PEER, REQUIRED, true, start + Duration::from_secs(1));
            log.note_protection(PEER, Protection::Protected, false, start + Duration::from_secs(3));
            log.handle_timeout(PEER, start + INTERVAL);
        });
        let last = "WARN what the user sends leaves again, after 2.0s: protected: both ends run a defense of their own";
        assert_eq!(lines[BURST as usize..], [format!("{last} suppressed=1")]);
    }
}

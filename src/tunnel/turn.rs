//! The one way in: what comes before and after anything that happens to a tunnel.
//!
//! Whatever is called with an instant and a batch is a turn. What was due before comes first: sessions that are over end, and
//! machines whose timers are due act, for they decide whether what follows may leave. What comes of the turn follows at once: what
//! the peer said is acted on, and machines act on what was sent and received.

use std::time::Instant;

use super::{DatagramBatch, Tunnel};

impl Tunnel {
    /// Has `act` happen at `now`, between what was due before and what follows. A turn is never part of another.
    pub(super) fn turn<T>(
        &mut self,
        now: Instant,
        out: &mut DatagramBatch,
        act: impl FnOnce(&mut Self, &mut DatagramBatch) -> T,
    ) -> T {
        self.end_old_sessions(now);
        self.run_defense(now, out);
        let result = act(self, out);
        self.follow_up(now, out);
        result
    }

    fn follow_up(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.talk.as_mut().is_some_and(|talk| talk.take_news()) {
            self.run_negotiation(now, out);
        }
        self.run_defense(now, out);
    }
}

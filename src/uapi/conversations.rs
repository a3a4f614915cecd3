//! The conversations of a server: so many at once, and who has made it wait longest gives way to who comes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

/// Most conversations at once.
pub(super) const MAX_CONVERSATIONS: usize = 16;

/// How long a client may keep the server waiting though others want its place. What a client sends as it connects is read
/// long before.
const PATIENCE: Duration = Duration::from_millis(500);

/// Since when the server has waited for a client: for more of a request, or until it reads more of a response. While it
/// answers, it does not.
#[derive(Debug, Clone)]
pub(super) struct Waiting(Arc<Mutex<Option<Instant>>>);

impl Waiting {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(Some(Instant::now()))))
    }

    /// Notes that the client has done its part: the server waits anew from now on.
    pub(super) fn anew(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    /// Notes that it is the server's turn: the client waits.
    pub(super) fn pause(&self) {
        *self.0.lock() = None;
    }

    fn since(&self) -> Option<Instant> {
        *self.0.lock()
    }
}

/// The conversations under way. Dropping them ends them all.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    tasks: JoinSet<()>,
    waiting: HashMap<Id, (Waiting, AbortHandle)>,
}

impl Conversations {
    /// Begins a conversation; there [is room](Self::make_room).
    pub(super) fn begin<F>(&mut self, converse: impl FnOnce(Waiting) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let waiting = Waiting::begin();
        let task = self.tasks.spawn(converse(waiting.clone()));
        self.waiting.insert(task.id(), (waiting, task));
    }

    /// Waits until a conversation ends; for ever if there is none. Cancel safe.
    pub(super) async fn ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => std::future::pending().await,
        }
    }

    /// Waits until there is room for another conversation: until one ends, or has kept the server waiting for
    /// [`PATIENCE`] and is ended.
    pub(super) async fn make_room(&mut self) {
        while self.tasks.len() >= MAX_CONVERSATIONS {
            let waiting = self.waiting.values().filter_map(|(waiting, task)| Some((waiting.since()?, task)));
            let longest = waiting.min_by_key(|(since, _)| *since);
            // Where none is waited for, none can be ended before this.
            let since = longest.map_or_else(Instant::now, |(since, _)| since);
            match longest.filter(|_| since.elapsed() >= PATIENCE) {
                Some((_, task)) => {
                    debug!("a client of the configuration socket that has nothing to say gives way to another");
                    task.abort();
                    self.ended().await;
                }
                // Meanwhile it may have gone on: who is waited for longest then is looked up again.
                None => drop(timeout_at(since + PATIENCE, self.ended()).await),
            }
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        let id = match ended {
            Ok((id, ())) => id,
            Err(error) => {
                if !error.is_cancelled() {
                    warn!(%error, "a conversation on the configuration socket ended badly");
                }
                error.id()
            }
        };
        self.waiting.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Begins as many conversations as there may be, none of which ends by itself.
    fn full() -> (Conversations, Vec<Waiting>) {
        let (mut conversations, mut all) = (Conversations::default(), Vec::new());
        for _ in 0..MAX_CONVERSATIONS {
            conversations.begin(|waiting| {
                all.push(waiting);
                std::future::pending()
            });
        }
        (conversations, all)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_being_answered_does_not_give_way() {
        let (mut conversations, all) = full();
        for waiting in &all {
            waiting.pause();
        }
        let in_time = timeout_at(Instant::now() + 3 * PATIENCE, conversations.make_room()).await;
        assert!(in_time.is_err(), "a client was cut off while the device worked");
        all[3].anew();
        let begin = Instant::now();
        conversations.make_room().await;
        assert!(begin.elapsed() >= PATIENCE, "{:?}", begin.elapsed());
        assert_eq!(conversations.tasks.len(), MAX_CONVERSATIONS - 1);
        assert!(conversations.waiting.values().all(|(waiting, _)| waiting.since().is_none()), "another was ended");
    }
}

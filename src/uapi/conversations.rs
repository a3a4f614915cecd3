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

/// Since when the server has waited for a client: for its next request, for the rest of one, or until it reads a response.
#[derive(Debug, Clone)]
pub(super) struct Waiting(Arc<Mutex<Instant>>);

impl Waiting {
    fn begin() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Notes that the client has done its part: the server waits anew from now on.
    pub(super) fn anew(&self) {
        *self.0.lock() = Instant::now();
    }

    fn since(&self) -> Instant {
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
            let longest = self.waiting.values().min_by_key(|(waiting, _)| waiting.since());
            let Some((since, task)) = longest.map(|(waiting, task)| (waiting.since(), task.clone())) else { return };
            if since.elapsed() >= PATIENCE {
                debug!("a client of the configuration socket that has nothing to say gives way to another");
                task.abort();
                self.ended().await;
            } else {
                // Meanwhile it may have gone on: who waits longest then is looked up again.
                let _ = timeout_at(since + PATIENCE, self.ended()).await;
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

//! What a client waits for, one at a time.

use super::message::{Hello, Message, Proof, Ready, Stop};
use super::transfer::Transfer;
use super::{Agreed, Epoch};

/// What is waited for.
#[derive(Debug)]
pub(super) enum Attempt {
    /// An answer to a hello.
    Calling(Hello),
    /// The next part of what the relay has drawn; what we made of the answer.
    Fetching(Transfer, Box<Agreed>),
    /// The start of what was drawn.
    Agreeing(Box<Agreed>),
    /// Word that a stop was heard.
    Stopping(Stop),
}

impl Attempt {
    pub(super) fn epoch(&self) -> Epoch {
        match self {
            Self::Calling(hello) => hello.epoch,
            Self::Fetching(_, agreed) | Self::Agreeing(agreed) => agreed.epoch,
            Self::Stopping(stop) => stop.epoch,
        }
    }

    /// Returns the run that both know it by, if there is one yet.
    pub(super) fn proof(&self) -> Option<Proof> {
        match self {
            Self::Fetching(_, agreed) | Self::Agreeing(agreed) => Some(agreed.proof()),
            Self::Stopping(stop) => stop.proof(),
            Self::Calling(_) => None,
        }
    }

    /// Tells whether the relay's stop is said of it.
    pub(super) fn is_named_by(&self, stop: Stop) -> bool {
        match (self, self.proof()) {
            // The relay says the same again.
            (Self::Stopping(said), _) => said.epoch == stop.epoch,
            (_, Some(proof)) => stop.names(proof),
            (_, None) => stop.epoch == self.epoch() && !stop.is_of_one(),
        }
    }

    pub(super) fn message(&self) -> Message {
        match self {
            Self::Calling(hello) => Message::Hello(hello.clone()),
            Self::Fetching(transfer, agreed) => Message::Fetch(transfer.fetch(agreed.epoch)),
            Self::Agreeing(agreed) => {
                Message::Ready(Ready { proof: agreed.proof(), digest: agreed.defense.digest().0 })
            }
            Self::Stopping(stop) => Message::Stop(*stop),
        }
    }
}

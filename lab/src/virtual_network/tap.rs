//! What an observer of the network sees, and what he may do about it.

use std::time::Duration;

use super::{Node, Packet};

/// A packet where an observer sees it.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    /// When, since the network began.
    pub at: Duration,
    /// Who sent it.
    pub from: Node,
    /// Whose address it goes to; `None` if nobody has it.
    pub to: Option<Node>,
    /// Bytes on the link, headers counted; those of the payload if it goes to nobody.
    pub size: usize,
    /// The packet itself: not a copy.
    pub packet: &'a Packet,
}

/// What an observer does with a packet that is sent. Whatever is not lost, goes the way of its link then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fate {
    /// Lets it pass.
    #[default]
    Deliver,
    /// Takes it away.
    Lose,
    /// Lets it arrive twice.
    Repeat,
    /// Lets it arrive this much later, past its place.
    Delay(Duration),
}

/// Why a packet does not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// Nobody has the address.
    NoSuchAddress,
    /// There is no link between the two.
    NoLink,
    /// An observer took it away.
    Taken,
    /// The queue of the link had no room.
    QueueFull,
    /// The link lost it.
    OnTheWay,
}

/// An observer of all links. Every method does nothing by itself; `()` sees nothing.
pub trait Tap {
    /// Sees a packet that a host sends, before it waits in the link's queue, and says what becomes of it.
    fn sent(&mut self, _passing: Passing<'_>) -> Fate {
        Fate::Deliver
    }

    /// Sees a packet arrive, before the host does.
    fn arrived(&mut self, _passing: Passing<'_>) {}

    /// Is told of a packet that will not arrive, when it is sent.
    fn lost(&mut self, _passing: Passing<'_>, _loss: Loss) {}
}

impl Tap for () {}

/// Two observers, of whom the first decides, and the second unless the first did.
impl<A: Tap, B: Tap> Tap for (A, B) {
    fn sent(&mut self, passing: Passing<'_>) -> Fate {
        let fates = (self.0.sent(passing), self.1.sent(passing));
        if fates.0 == Fate::Deliver { fates.1 } else { fates.0 }
    }

    fn arrived(&mut self, passing: Passing<'_>) {
        self.0.arrived(passing);
        self.1.arrived(passing);
    }

    fn lost(&mut self, passing: Passing<'_>, loss: Loss) {
        self.0.lost(passing, loss);
        self.1.lost(passing, loss);
    }
}

/// Time, direction and size of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// When, since the network began.
    pub at: Duration,
    /// Who sent it.
    pub from: Node,
    /// Whom it goes to.
    pub to: Node,
    /// Bytes on the link, headers counted.
    pub size: usize,
}

/// An observer beside one host, or beside each, who notes time, direction and size: what the host sends as it is sent, what it
/// receives as it arrives.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Beside whom; `None` is beside each, where he notes what is sent only, for it would be twice otherwise.
    beside: Option<Node>,
    /// What he saw, in order.
    pub passed: Vec<Passed>,
}

impl Trace {
    /// Returns an observer beside one host.
    pub fn beside(host: Node) -> Self {
        Self { beside: Some(host), passed: Vec::new() }
    }

    fn note(&mut self, passing: Passing<'_>) {
        if let Some(to) = passing.to {
            self.passed.push(Passed { at: passing.at, from: passing.from, to, size: passing.size });
        }
    }
}

impl Tap for Trace {
    fn sent(&mut self, passing: Passing<'_>) -> Fate {
        if self.beside.is_none_or(|host| host == passing.from) {
            self.note(passing);
        }
        Fate::Deliver
    }

    fn arrived(&mut self, passing: Passing<'_>) {
        if self.beside.is_some() && self.beside == passing.to {
            self.note(passing);
        }
    }
}

//! How both ends agree on a defense that only they know: a small protocol in control frames inside the tunnel, sans-IO.
//!
//! ```text
//! client                                             relay
//!   │ Hello: versions, nonce, capabilities, choice ──►│
//!   │◄── Answer: version, nonce, capabilities, choice │  both derive the seed and draw the defense
//!   │ Ready: fingerprint, digest ────────────────────►│  the same? then it runs from here
//!   │◄──────────────────────────── Start: fingerprint │
//!   │ Started: fingerprint ──────────────────────────►│  and here
//! ```
//!
//! Where the ends draw different defenses (their pools differ), and both allow it, the client fetches what the relay drew,
//! part by part (Fetch, Part), and is ready then.
//!
//! Each is sent again until it is answered, with jitter, seven times at most. To see one twice, late or in another order
//! does no harm: a message is for one epoch, and what proves that both mean the same run is the fingerprint of its seed,
//! which both nonces have made. In a new session both ask whether the other still runs it: the client says Started, the
//! relay Start; who was started anew answers Stop, and they agree anew. Who is given other settings says Stop by itself; it
//! names the run by its fingerprint, too. A renewal is the same exchange for the next epoch
//! while the old one runs on.
//!
//! A relay that wants a renewal asks the client for it (Renew).
//!
//! Once they agreed, each end may ask the other to prove where it is (Challenge, Echo).
//!
//! The owner of a [`Negotiation`]
//! - says when a session begins ([`session_started`](Negotiation::session_started)) and hands over what control frames
//!   bring ([`receive`](Negotiation::receive));
//! - calls [`handle_timeout`](Negotiation::handle_timeout) when [`next_timeout`](Negotiation::next_timeout) has come, and
//!   [`traffic`](Negotiation::traffic) when there is any;
//! - sends what [`poll_message`](Negotiation::poll_message) gives, and does what [`poll_event`](Negotiation::poll_event)
//!   says.

mod attempt;
mod capabilities;
mod client;
mod common;
mod message;
mod path;
mod reason;
mod relay;
mod renewal;
mod retry;
#[cfg(test)]
mod tests;
mod transfer;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use maybetun_machines::{Defense, Role};
use rand_core::CryptoRng;

use crate::keys::{PresharedKey, PrivateKey, PublicKey};
use crate::masking::Terms;
use crate::seed::{Fingerprint, Seed};
pub use capabilities::Capabilities;
use client::Client;
use common::Common;
pub use message::{Choice, DIGEST_LENGTH, Epoch, MAX_MESSAGE, VERSION};
use message::{Message, Proof, Stop};
use path::Path;
pub use reason::{Reason, UnknownReason};
use relay::Relay;
pub use renewal::RenewError;

/// How long an epoch lasts by default; each is a quarter longer or shorter.
pub const DEFAULT_RENEWAL: Duration = Duration::from_secs(3_600);

/// The epoch of no run: clients count from 1. A relay that says that it knows nothing of it says that it may be called.
const NO_EPOCH: Epoch = 0;

/// Draws from the seed what is chosen; `None` if this end does not offer it. Usually [`Choice::draw`].
pub type Draw = Arc<dyn Fn(&Seed, Choice) -> Option<Defense> + Send + Sync>;

/// What an end brings to the negotiation.
#[derive(Clone)]
pub struct Config {
    /// Which end this is.
    pub role: Role,
    /// Our private key.
    pub private_key: PrivateKey,
    /// The peer's public key.
    pub peer: PublicKey,
    /// The key that both hold beside their key pairs.
    pub preshared_key: Option<PresharedKey>,
    /// What this end can do.
    pub capabilities: Capabilities,
    /// The MTU of this end inside the tunnel, in bytes: the other sends no packets of a larger size.
    pub mtu: u16,
    /// What the client asks for; the relay's own is not asked about.
    pub choice: Choice,
    /// What the client would have the traffic look like; the relay's own is not asked about.
    pub masking: Option<Terms>,
    /// How long an epoch lasts, a quarter more or less.
    pub renewal: Duration,
    /// Draws the defense.
    pub draw: Draw,
    /// Whether an end that cannot draw the same may have it from the other: the relay then sends what it drew, and the
    /// client runs that.
    pub sends_machines: bool,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("role", &self.role).field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// What both ends agreed on.
#[derive(Debug, Clone)]
pub struct Agreed {
    /// Which run of a defense this is.
    pub epoch: Epoch,
    /// The seed that this end derived.
    pub seed: Seed,
    /// What both ends know the seed by: that of the relay's.
    pub fingerprint: Fingerprint,
    /// What was asked for.
    pub choice: Choice,
    /// What both run.
    pub defense: Defense,
    /// What both ends can do.
    pub capabilities: Capabilities,
    /// The other end's MTU inside the tunnel, in bytes; `None` if it did not say.
    pub mtu: Option<u16>,
    /// What the client asked the traffic to look like.
    pub masking: Option<Terms>,
}

impl Agreed {
    fn proof(&self) -> Proof {
        Proof::new(self.epoch, self.fingerprint)
    }
}

/// What the owner is to do, or may want to know.
#[derive(Debug, Clone)]
pub enum Event {
    /// Run this from now on, in the place of what runs.
    Run(Box<Agreed>),
    /// What ran by agreement does not run at the other end any more, or was never agreed on: this end is alone.
    Alone(Reason),
    /// The peer is to be reached where the newest challenge was sent to: it came back.
    PathProven,
}

/// One end's part in the negotiation with one peer.
#[derive(Debug)]
pub struct Negotiation {
    common: Common,
    end: End,
    path: Path,
}

#[derive(Debug)]
enum End {
    Client(Box<Client>),
    Relay(Box<Relay>),
}

impl Negotiation {
    /// Returns a negotiation that begins with the next session.
    pub fn new(config: Config) -> Self {
        let end = match config.role {
            Role::Client => End::Client(Box::default()),
            Role::Relay => End::Relay(Box::default()),
        };
        let common = Common::new(config);
        Self { common, end, path: Path::default() }
    }

    /// Notes that there is a new session: the way to the peer is open, and it may have been started anew.
    pub fn session_started(&mut self, now: Instant, rng: &mut impl CryptoRng) {
        // What waits was true of the session before, and would be taken as said in this one. It is said anew.
        self.common.messages.retain(|message| !matches!(message, Message::Start(_) | Message::Started(_)));
        match &mut self.end {
            End::Client(client) => client.session_started(&mut self.common, now, rng),
            End::Relay(relay) => relay.session_started(&mut self.common, now, rng),
        }
    }

    /// Agrees on a new epoch now, whatever the schedule says: the client begins an exchange, the relay asks it to, seven
    /// times at most. A client does so at a relay's word once in ten seconds; sooner than that, it waits with it.
    ///
    /// # Errors
    /// At a relay, when nothing is agreed on, or the client's version cannot be asked. Nothing happens then.
    pub fn renew(&mut self, now: Instant, rng: &mut impl CryptoRng) -> Result<(), RenewError> {
        match &mut self.end {
            End::Client(client) => client.call(&mut self.common, now, rng),
            End::Relay(relay) => relay.renew(&mut self.common, now, rng)?,
        }
        Ok(())
    }

    /// Ends what was agreed on, and says so to the peer until it has heard it, seven times at most. The owner stops its
    /// defense by itself; no event tells it to. A client that calls is answered again.
    pub fn stop(&mut self, now: Instant, rng: &mut impl CryptoRng) {
        match &mut self.end {
            End::Client(client) => client.stop(&mut self.common, now, rng),
            End::Relay(relay) => relay.stop(&mut self.common, now, rng),
        }
    }

    /// Does the same for good: nothing is agreed on any more, no event comes, and who calls is refused. Keep it until
    /// [`is_over`](Self::is_over), so that the peer hears of it.
    pub fn close(&mut self, now: Instant, rng: &mut impl CryptoRng) {
        self.stop(now, rng);
        self.common.is_closed = true;
    }

    /// Tells whether it was [closed](Self::close), and has nothing to say any more.
    pub fn is_over(&self) -> bool {
        let is_heard = match &self.end {
            End::Client(client) => client.is_over(),
            End::Relay(relay) => relay.is_over(),
        };
        self.common.is_closed && is_heard && !self.has_message()
    }

    /// Takes the place of `before`, a negotiation with the same peer, closed or not: the peer is told that what it may take
    /// to be run by agreement is not. A client that hears it calls at once; a relay says it until then, seven times at most.
    /// Call it before the first session.
    pub fn succeed(&mut self, before: &Self, now: Instant, rng: &mut impl CryptoRng) {
        if let (End::Client(client), End::Client(before)) = (&mut self.end, &before.end) {
            client.count_from(before);
        }
        let left: Vec<_> = match &before.end {
            End::Client(before) => before.left().collect(),
            End::Relay(before) => before.left().into_iter().collect(),
        };
        for stop in left.into_iter().map(|proof| Stop::of(proof, Reason::Unknown)) {
            match &mut self.end {
                End::Client(_) => self.common.say_stop(stop),
                End::Relay(relay) => relay.part(stop, &mut self.common, now, rng),
            }
        }
    }

    /// Takes the body of a control frame. What is not understood is counted, and otherwise without effect.
    ///
    /// What came in a session older than the newest has no effect at all, and is not counted: it may be what the peer said
    /// before it was started anew. The peer says it again.
    pub fn receive(&mut self, body: &[u8], in_newest_session: bool, now: Instant, rng: &mut impl CryptoRng) {
        if !in_newest_session {
            return;
        }
        let Ok(message) = Message::decode(body) else {
            self.common.malformed += 1;
            return;
        };
        match (message, &mut self.end) {
            // One answer waits at most, however many challenges come.
            (Message::Challenge(token), _) => self.common.say_newest(Message::Echo(token)),
            (Message::Echo(token), _) => self.path.echoed(token, &mut self.common),
            (message, End::Client(client)) => client.receive(message, &mut self.common, now, rng),
            (message, End::Relay(relay)) => relay.receive(message, &mut self.common, now, rng),
        }
    }

    /// Does what has become due: sends again, gives up, renews.
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut impl CryptoRng) {
        if self.can_prove_paths() {
            self.path.handle_timeout(&mut self.common, now, rng);
        } else {
            self.path.forget(&mut self.common);
        }
        match &mut self.end {
            End::Client(client) => client.handle_timeout(&mut self.common, now, rng),
            End::Relay(relay) => relay.handle_timeout(&mut self.common, now, rng),
        }
    }

    /// Notes that there is traffic, whatever it carries but for keepalives and what the ends say to agree: an epoch that is
    /// due is renewed with it, and not before, so that a tunnel that nobody uses falls silent.
    pub fn traffic(&mut self, now: Instant, rng: &mut impl CryptoRng) {
        if let End::Client(client) = &mut self.end {
            client.traffic(&mut self.common, now, rng);
        }
    }

    /// Returns when [`handle_timeout`](Self::handle_timeout) is to be called next; `None` while nothing is due.
    pub fn next_timeout(&self) -> Option<Instant> {
        let of_end = match &self.end {
            End::Client(client) => client.next_timeout(),
            End::Relay(relay) => relay.next_timeout(),
        };
        of_end.into_iter().chain(self.path.next_timeout()).min()
    }

    /// Asks the peer to show that it is to be reached where control frames are sent to from now on: a challenge that nobody
    /// can guess is sent, and sent again as every message, until it comes back ([`Event::PathProven`]), it was sent often
    /// enough, or [`forget_path`](Self::forget_path) is called. A challenge that goes on is replaced, and proves nothing
    /// any more. `false` if nothing was sent: the ends have not agreed on anything, or the peer answers no challenges.
    pub fn prove_path(&mut self, now: Instant, rng: &mut impl CryptoRng) -> bool {
        let can_prove = self.can_prove_paths();
        if can_prove {
            self.path.challenge(&mut self.common, now, rng);
        } else {
            self.path.forget(&mut self.common);
        }
        can_prove
    }

    /// Ends the challenge that goes on: what comes back proves nothing.
    pub fn forget_path(&mut self) {
        self.path.forget(&mut self.common);
    }

    /// Tells whether a challenge goes on.
    pub fn is_proving_path(&self) -> bool {
        self.path.is_challenged()
    }

    fn can_prove_paths(&self) -> bool {
        self.agreed().is_some_and(|agreed| agreed.capabilities.contains(Capabilities::PATHS))
    }

    /// Appends the body of the next control frame to `body`, at most [`MAX_MESSAGE`] and two bytes; `false` if there is
    /// none to send.
    pub fn poll_message(&mut self, body: &mut Vec<u8>) -> bool {
        let message = self.common.messages.pop_front();
        if let Some(message) = &message {
            message.encode(body);
        }
        message.is_some()
    }

    /// Tells whether there is a message to send.
    pub fn has_message(&self) -> bool {
        !self.common.messages.is_empty()
    }

    /// Returns the oldest event that was not read yet.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.common.events.pop_front()
    }

    /// Returns what is in force by agreement.
    pub fn agreed(&self) -> Option<&Agreed> {
        match &self.end {
            End::Client(client) => client.active(),
            End::Relay(relay) => relay.active(),
        }
    }

    /// Tells whether the peer has said in this session that it runs the same.
    pub fn is_confirmed(&self) -> bool {
        match &self.end {
            End::Client(client) => client.is_confirmed(),
            End::Relay(relay) => relay.is_confirmed(),
        }
    }

    /// Tells whether the peer has said in this session that it runs what was agreed on: this epoch, or the one that it
    /// replaced within this session. So a client is assured from the relay's start on; a relay from the client's started
    /// on, and stays so while a renewal of what was assured waits for another. A new session, and the loss of the
    /// agreement, end it.
    pub fn is_assured(&self) -> bool {
        match &self.end {
            End::Client(client) => client.is_assured(),
            End::Relay(relay) => relay.is_assured(),
        }
    }

    /// Tells whether the peer is being asked to agree, or to agree anew: only a client asks.
    pub fn is_asking(&self) -> bool {
        match &self.end {
            End::Client(client) => client.is_asking(),
            End::Relay(_) => false,
        }
    }

    /// Changes the keys that the seeds of epochs to come are derived from. What is being agreed on under the old ones is
    /// begun anew, and what was refused is asked for again.
    pub fn set_keys(
        &mut self,
        private_key: PrivateKey,
        preshared_key: Option<PresharedKey>,
        now: Instant,
        rng: &mut impl CryptoRng,
    ) {
        self.common.config.private_key = private_key;
        self.common.config.preshared_key = preshared_key;
        match &mut self.end {
            End::Client(client) => client.keys_changed(&mut self.common, now, rng),
            End::Relay(relay) => relay.keys_changed(&mut self.common),
        }
    }

    /// Changes what is asked of the other end, or offered to it, with the next exchange: what the traffic is to look like, and what this
    /// end can do.
    pub fn set_masking(&mut self, masking: Option<Terms>, capabilities: Capabilities) {
        (self.common.config.masking, self.common.config.capabilities) = (masking, capabilities);
    }

    /// Tells whether what was agreed on is what the client asks for at present; at a relay, always.
    pub fn is_masking_agreed(&self) -> bool {
        let Config { role, masking, .. } = &self.common.config;
        *role == Role::Relay || self.agreed().is_none_or(|agreed| agreed.masking == *masking)
    }

    /// Changes the MTU that the other end is told with the next exchange, in bytes.
    pub fn set_mtu(&mut self, mtu: u16) {
        self.common.config.mtu = mtu;
    }

    /// Returns how many messages were not understood.
    pub fn malformed(&self) -> u64 {
        self.common.malformed
    }
}

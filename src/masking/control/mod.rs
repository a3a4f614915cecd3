//! The controller: what padding is asked for, and what is kept from leaving, so that the sum looks like one ordinary client.
//!
//! Padding is what is missing. Ten times a second, while there is traffic, this end looks at what has passed in the last ten
//! seconds, both ways, and adds in its own direction
//! - what the upload ratio lacks: the relay pads the download where too much goes up, the client the upload where too little does;
//! - what the target asks for beyond what passes already, where what the user does is to look like something else.
//!
//! The ends need no word for that: each sees both directions, and each does its own.

use std::time::{Duration, Instant};

use maybetun_machines::Role;
use maybetun_machines::profile::{ProfileName, Rates, Walk};
use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore as _, SeedableRng as _};

use super::band::WHOLE;
use super::budget::{Budget, Purpose};
use super::pace::{Batching, Pace};
use super::{Activity, Band, Classifier, Flow, MaskingMode, MaskingStatus, Monitor, RECENT, Shortfall, Terms};
use crate::defense::{Bypass, Controller, Effect, Replace};
use crate::traffic::{Direction, Drop, Kind, Layer, Traffic, V4_HEADERS, V6_HEADERS};

/// How often the controller looks while there is traffic, and while it saves battery.
const STEP: Duration = Duration::from_millis(100);
const LONG_STEP: Duration = Duration::from_secs(1);

/// Where the ratio is so near to the ends of the band that padding sets in, and where that brings it: parts of the upper end, which is the
/// relay's, and of the lower, the client's.
const TOO_NEAR_BELOW: f64 = 0.95;
const TOO_NEAR_ABOVE: f64 = 1.03;
const AIM_BELOW: f64 = 0.9;
const AIM_ABOVE: f64 = 1.15;

/// Up to where machines may pad the upload: half of the band's upper end, which leaves room for the user's own.
const MACHINES_BELOW: f64 = 0.5;

/// What is looked at beside the last ten seconds, so that what is made up for is near what it makes up for.
const NEWEST: Duration = Duration::from_secs(4);

/// How soon what the ratio lacks is to have left.
const PAY: Duration = Duration::from_millis(500);

/// The part of the fastest second of the last hour that masking takes a link to carry beside the user, and the least that any does, in
/// bytes a second.
const LINK: f64 = 0.5;
const LEAST_LINK: f64 = 125_000.0;

/// The part of the fastest second from which on the user is taken to fill the link, and the part of what passes that padding may be beside him.
const FULL: f64 = 0.4;
const BESIDE_FULL: f64 = 0.03;

/// The part of what a second may have that is asked for.
const JUST_BELOW: f64 = 0.9;

/// The part of the user's bytes in a direction that machines may pad it by while he downloads: the sum is plausible by itself.
const DOWNLOAD_SHARE: (u64, u64) = (1, 4);

/// Bytes of a padding datagram as an IP packet, until one has left.
const USUAL_SIZE: u64 = 1_480;

/// Outer bytes between two looks below which the next one is a second later, if nothing is asked for: the chatter of an idle phone wakes
/// nobody ten times a second.
const LITTLE: u64 = 10_000;

/// Outer bytes of the last ten seconds from which on there is a ratio to be seen.
const SEEN: u64 = 30_000;

/// How long after the user's last packet a target goes on.
const LINGER: Duration = Duration::from_secs(30);

/// How long after the user's last packet there is something in the background; later a tunnel is silent, as one without padding.
const BACKGROUND_TIME: Duration = Duration::from_secs(600);

/// The pauses between two bursts in the background, and their datagrams: at the relay.
const BACKGROUND_PAUSES: (u64, u64) = (45_000, 180_000);
const BACKGROUND_DATAGRAMS: (u64, u64) = (16, 32);

/// How many datagrams have to come down before one of small packets goes up: so many that the relay has nothing to add.
const PAYING: i64 = 16;

/// How long a packet may wait for company, at most.
pub const MAX_GATHERING: Duration = Duration::from_millis(25);

/// The part of a round trip for which it may wait.
const GATHERING_PART: u32 = 4;

/// The pause after which a packet waits for nothing.
const GATHERING_PAUSE: Duration = Duration::from_millis(100);

/// The parts of masking's budget that the ends have: the client's, the relay's, and all.
const PARTS: (u64, u64, u64) = (1, 9, 10);

/// Who asks for padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// The machines of a defense, or another controller.
    Machines,
    /// The same, by a slot of bypassable blocking: it leaves in any case, for what waits would else leave at an instant of its own.
    Slot,
    /// Masking itself.
    Masking,
}

/// Masking at one end of one tunnel.
#[derive(Debug)]
pub struct Masking {
    role: Role,
    terms: Terms,
    is_mutual: bool,
    monitor: Monitor,
    classifier: Classifier,
    rng: ChaCha20Rng,
    /// What masking's padding may cost at this end, and all padding.
    masking: Budget,
    padding: Budget,
    /// What the budgets were not told yet, and when they were told last.
    untold: Untold,
    told: Instant,
    headers: usize,
    walk: Option<Target>,
    /// What is asked for, and what it is for.
    pace: Pace,
    purpose: Purpose,
    /// Bytes since the last look, and whether they have brought the next one near.
    since_step: u64,
    is_soon: bool,
    next_step: Option<Instant>,
    /// When the user's last packet passed, and when the next burst in the background begins.
    user: Option<Instant>,
    background: Option<Instant>,
    /// What has come down of the user's since datagrams of his left, less what pays for those, in bytes; and when the last such left.
    paid: i64,
    sent: Option<Instant>,
    /// Whether the ratio lacks something, and padding makes up for it.
    is_lacking: bool,
    is_visible: bool,
    shortfall: Shortfall,
}

/// Bytes that have passed.
#[derive(Debug, Clone, Copy, Default)]
struct Untold {
    /// The user's.
    user: u64,
    /// All but padding.
    all: u64,
    /// What is neither the user's nor padding that was asked for here.
    other: u64,
}

/// What the traffic is made to look like.
#[derive(Debug)]
struct Target {
    name: ProfileName,
    walk: Walk<ChaCha20Rng>,
    began: Instant,
    rates: Rates,
}

impl Masking {
    /// Returns one that has seen nothing yet. `seed` is random, known to nobody.
    pub fn new(role: Role, terms: Terms, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = ChaCha20Rng::from_seed(seed);
        let mut pace = [0; 32];
        rng.fill_bytes(&mut pace);
        let mut masking = Self {
            role,
            terms,
            is_mutual: false,
            monitor: Monitor::with_step(STEP, now),
            classifier: Classifier::new(role),
            rng,
            masking: Budget::new(terms.masking_allowance(), now),
            padding: Budget::new(terms.padding_allowance(), now),
            untold: Untold::default(),
            told: now,
            headers: V4_HEADERS,
            walk: None,
            pace: Pace::new(pace, USUAL_SIZE, now),
            purpose: Purpose::Ratio,
            since_step: 0,
            is_soon: false,
            next_step: None,
            user: None,
            background: None,
            paid: 0,
            sent: None,
            is_lacking: false,
            is_visible: false,
            shortfall: Shortfall::None,
        };
        masking.set_terms(terms, false);
        masking
    }

    /// Masks by these terms from now on; what was spent counts on. `is_mutual`: the other end does its part.
    pub fn set_terms(&mut self, terms: Terms, is_mutual: bool) {
        let (client, relay, all) = PARTS;
        let own = if self.role == Role::Client { client } else { relay };
        self.masking.allow(terms.masking_allowance().part(own, all));
        self.padding.allow(terms.padding_allowance());
        (self.terms, self.is_mutual) = (terms, is_mutual);
        self.pace.go_on();
        if terms.mode == MaskingMode::Off {
            self.pace.stop();
            (self.walk, self.next_step, self.background) = (None, None, None);
        }
    }

    /// Returns which end it is of.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns what it masks by.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Says over which IP version datagrams go from now on; IPv4 at first.
    pub fn set_is_v6(&mut self, is_v6: bool) {
        self.headers = if is_v6 { V6_HEADERS } else { V4_HEADERS };
        self.monitor.set_is_v6(is_v6);
    }

    fn is_on(&self) -> bool {
        self.terms.mode != MaskingMode::Off
    }

    /// Returns the bytes that a padding datagram of so many bytes of payload takes.
    fn outer(&self, bytes: usize) -> u64 {
        (bytes + self.headers) as u64
    }

    /// Returns why padding of `bytes` of UDP payload must not leave, if there is a reason.
    pub fn over(&self, asker: Asker, bytes: usize, now: Instant) -> Option<Drop> {
        let bytes = self.outer(bytes);
        let purpose = match asker {
            Asker::Machines | Asker::Slot => Purpose::Machines,
            Asker::Masking => self.purpose,
        };
        let Untold { user, other, .. } = self.untold;
        if !self.padding.fits(bytes + other, user, purpose, now) {
            return Some(Drop::OverPaddingBudget);
        }
        match asker {
            Asker::Machines if self.is_on() && self.suppresses(bytes) => Some(Drop::Suppressed),
            Asker::Masking if !self.masking.fits(bytes, user, purpose, now) => Some(Drop::OverMaskingBudget),
            Asker::Machines | Asker::Slot | Asker::Masking => None,
        }
    }

    /// Notes that padding of `bytes` of UDP payload leaves, or waits.
    pub fn spend(&mut self, asker: Asker, bytes: usize, now: Instant) {
        self.tell_budgets(now);
        let bytes = self.outer(bytes);
        self.pace.set_size(bytes);
        self.padding.spend(bytes, now);
        if asker == Asker::Masking {
            self.masking.spend(bytes, now);
        }
    }

    /// Tells whether a machine's padding is kept from leaving.
    fn suppresses(&self, bytes: u64) -> bool {
        let recent = self.monitor.recent();
        let (share, of) = DOWNLOAD_SHARE;
        let is_plausible = self.classifier.activity() == Activity::Download
            && recent.sent.padding_bytes.saturating_add(bytes) > recent.sent.user_bytes.saturating_mul(share) / of;
        let is_over_band = self.role == Role::Client && {
            let most = MACHINES_BELOW * self.band().high() * recent.received.bytes as f64;
            self.classifier.activity() == Activity::Upload || (recent.sent.bytes + bytes) as f64 > most
        };
        is_plausible || is_over_band
    }

    /// Notes that padding that was asked for did not leave, and why.
    pub fn refused(&mut self, why: Drop, now: Instant) {
        self.shortfall = match why {
            Drop::OverMaskingBudget => Shortfall::MaskingBudget,
            Drop::OverPaddingBudget => Shortfall::PaddingBudget,
            Drop::QueueFull
            | Drop::NoSession
            | Drop::NoEndpoint
            | Drop::SourceNotAllowed
            | Drop::Replayed
            | Drop::Unauthenticated
            | Drop::Malformed
            | Drop::Unprotected
            | Drop::TooLarge
            | Drop::NoRoom
            | Drop::OverFrac
            | Drop::OverRate
            | Drop::OverDeviceRate
            | Drop::Unproven
            | Drop::Silent
            | Drop::Suppressed
            | Drop::Gated => Shortfall::Limit,
        };
        self.pace.pause(now);
    }

    /// Returns how long a small packet of the user's may wait for others to share its datagram; `None` if it leaves at once. So it is
    /// while no download is under way, and after a pause. `round_trip` is that of the user's connections, as far as it is known.
    pub fn gathering(&self, round_trip: Option<Duration>, now: Instant) -> Option<Duration> {
        let is_after_pause = self.sent.is_none_or(|sent| now.saturating_duration_since(sent) > GATHERING_PAUSE);
        if !self.gathers() || is_after_pause || self.is_paid() || !self.is_downloading() {
            return None;
        }
        round_trip.map(|round_trip| (round_trip / GATHERING_PART).min(MAX_GATHERING))
    }

    /// Tells whether small packets of the user's may wait for others at all.
    pub fn gathers(&self) -> bool {
        self.is_on() && self.role == Role::Client
    }

    /// Tells whether enough has come down for a datagram of small packets.
    pub fn is_paid(&self) -> bool {
        self.paid >= self.price()
    }

    /// Returns the bytes that have to come down for a datagram of small packets.
    fn price(&self) -> i64 {
        PAYING * self.pace.size().cast_signed()
    }

    /// Tells whether as much came down in the last two steps as pays for a datagram.
    fn is_downloading(&self) -> bool {
        self.monitor.latest().received.bytes.cast_signed() >= self.price()
    }

    fn tell_budgets(&mut self, now: Instant) {
        let Untold { user, all, other } = std::mem::take(&mut self.untold);
        self.told = self.told.max(now);
        if all > 0 || other > 0 {
            self.masking.note(user, all, now);
            self.padding.note(user, all, now);
            self.padding.spend(other, now);
        }
    }

    /// Returns the band that the ratio is to be in: the target's, whatever the user does.
    fn band(&self) -> Band {
        let of_profile = |name: ProfileName| {
            let (low, high) = name.profile().upload_ratio();
            Band::new(low, high)
        };
        let own = match self.terms.mode {
            MaskingMode::Profile(name) => of_profile(name),
            MaskingMode::Off | MaskingMode::Adaptive => None,
        };
        self.terms.band.or(own).unwrap_or(Band::USUAL)
    }

    /// Returns what the traffic is to be made to look like while the user does this; `None` if nothing but the ratio is kept.
    fn target(&self, activity: Activity, now: Instant) -> Option<ProfileName> {
        let is_present = self.user.is_some_and(|user| now.saturating_duration_since(user) < LINGER);
        match (self.terms.mode, activity) {
            (MaskingMode::Profile(name), _) if is_present => Some(name),
            // A call becomes a video that is watched.
            (MaskingMode::Adaptive, Activity::Interactive) => Some(ProfileName::Video),
            (MaskingMode::Profile(_) | MaskingMode::Adaptive | MaskingMode::Off, _) => None,
        }
    }

    fn batching(&self) -> Batching {
        if self.terms.saves_battery { Batching::Second } else { Batching::None }
    }

    /// Returns when the next look is: about so long after `now`, never like clockwork. Who saves battery waits rather longer.
    fn next_look(&mut self, about: Duration, now: Instant) -> Instant {
        let part = f64::from(self.rng.next_u32()) / f64::from(u32::MAX);
        now + about.mul_f64(if self.terms.saves_battery { 1.0 + part } else { 0.5 + part })
    }

    fn step_length(&self) -> Duration {
        if self.terms.saves_battery { LONG_STEP } else { STEP }
    }

    /// Looks at what has passed, and decides what is asked for until the next look.
    fn step(&mut self, now: Instant) {
        self.tell_budgets(now);
        let activity = self.classifier.look(&mut self.monitor, now);
        self.monitor.pass(now);
        let recent = self.monitor.recent();
        let (up, down) = self.by_direction(recent.sent, recent.received);
        let band = self.band();
        self.follow(self.target(activity, now), now);
        // What the ends say to each other alone is nothing to make up for: they would never fall silent.
        let is_absent = recent.sent.user_packets + recent.received.user_packets == 0;
        let newest = self.monitor.window(NEWEST);
        let looked_at = [(up, down), self.by_direction(newest.sent, newest.received)];
        let lacks = looked_at.map(|(up, down)| self.lacks(band, up, down)).into_iter().fold(0.0, f64::max);
        // Once it sets in it goes on until the ratio is where it is to be brought.
        let is_out = looked_at.into_iter().any(|(up, down)| self.is_out(band, up, down));
        self.is_lacking = lacks > 0.0 && (self.is_lacking || is_out);
        let lacks = if self.is_lacking && !is_absent { lacks } else { 0.0 };
        let of_ratio = lacks / PAY.as_secs_f64();
        let of_target = self.missing(band, up, down);
        let wanted = of_ratio.max(of_target).min(self.link());
        self.purpose = if of_ratio >= of_target { Purpose::Ratio } else { Purpose::Cover };
        self.pace.ask(wanted, self.batching(), now);
        self.note_visible(activity, band, up, down);
        (self.since_step, self.is_soon) = (0, false);
        self.next_step = if !is_absent || wanted > 0.0 {
            let latest = self.monitor.latest();
            let is_little = wanted == 0.0 && latest.sent.bytes + latest.received.bytes < LITTLE;
            Some(self.next_look(if is_little { LONG_STEP } else { self.step_length() }, now))
        } else if activity != Activity::Idle || self.walk.is_some() {
            // Until it is clear that he does nothing.
            Some(self.next_look(LONG_STEP, now))
        } else {
            None
        };
        self.plan_background(is_absent, activity, now);
    }

    /// Returns the bytes that this end's direction lacks until the ratio of what went up and came down is where it is to be brought: less than
    /// a datagram is one.
    fn lacks(&self, band: Band, up: Flow, down: Flow) -> f64 {
        let (up, down) = (up.bytes as f64, down.bytes as f64);
        let lacks = match self.role {
            Role::Relay => up / (AIM_BELOW * band.high()) - down,
            Role::Client if up + down < SEEN as f64 => 0.0,
            Role::Client => AIM_ABOVE * band.low() * down - up,
        };
        if lacks > 0.0 { lacks.max(self.pace.size() as f64) } else { 0.0 }
    }

    /// Tells whether the ratio is so near to the end of its band, or beyond, that padding sets in.
    fn is_out(&self, band: Band, up: Flow, down: Flow) -> bool {
        let (up, down) = (up.bytes as f64, down.bytes as f64);
        match self.role {
            Role::Relay => up > TOO_NEAR_BELOW * band.high() * down,
            Role::Client => up < TOO_NEAR_ABOVE * band.low() * down,
        }
    }

    /// Returns what went up, and what came down.
    fn by_direction<T>(&self, sent: T, received: T) -> (T, T) {
        if self.role == Role::Client { (sent, received) } else { (received, sent) }
    }

    /// Goes on towards a target.
    fn follow(&mut self, name: Option<ProfileName>, now: Instant) {
        if self.walk.as_ref().map(|target| target.name) != name {
            let mut seed = [0; 32];
            self.rng.fill_bytes(&mut seed);
            self.walk = name.map(|name| Target {
                name,
                walk: Walk::new(name.profile(), ChaCha20Rng::from_seed(seed)),
                began: now,
                rates: Rates::default(),
            });
        }
        if let Some(target) = &mut self.walk {
            target.rates = target.walk.at(now.saturating_duration_since(target.began));
        }
    }

    /// Returns the bytes a second that the target has in this end's direction beyond what passes.
    fn missing(&self, band: Band, up: Flow, down: Flow) -> f64 {
        let Some(target) = &self.walk else { return 0.0 };
        let passes = self.passes();
        match self.role {
            Role::Relay => (target.rates.download as f64 - passes).max(0.0),
            // Never so much that the ratio leaves its band.
            Role::Client if (up.bytes as f64) < MACHINES_BELOW * band.high() * down.bytes as f64 => {
                (target.rates.upload as f64 - passes).max(0.0)
            }
            Role::Client => 0.0,
        }
    }

    /// Returns the bytes a second that the link carries beside the user's, as far as it was seen.
    fn link(&self) -> f64 {
        let (fastest, passes) = (self.masking.fastest() as f64, self.passes());
        // What a call or an upload has is no measure of the link.
        let is_measure = !matches!(self.classifier.activity(), Activity::Interactive | Activity::Upload);
        if is_measure && passes > FULL * fastest {
            // He has it for himself: what is missing can come when he is done.
            return BESIDE_FULL * passes;
        }
        // Who says what a second may have knows the link.
        let said = self.masking.most_a_second().map(|most| JUST_BELOW * most as f64);
        said.unwrap_or_else(|| (LINK * fastest).max(LEAST_LINK))
    }

    /// Returns the bytes a second in this end's direction of late that are no padding.
    fn passes(&self) -> f64 {
        let latest = self.monitor.latest().sent;
        latest.bytes.saturating_sub(latest.padding_bytes) as f64 / (2.0 * STEP.as_secs_f64())
    }

    fn note_visible(&mut self, activity: Activity, band: Band, up: Flow, down: Flow) {
        let is_seen = up.bytes + down.bytes >= SEEN;
        let is_out = !ratio(up, down).is_some_and(|ratio| band.contains(ratio));
        let is_short = self.walk.is_some() && self.shortfall != Shortfall::None;
        self.is_visible = self.is_on() && activity != Activity::Idle && (is_seen && is_out || is_short);
        if !self.is_visible {
            self.shortfall = Shortfall::None;
        }
    }

    /// Plans the next burst in the background, where the user does nothing but did so lately.
    fn plan_background(&mut self, is_absent: bool, activity: Activity, now: Instant) {
        let is_late = self.user.is_none_or(|user| now.saturating_duration_since(user) > BACKGROUND_TIME);
        if self.role != Role::Relay || self.terms.saves_battery || !self.is_on() || is_late {
            self.background = None;
        } else if is_absent && activity == Activity::Idle && self.background.is_none() {
            self.background = Some(now + Duration::from_millis(self.drawn(BACKGROUND_PAUSES)));
        }
    }

    fn drawn(&mut self, (least, most): (u64, u64)) -> u64 {
        least + self.rng.next_u64() % (most - least + 1)
    }

    /// Returns how far it got.
    pub fn status(&self, now: Instant) -> MaskingStatus {
        let recent = self.monitor.recent();
        let (up, down) = self.by_direction(recent.sent, recent.received);
        let a_second = |flow: Flow| flow.bytes / RECENT.as_secs();
        let target = self.walk.as_ref();
        MaskingStatus {
            mode: self.terms.mode,
            is_mutual: self.is_mutual,
            activity: self.classifier.activity(),
            target: target.map(|target| target.name),
            band: self.band(),
            ratio: ratio(up, down)
                .filter(|_| up.bytes + down.bytes >= SEEN)
                .map(|ratio| (ratio * f64::from(WHOLE)).min(f64::from(u32::MAX)) as u32),
            rates: [a_second(up), a_second(down)],
            target_rates: target.map_or([0; 2], |target| [target.rates.upload, target.rates.download]),
            is_visible: self.is_visible,
            shortfall: self.shortfall,
            spent: self.masking.spent_in_a_day(now),
            allowed: self.masking.allowance().per_day,
        }
    }
}

/// Returns outer bytes up over outer bytes down; `None` if nothing came down.
fn ratio(up: Flow, down: Flow) -> Option<f64> {
    (down.bytes > 0).then(|| up.bytes as f64 / down.bytes as f64)
}

impl Controller for Masking {
    fn name(&self) -> &'static str {
        "masking"
    }

    fn observe(&mut self, traffic: &Traffic) {
        if traffic.layer != Layer::Datagram {
            return;
        }
        let is_sent = match traffic.direction {
            Direction::Sent => true,
            Direction::Received => false,
            Direction::Dropped(_) => return,
        };
        self.monitor.observe(traffic);
        let (user, bytes) = (traffic.normal_bytes as u64, self.outer(traffic.bytes));
        if traffic.at.saturating_duration_since(self.told) >= STEP {
            self.tell_budgets(traffic.at);
        }
        self.untold.user += user;
        if traffic.kind != Kind::Padding {
            self.untold.all += bytes;
        }
        // Padding that leaves was counted when it was asked for.
        if !(is_sent && traffic.kind == Kind::Padding) {
            self.untold.other += bytes.saturating_sub(user);
        }
        if !self.is_on() {
            return;
        }
        if traffic.packets > 0 {
            self.user = Some(traffic.at);
        }
        // Padding pays for nothing: it would ask for itself.
        if traffic.kind == Kind::Normal && !is_sent {
            self.paid = (self.paid + bytes.cast_signed()).min(2 * self.price());
        } else if traffic.kind == Kind::Normal {
            self.paid = (self.paid - self.price()).max(-2 * self.price());
            self.sent = Some(traffic.at);
        }
        self.since_step += bytes;
        let is_looked_for = self.next_step.is_some();
        if traffic.packets > 0 && !is_looked_for || is_looked_for && !self.is_soon && self.since_step >= LITTLE {
            if traffic.packets > 0 {
                self.background = None;
            }
            self.is_soon = self.since_step >= LITTLE;
            let length = if self.is_soon { self.step_length() } else { LONG_STEP };
            let at = self.next_look(length, traffic.at);
            self.next_step = Some(self.next_step.map_or(at, |before| before.min(at)));
        }
    }

    fn poll(&mut self, now: Instant) -> Option<Effect> {
        if self.background.is_some_and(|at| at <= now) {
            self.purpose = Purpose::Cover;
            let datagrams = self.drawn(BACKGROUND_DATAGRAMS);
            self.pace.burst(datagrams, now);
            self.background = None;
            self.plan_background(true, Activity::Idle, now);
        }
        if self.next_step.is_some_and(|at| at <= now) {
            self.step(now);
        }
        let asks = self.pace.take(self.batching(), now);
        asks.then_some(Effect::Pad { bypass: Bypass::No, replace: Replace::No })
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.next_step.into_iter().chain(self.pace.next_timeout()).chain(self.background).min()
    }
}

#[cfg(test)]
mod tests;

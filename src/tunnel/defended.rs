//! A tunnel with a defense: its gate, its padding, the one size of its packets, and the order of its events.
//!
//! Every transport data packet is a plaintext of exactly the MTU, sealed: the MTU and 32 bytes on the wire. Under
//! non-bypassable blocking nothing is sealed for the wire at all: packets wait as plaintext, and WireGuard's own messages
//! are made when the gate opens, or, where the peer's turn already made one (a handshake response), held as they are.

use std::time::Instant;

use super::bundle;
use super::departure::{Class, Departure};
use super::frame::{Frame, FrameKind, HEADER};
use super::queue::Item;
use super::sealed;
use super::timers::{REKEY_AFTER_TIME, Timer};
use super::{DATA_OVERHEAD, DatagramBatch, PADDING_MULTIPLE, Tunnel};
use crate::defense::{Bypass, Controller, Controllers, Effect, Engine, Gate, Plan};
use crate::negotiation::RenewError;
use crate::settings::{DefenseChange, DefenseSettings, DefenseStatistics, Limits, Role};
use crate::traffic::{Direction, Drop, Kind, Traffic};

/// Most timers of machines that fire in one call: the rest fire in the next, so that a runaway machine cannot hold its
/// caller.
const MAX_FIRINGS: usize = 512;

/// What a defended tunnel has, and another has not.
pub(super) struct Defended {
    /// What runs.
    settings: DefenseSettings,
    pub(super) controllers: Controllers,
    /// Where plaintexts get their one size; zeros but for the first `dirty` bytes.
    plaintext: Vec<u8>,
    dirty: usize,
    /// Whether packets of the user's have the one size; not at a relay whose client wants no defense.
    has_one_size: bool,
    /// Where bundles are put together.
    bundle: Vec<u8>,
    /// Handshake messages that were made while the gate was closed: the last of each kind.
    held: Vec<Vec<u8>>,
    pub(super) statistics: DefenseStatistics,
}

impl Defended {
    pub(super) fn observe(&mut self, traffic: &Traffic) {
        self.statistics.observe(traffic);
        self.controllers.observe(traffic);
    }

    /// Returns the size of a plaintext that carries `content` bytes, where the one size is `size`.
    fn size_of(&self, content: usize, size: usize) -> usize {
        if self.has_one_size { size } else { content.next_multiple_of(PADDING_MULTIPLE).min(size) }
    }

    /// Puts `content` into a plaintext of `size` bytes.
    fn fill(&mut self, content: &[u8], size: usize) -> &[u8] {
        self.plaintext.resize(size, 0);
        let content = &content[..content.len().min(size)];
        let dirty = self.dirty.min(size);
        if content.len() < dirty {
            self.plaintext[content.len()..dirty].fill(0);
        }
        self.plaintext[..content.len()].copy_from_slice(content);
        self.dirty = content.len();
        &self.plaintext
    }
}

impl Tunnel {
    /// Changes what defends the traffic from now on; the session, the endpoint and what waits stay. `role` is that of this end,
    /// where the change does not say it, and `seed` is random, known to nobody. Tells whether there was anything to do: where the
    /// same runs already, it goes on undisturbed.
    ///
    /// # Errors
    /// When what runs by agreement cannot be agreed on anew: see [`DefenseChange::Renew`]. Nothing happens then.
    pub fn set_defense(
        &mut self,
        change: DefenseChange,
        role: Role,
        seed: [u8; 32],
        now: Instant,
        out: &mut DatagramBatch,
    ) -> Result<bool, RenewError> {
        self.turn(now, out, |tunnel, out| {
            match change {
                DefenseChange::Off => tunnel.stop_defense(now, out),
                DefenseChange::On(mut settings) => {
                    settings.role.get_or_insert(role);
                    if tunnel.negotiated.is_none() && tunnel.defense() == Some(&settings) {
                        return Ok(false);
                    }
                    tunnel.start_defense(settings, seed, now);
                }
                DefenseChange::Ephemeral(mut settings) => {
                    let role = *settings.role.get_or_insert(role);
                    if tunnel.negotiation_status(now).is_some_and(|status| status.settings == settings) {
                        return Ok(false);
                    }
                    tunnel.start_ephemeral(settings, role, seed, now, out);
                }
                DefenseChange::Renew => tunnel.renew(now)?,
            }
            Ok(true)
        })
    }

    /// Returns what runs, as it was set or by agreement; `None` without a defense.
    pub fn defense(&self) -> Option<&DefenseSettings> {
        self.defended.as_ref().map(|defended| &defended.settings)
    }

    fn start_defense(&mut self, settings: DefenseSettings, seed: [u8; 32], now: Instant) {
        let limits = settings.limits;
        self.run_plan(settings, seed, now);
        self.negotiated = None;
        self.end_talk(now);
        self.noise.disclaim();
        self.note_protection();
        self.set_limits(&limits, now);
    }

    /// Runs this in the place of what runs.
    pub(super) fn run_plan(&mut self, settings: DefenseSettings, seed: [u8; 32], now: Instant) {
        let engine = Engine::new(&settings.plan, seed, now);
        let before = self.defended.take();
        let (controllers, held, statistics) = match before {
            Some(before) => (before.controllers.with_machines(engine, now), before.held, before.statistics),
            None => (Controllers::new(engine), Vec::new(), DefenseStatistics::default()),
        };
        self.defended = Some(Box::new(Defended {
            settings,
            controllers,
            plaintext: Vec::new(),
            dirty: 0,
            has_one_size: true,
            bundle: Vec::new(),
            held,
            statistics,
        }));
    }

    /// Sets the user's limits for the defense that runs and those that follow by agreement, from now on. They hold
    /// whatever machines ask for.
    pub(super) fn set_limits(&mut self, limits: &Limits, now: Instant) {
        self.padding.set_limits(limits);
        if let Some(defended) = &mut self.defended {
            let max_frac = limits.max_blocking_frac.map_or(0.0, |frac| frac.get());
            defended.controllers.engine_mut().limit_blocking(max_frac, now);
        }
    }

    /// Runs no machines, and gives packets their own sizes, until there is an agreement: the peer wants no defense.
    pub(super) fn stand_down(&mut self, now: Instant) {
        let Some(settings) = self.defense().cloned() else { return };
        self.run_plan(DefenseSettings { plan: Plan::default(), ..settings }, [0; 32], now);
        if let Some(defended) = &mut self.defended {
            defended.has_one_size = false;
        }
    }

    /// Ends the defense: what waited for the end of blocking leaves, and packets have their own sizes again.
    fn stop_defense(&mut self, now: Instant, out: &mut DatagramBatch) {
        let Some(defended) = &mut self.defended else { return };
        defended.controllers.open();
        self.queue.drop_padding();
        self.release_held(out);
        self.end_talk(now);
        self.negotiated = None;
        self.say_at_once(now, out);
        self.noise.disclaim();
        self.defended = None;
        self.open_gate(now, out);
        self.note_protection();
    }

    /// Tells whether a defense runs.
    pub fn is_defended(&self) -> bool {
        self.defended.is_some()
    }

    /// Returns the length of the largest packet that fits the one size: the smaller of both ends' MTU, as far as they told
    /// each other; `None` without a defense.
    pub fn one_size(&self) -> Option<usize> {
        self.defended.as_ref().filter(|defended| defended.has_one_size).map(|_| self.size())
    }

    /// Runs `plan` in the place of the machines that were agreed on: for tests.
    #[cfg(feature = "virtual-time")]
    pub fn run_machines(&mut self, plan: &Plan, seed: [u8; 32], now: Instant) {
        if let Some(settings) = self.defense().cloned() {
            self.run_plan(DefenseSettings { plan: plan.clone(), ..settings }, seed, now);
        }
    }

    /// Sends a padding packet as a machine that asks for one without flags does: for tests.
    #[cfg(feature = "virtual-time")]
    pub fn pad_once(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.turn(now, out, |tunnel, out| tunnel.pad(Bypass::No, crate::defense::Replace::No, now, out));
    }

    /// Tells whether non-bypassable blocking holds everything back.
    pub fn is_closed(&self) -> bool {
        self.gate() == Gate::Closed
    }

    /// Returns what the defense in force has counted by `now`; `None` if none runs.
    pub fn defense_statistics(&self, now: Instant) -> Option<DefenseStatistics> {
        let defended = self.defended.as_ref()?;
        let machines = defended.controllers.engine();
        let engine = machines.statistics(now);
        Some(DefenseStatistics {
            padding_actions: engine.padding_actions,
            blocking_actions: engine.blocking_actions,
            actions_capped: engine.actions_capped,
            blocked: engine.blocked,
            queue_high_water: self.queue.high_water() as u64,
            lateness_p50: machines.lateness(50),
            lateness_p99: machines.lateness(99),
            ..defended.statistics
        })
    }

    /// Begins a record of what the machines are told, or takes what was recorded since; empty without a defense. The
    /// record grows without a bound: for tests.
    #[cfg(feature = "virtual-time")]
    pub fn take_record(&mut self) -> Vec<(crate::defense::Event, Instant)> {
        self.defended.as_mut().map(|defended| defended.controllers.engine_mut().take_record()).unwrap_or_default()
    }

    /// Tells whether a full batch of packets would find room in the queue: while not, whoever can should read no more.
    pub fn has_room(&self) -> bool {
        self.queue.has_room_for(128)
    }

    /// Has another controller join the machines, until the defense is switched off: it goes on when other machines run. Returns
    /// `false`, with nothing done, while no defense runs: padding is told from packets by its size else.
    pub fn join(&mut self, controller: Box<dyn Controller>) -> bool {
        let Some(defended) = &mut self.defended else { return false };
        defended.controllers.join(controller);
        true
    }

    /// Returns how much padding was asked for by `now`, and by which controller: by machines since they were agreed on, by others
    /// since they joined.
    pub fn padding_by_cause(&self, now: Instant) -> Vec<(&'static str, u64)> {
        self.defended.as_ref().map(|defended| defended.controllers.padding(now).collect()).unwrap_or_default()
    }

    /// Returns what may leave at present.
    pub(super) fn gate(&self) -> Gate {
        self.defended.as_ref().map_or(Gate::Open, |defended| defended.controllers.gate())
    }

    /// Fires the timers of machines that are due, and does what they ask for.
    pub(super) fn run_defense(&mut self, now: Instant, out: &mut DatagramBatch) {
        for _ in 0..MAX_FIRINGS {
            if out.is_full() {
                return;
            }
            let Some(effect) = self.defended.as_mut().and_then(|defended| defended.controllers.poll(now)) else {
                return;
            };
            match effect {
                Effect::Pad { bypass, replace } => self.pad(bypass, replace, now, out),
                Effect::Unblocked => self.open_gate(now, out),
                // Blocking may have become bypassable.
                Effect::Nothing => self.release_held(out),
            }
        }
    }

    /// Sends what waited for the end of blocking.
    fn open_gate(&mut self, now: Instant, out: &mut DatagramBatch) {
        self.flush_queue(now, out);
        if !self.sessions.is_in_use() && !self.queue.is_empty() {
            self.begin_handshake(now, out);
        }
    }

    /// Tells whether handshake messages are held that may leave.
    pub(super) fn has_releasable(&self) -> bool {
        self.may_pass(Class::Handshake) && self.defended.as_ref().is_some_and(|defended| !defended.held.is_empty())
    }

    /// Lets out the handshake messages that were held, if they may leave.
    pub(super) fn release_held(&mut self, out: &mut DatagramBatch) {
        while self.has_releasable() && !out.is_full() {
            let Some(defended) = &mut self.defended else { return };
            let message = defended.held.remove(0);
            out.space()[..message.len()].copy_from_slice(&message);
            out.commit(message.len());
        }
    }

    /// Forgets the handshake messages that were held.
    pub(super) fn drop_held(&mut self) {
        if let Some(defended) = &mut self.defended {
            defended.held.clear();
        }
    }

    /// Takes the handshake message that was written to the batch's space: it leaves, or is held until the gate opens.
    pub(super) fn emit_handshake(&mut self, length: usize, out: &mut DatagramBatch) {
        let may_leave = self.may_pass(Class::Handshake);
        match &mut self.defended {
            Some(defended) if !may_leave => {
                let message = out.space()[..length].to_vec();
                // A peer takes the answer to its last call only, as we do.
                defended.held.retain(|held| held.first() != message.first());
                defended.held.push(message);
            }
            Some(_) | None => out.commit(length),
        }
    }

    /// Sends a keepalive that nothing tells from other packets, or lets it wait.
    pub(super) fn send_covert_keepalive(&mut self, now: Instant, out: &mut DatagramBatch) {
        match self.departure(Class::Keepalive, now) {
            Departure::Now => self.seal_keepalive(now, out),
            Departure::NotBefore(_) | Departure::Held | Departure::Never(_) => self.queue.push_keepalive(),
        }
    }

    /// Seals a keepalive: a frame of its own where the peer knows it, else padding, to which no answer is due either.
    fn seal_keepalive(&mut self, now: Instant, out: &mut DatagramBatch) {
        let kind = if self.has_alike_timers() { FrameKind::Keepalive } else { FrameKind::Padding };
        self.padding.note_other();
        self.seal_frame(&Frame::header(kind, self.size()), Kind::Keepalive, now, out);
    }

    /// Seals what waits at the front of the queue, and may leave in a slot of that kind: several small packets together where the peer takes that; `false` if
    /// nothing waits.
    pub(super) fn seal_next(&mut self, slot: Bypass, now: Instant, out: &mut DatagramBatch) -> bool {
        if self.departure_in(slot, Class::Bundle, now) == Departure::Now && self.seal_bundle(now, out) {
            return true;
        }
        let Some(item) = self.queue.pop() else { return false };
        self.seal_item(item, now, out);
        true
    }

    /// Seals small packets that wait as one; `false`, with nothing done, if there are not two.
    fn seal_bundle(&mut self, now: Instant, out: &mut DatagramBatch) -> bool {
        let size = self.size();
        let Some(defended) = &mut self.defended else { return false };
        let mut frame = std::mem::take(&mut defended.bundle);
        let packed = bundle::pack(&mut self.queue, size, &mut frame);
        if let Some(packets) = packed {
            self.seal_normal(&frame, frame.len() - HEADER, packets, now, out);
        }
        if let Some(defended) = &mut self.defended {
            defended.bundle = frame;
        }
        packed.is_some()
    }

    /// Seals what was taken from the queue.
    fn seal_item(&mut self, item: Item, now: Instant, out: &mut DatagramBatch) {
        match item {
            Item::Padding => self.seal_padding(now, out),
            Item::Keepalive => self.seal_keepalive(now, out),
            Item::Packet(mut packet) => {
                let length = packet.len();
                packet.resize(length + super::PADDING_MULTIPLE - 1, 0);
                self.seal(&mut packet, length, now, out);
            }
        }
    }

    /// Seals a packet at the one size. One that is larger was accepted under a larger MTU: it is dropped, for it would
    /// stand out.
    pub(super) fn seal_constant(&mut self, packet: &[u8], now: Instant, out: &mut DatagramBatch) {
        let size = self.size();
        if packet.len() > size {
            self.note_dropped(Drop::TooLarge, 1, now);
            return;
        }
        self.seal_normal(packet, packet.len(), 1, now, out);
    }

    /// Seals a plaintext with packets of the user's in it, `normal` bytes together, at the one size; where there is no session to
    /// seal it in, they are dropped.
    fn seal_normal(&mut self, content: &[u8], normal: usize, packets: usize, now: Instant, out: &mut DatagramBatch) {
        let size = self.size();
        let Some(defended) = &mut self.defended else { return };
        let size = defended.size_of(content.len(), size);
        let plaintext = defended.fill(content, size);
        let Some(length) = self.noise.seal(plaintext, out.space()) else {
            self.note_dropped(Drop::NoSession, packets, now);
            return;
        };
        sealed::trace(content, out.space());
        out.commit(length);
        self.padding.note_normal();
        self.sent(Traffic::datagram(Kind::Normal, Direction::Sent, length, now).carrying(packets, normal));
        self.note_traffic(now);
        self.rekey_if_older(REKEY_AFTER_TIME, now, out);
    }

    pub(super) fn seal_padding(&mut self, now: Instant, out: &mut DatagramBatch) {
        if self.silence(now).is_some() {
            self.drop_padding(Drop::Silent, now);
            return;
        }
        if !self.padding.leaves(self.size() + DATA_OVERHEAD, self.remote(), now) {
            self.drop_padding(Drop::Unproven, now);
            return;
        }
        self.seal_frame(&Frame::header(FrameKind::Padding, self.size()), Kind::Padding, now, out);
        self.note_traffic(now);
    }

    /// Seals a control frame in the newest session; it counts as padding. One that the MTU has no room for is dropped.
    pub(super) fn seal_control(&mut self, body: &[u8], now: Instant, out: &mut DatagramBatch) {
        let size = self.path.size_to_agree_in(self.full_size());
        let frame = [&Frame::header(FrameKind::Control, size), body].concat();
        if frame.len() <= size {
            self.padding.note_other();
            self.note_control_sent();
            self.seal_frame_of(size, &frame, Kind::Control, now, out);
        }
    }

    /// Seals a frame that carries nothing of the user's.
    fn seal_frame(&mut self, frame: &[u8], kind: Kind, now: Instant, out: &mut DatagramBatch) {
        self.seal_frame_of(self.size(), frame, kind, now, out);
    }

    /// Seals such a frame at a size of its own: where that is not the one size, it leaves whole or not at all.
    pub(super) fn seal_frame_of(
        &mut self,
        size: usize,
        frame: &[u8],
        kind: Kind,
        now: Instant,
        out: &mut DatagramBatch,
    ) {
        if !self.sessions.is_in_use() || out.is_full() {
            self.drop_padding(Drop::NoSession, now);
            return;
        }
        let mut bare = Vec::new();
        let plaintext = match &mut self.defended {
            Some(defended) => defended.fill(frame, size),
            // What is said of a defense that is over.
            None => {
                bare.extend_from_slice(frame);
                bare.resize(size, 0);
                &bare
            }
        };
        let sealed = match kind {
            Kind::Control => self.noise.seal_in_newest(plaintext, out.space()),
            Kind::Normal | Kind::Padding | Kind::Keepalive | Kind::Handshake | Kind::Unknown => {
                self.noise.seal(plaintext, out.space())
            }
        };
        let Some(length) = sealed else {
            self.drop_padding(Drop::NoSession, now);
            return;
        };
        sealed::trace(frame, out.space());
        match Frame::kind_of(frame) {
            Some(FrameKind::Path) => out.commit_whole(length),
            _ => out.commit(length),
        }
        self.sent(Traffic::datagram(kind, Direction::Sent, length, now));
        if kind != Kind::Keepalive || !self.has_alike_timers() {
            self.rekey_if_older(REKEY_AFTER_TIME, now, out);
        }
    }

    /// Takes a packet while a defense runs.
    pub(super) fn send_defended(&mut self, buffer: &mut [u8], length: usize, now: Instant, out: &mut DatagramBatch) {
        if length > self.size() {
            self.note_dropped(Drop::TooLarge, 1, now);
            return;
        }
        let departure = self.departure(Class::User, now);
        if matches!(departure, Departure::Never(_)) {
            self.note_dropped(Drop::Unprotected, 1, now);
            if !self.sessions.is_in_use() {
                self.begin_handshake(now, out);
            }
            return;
        }
        let may_bundle = !matches!(self.departure(Class::Bundle, now), Departure::Never(_));
        // Two of these fit: it may share a datagram with what the owner gives next, or else leaves when it flushes.
        let is_small = may_bundle && length <= self.size().saturating_sub(HEADER) / 2;
        if may_bundle && !is_small {
            self.flush_queue(now, out);
        }
        let passes = departure == Departure::Now && self.queue.is_empty() && out.has_room() && !is_small;
        if passes {
            self.note(&Traffic::packets(Direction::Sent, 1, length, now));
            self.seal_constant(&buffer[..length], now, out);
        } else if self.queue.push(&buffer[..length], now).is_err() {
            self.note_dropped(Drop::QueueFull, 1, now);
        } else {
            self.bound_wait();
            self.note(&Traffic::packets(Direction::Sent, 1, length, now));
        }
        // Machines that block at a packet hold the handshake that it asks for.
        self.run_defense(now, out);
        if !self.sessions.is_in_use() {
            self.begin_handshake(now, out);
        }
    }

    /// Counts a bundle that brought so many packets.
    pub(super) fn note_bundle(&mut self, packets: usize) {
        if let Some(defended) = &mut self.defended {
            defended.statistics.bundles_received += 1;
            defended.statistics.bundled_received_packets += packets as u64;
        }
    }

    /// Puts off what WireGuard asks for until the gate opens; `true` if it is closed.
    pub(super) fn put_off(&mut self, timer: Timer, now: Instant) -> bool {
        let is_held = !self.may_pass(Class::Handshake);
        if is_held {
            self.timers.set(timer, now);
        }
        is_held
    }
}

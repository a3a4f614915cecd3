//! A tunnel with a defense: its gate, its padding, the one size of its packets, and the order of its events.
//!
//! Every transport data packet is a plaintext of exactly the MTU, sealed: the MTU and 32 bytes on the wire. Under
//! non-bypassable blocking nothing is sealed for the wire at all: packets wait as plaintext, and WireGuard's own messages
//! are made when the gate opens, or, where the peer's turn already made one (a handshake response), held as they are.

use std::time::Instant;

use super::batch::MAX_DATAGRAMS;
use super::controllers::Controllers;
#[cfg(feature = "virtual-time")]
use super::controllers::Origin;
use super::departure::Class;
use super::gathering::Gathering;
use super::padding_actions::Asked;
use super::timers::Timer;
use super::{DatagramBatch, PADDING_MULTIPLE, Tunnel};
use crate::defense::{Controller, Effect, Engine, Gate, Plan};
use crate::masking::Masking;
use crate::negotiation::RenewError;
use crate::settings::{DefenseChange, DefenseSettings, DefenseStatistics, Limits, MaskingSettings, Role};
use crate::traffic::Traffic;

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
    /// Whether a slot of bypassable blocking was given in which nothing could leave.
    pub(super) is_slot_owed: bool,
    /// Where bundles are put together.
    pub(super) bundle: Vec<u8>,
    /// Handshake messages that were made while the gate was closed: the last of each kind.
    held: Vec<Vec<u8>>,
    /// Small packets that wait for others.
    pub(super) gathering: Gathering,
    pub(super) statistics: DefenseStatistics,
}

impl Defended {
    pub(super) fn observe(&mut self, traffic: &Traffic) {
        self.statistics.observe(traffic);
        self.controllers.observe(traffic);
    }

    /// Takes other settings for how the traffic is masked, and returns those before.
    pub(super) fn set_masking(&mut self, masking: MaskingSettings) -> MaskingSettings {
        std::mem::replace(&mut self.settings.masking, masking)
    }

    /// Tells whether small packets may wait for others.
    pub(super) fn gathers(&self) -> bool {
        self.controllers.masking().is_some_and(Masking::gathers)
    }

    /// Returns the size of a plaintext that carries `content` bytes, where the one size is `size`.
    pub(super) fn size_of(&self, content: usize, size: usize) -> usize {
        if self.has_one_size { size } else { content.next_multiple_of(PADDING_MULTIPLE).min(size) }
    }

    /// Puts `content` into a plaintext of `size` bytes.
    pub(super) fn fill(&mut self, content: &[u8], size: usize) -> &[u8] {
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
                    let running = tunnel.defense().filter(|_| tunnel.negotiated.is_none());
                    if running == Some(&settings) {
                        return Ok(false);
                    }
                    if running.is_some_and(|running| running.is_but_for_masking(&settings)) {
                        tunnel.set_masking(settings.masking, now);
                        return Ok(true);
                    }
                    tunnel.start_defense(settings, seed, now);
                }
                DefenseChange::Ephemeral(mut settings) => {
                    let role = *settings.role.get_or_insert(role);
                    if tunnel.negotiation_status(now).is_some_and(|status| status.settings == settings) {
                        return Ok(false);
                    }
                    if tunnel.mask_by_agreement(&settings, now) {
                        return Ok(true);
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
        self.renew_masking(now);
    }

    /// Runs this in the place of what runs.
    pub(super) fn run_plan(&mut self, settings: DefenseSettings, seed: [u8; 32], now: Instant) {
        let engine = Engine::new(&settings.plan, seed, now);
        let before = self.defended.take();
        let (controllers, held, gathering, statistics) = match before {
            Some(before) => {
                (before.controllers.with_machines(engine, now), before.held, before.gathering, before.statistics)
            }
            None => (Controllers::new(engine), Vec::new(), Gathering::default(), DefenseStatistics::default()),
        };
        self.defended = Some(Box::new(Defended {
            settings,
            controllers,
            plaintext: Vec::new(),
            dirty: 0,
            has_one_size: true,
            is_slot_owed: false,
            bundle: Vec::new(),
            held,
            gathering,
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
        self.kept_masking = defended.controllers.take_masking();
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
        self.turn(now, out, |tunnel, out| {
            let (bypass, replace) = (crate::defense::Bypass::No, crate::defense::Replace::No);
            tunnel.pad(Asked { origin: Origin::Machines, bypass, replace }, now, out);
        });
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
        self.queue.has_room_for(MAX_DATAGRAMS)
    }

    /// Has another controller join the machines, until the defense is switched off: it goes on when other machines run. Returns
    /// `false`, with nothing done, while no defense runs, or the peer wants none: padding is told from packets by its size else.
    pub fn join(&mut self, controller: Box<dyn Controller>) -> bool {
        let Some(defended) = self.defended.as_mut().filter(|defended| defended.has_one_size) else { return false };
        defended.controllers.join(controller);
        true
    }

    /// Returns how much padding was asked for by `now`, and by which controller: by machines since the defense was switched on, by
    /// others since they joined.
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
            let Some((origin, effect)) = self.defended.as_mut().and_then(|defended| defended.controllers.poll(now))
            else {
                return;
            };
            match effect {
                Effect::Pad { bypass, replace } => self.pad(Asked { origin, bypass, replace }, now, out),
                Effect::Unblocked => self.open_gate(now, out),
                // Blocking may have become bypassable.
                Effect::Nothing => self.release_held(out),
            }
        }
    }

    /// Sends what waited for the end of blocking.
    fn open_gate(&mut self, now: Instant, out: &mut DatagramBatch) {
        if let Some(defended) = &mut self.defended {
            defended.is_slot_owed = false;
        }
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
        let Some(defended) = &mut self.defended else { return };
        let forgotten = defended.held.drain(..).map(|message| message.len() as u64).sum();
        self.unsent(forgotten);
    }

    /// Takes the handshake message that was written to the batch's space: it leaves, or is held until the gate opens.
    pub(super) fn emit_handshake(&mut self, length: usize, out: &mut DatagramBatch) {
        let may_leave = self.may_pass(Class::Handshake);
        match &mut self.defended {
            Some(defended) if !may_leave => {
                let message = out.space()[..length].to_vec();
                // A peer takes the answer to its last call only, as we do.
                let replaced = defended.held.extract_if(.., |held| held.first() == message.first());
                let forgotten = replaced.map(|held| held.len() as u64).sum();
                defended.held.push(message);
                self.unsent(forgotten);
            }
            Some(_) | None => out.commit(length),
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

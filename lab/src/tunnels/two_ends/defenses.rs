//! What two ends are told about their defenses.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use maybetun::defense::Plan;
use maybetun::negotiation::RenewError;
use maybetun::settings::{DefenseChange, DefenseSettings, EphemeralSettings, Limits, MaskingSettings, Role};
use maybetun::tunnel::{DatagramBatch, Tunnel};

use super::TwoEnds;

const ONLY_RENEWALS: &str = "only a renewal is refused";

/// Has a tunnel agree anew.
///
/// # Errors
/// Why it does not.
pub fn renew(tunnel: &mut Tunnel, now: Instant, out: &mut DatagramBatch) -> Result<bool, RenewError> {
    tunnel.set_defense(DefenseChange::Renew, Role::Client, [0; 32], now, out)
}

impl TwoEnds {
    /// Has a side agree on a defense: side 0 as the client, side 1 as the relay. Tells whether it had not before.
    pub fn agree(&mut self, side: usize, settings: &EphemeralSettings) -> bool {
        // Numbers that no other network has.
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        self.agree_by(side, settings, SERIAL.fetch_add(1, Ordering::Relaxed))
    }

    /// Does the same with delays that are drawn from `serial`: two networks with the same have the same.
    ///
    /// # Panics
    /// Panics if there is no such side.
    pub fn agree_by(&mut self, side: usize, settings: &EphemeralSettings, serial: u64) -> bool {
        let role = [Role::Client, Role::Relay][side];
        let mut seed = [side as u8; 32];
        seed[8..16].copy_from_slice(&serial.to_le_bytes());
        let change = DefenseChange::Ephemeral(settings.clone());
        self.act(side, |tunnel, now, out| tunnel.set_defense(change, role, seed, now, out).expect(ONLY_RENEWALS))
    }

    /// Has a side run a plan of its own, whose machines draw from `seed`; what waits is not flushed.
    pub fn start(&mut self, side: usize, plan: &Plan, seed: [u8; 32]) {
        self.start_within(&Limits::default(), side, plan, seed);
    }

    /// Does the same within the user's limits.
    pub fn start_within(&mut self, limits: &Limits, side: usize, plan: &Plan, seed: [u8; 32]) {
        let (limits, masking) = (*limits, MaskingSettings::default());
        let settings = DefenseSettings { name: "plan".to_owned(), role: None, plan: plan.clone(), limits, masking };
        let change = DefenseChange::On(settings);
        self.act_once(side, |tunnel, now, out| {
            tunnel.set_defense(change, Role::Client, seed, now, out).expect(ONLY_RENEWALS)
        });
    }

    /// Has a side run a plan of its own.
    pub fn defend(&mut self, side: usize, plan: &Plan) {
        self.start(side, plan, [side as u8; 32]);
        self.flush(side);
    }

    /// Has a side agree on another defense now, if it can.
    pub fn renew(&mut self, side: usize) {
        let _ = self.act(side, renew);
    }

    /// Ends the defense of a side.
    pub fn stop_defense(&mut self, side: usize) {
        self.too_large[side] = self.too_large(side);
        self.act(side, |tunnel, now, out| {
            tunnel.set_defense(DefenseChange::Off, Role::Client, [0; 32], now, out).expect(ONLY_RENEWALS)
        });
    }
}

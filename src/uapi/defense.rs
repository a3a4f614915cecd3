//! The defense of a peer on the configuration socket: gotatun's `daita_*` keys, and ours for what they do not carry.
//!
//! | key | in a set | in the response to a get |
//! |---|---|---|
//! | `daita_enable` | `1` runs a defense, described by the keys that follow in the peer's block; `0` runs none | `1` while one runs, else left out |
//! | `daita_machine` | a machine in Maybenot's text form; one line each | the same |
//! | `daita_max_decoy_frac` | the defense's own limit on padding, 0 (no limit, the default) to 1 | the same |
//! | `daita_max_delay_frac` | the defense's own limit on blocking, 0 (no limit, the default) to 1 | the same |
//! | `daita_max_delayed_packets` | a number above 0; taken, without effect | how many packets wait at most |
//! | `daita_min_delay_capacity` | a number; taken, without effect | 0 |
//! | `maybetun_defense` | the name that is shown; `daita` by default | the same |
//! | `maybetun_defense_max_actions_per_second` | 1 to 1000000 | the same |
//!
//! The user's limits and which end we are are [settings](DefenseOptions::SETTINGS) with keys of their own; they are left out
//! of a response if they are not set.
//!
//! The two without effect are about when to end blocking early because much waits. Here nothing ends it early: what finds
//! the queue full waits in front of it, or is dropped and counted.

use maybetun_machines::{MAX_ACTIONS_PER_SECOND, MAX_MACHINES, MAX_STATES_A_SIDE, machine};

use crate::defense::{Machine, Plan};
use crate::secret::SecretBuffer;
use crate::settings::{
    DefenseChange, DefenseOptions, DefenseSettings, DefenseStatistics, DefenseStatus, Fraction, Limits,
    MaskingSettings, Setting, Spelling, is_defense_name,
};
use crate::text;
use crate::tunnel::MAX_QUEUED_PACKETS;

use super::counters;
use super::ephemeral;
use super::keys::{Key, keys};

/// The name of a defense that was given none.
const UNNAMED: &str = "daita";

/// Most memory that the machines of one request may take, in [units](weight): some 256 MiB. Compressed, a large machine
/// is a short line.
pub(super) const MAX_WEIGHT: usize = 1 << 24;

keys! {
    /// The keys of a defense.
    DefenseKey {
    Enable "daita_enable",
    Machine "daita_machine",
    MaxDecoyFrac "daita_max_decoy_frac",
    MaxDelayFrac "daita_max_delay_frac",
    MaxDelayedPackets "daita_max_delayed_packets",
    MinDelayCapacity "daita_min_delay_capacity",
    Name "maybetun_defense",
    MaxActions "maybetun_defense_max_actions_per_second",
    }
}

/// Returns the defense that `daita_enable=1` alone asks for: no machines, so constant size only.
fn enabled() -> DefenseSettings {
    let (limits, masking) = (Limits::default(), MaskingSettings::default());
    DefenseSettings { name: UNNAMED.to_owned(), role: None, plan: Plan::default(), limits, masking }
}

/// Takes a line of a request into the change of a peer's defense. `weight` is the room that is left for machines.
///
/// # Errors
/// What the key takes instead.
pub(super) fn set(
    change: &mut Option<DefenseChange>,
    key: Key<DefenseKey>,
    value: &str,
    weight: &mut usize,
) -> Result<(), &'static str> {
    if let Key::Own(DefenseKey::Enable, _) = key {
        *change = Some(if is_enabled(value)? { DefenseChange::On(enabled()) } else { DefenseChange::Off });
        return Ok(());
    }
    let Some(DefenseChange::On(settings)) = change else { return Err("daita_enable=1 before it") };
    let before = settings.plan.machines().len();
    take(settings, key, value)?;
    let added = settings.plan.machines()[before..].iter().map(self::weight).sum();
    *weight = weight.checked_sub(added).ok_or("fewer or smaller machines in one request")?;
    Ok(())
}

/// Takes a line of a response into the defense of a peer; `None` if the key cannot have the value, or cannot stand here.
pub(super) fn read(status: &mut Option<DefenseStatus>, key: Key<DefenseKey>, value: &str) -> Option<()> {
    if let Key::Own(DefenseKey::Enable, _) = key {
        let on = || DefenseStatus { settings: enabled(), statistics: DefenseStatistics::default() };
        *status = is_enabled(value).ok()?.then(on);
        return Some(());
    }
    take(&mut status.as_mut()?.settings, key, value).ok()
}

/// Writes the lines of a set that run this defense, or none.
pub(super) fn format_change(text: &mut SecretBuffer, change: &DefenseChange) {
    match change {
        DefenseChange::Off => text.line(DefenseKey::Enable.name(), "=", 0),
        DefenseChange::On(settings) => format_settings(text, settings),
        DefenseChange::Ephemeral(settings) => ephemeral::format_settings(text, settings),
        DefenseChange::Renew => ephemeral::format_renewal(text),
    }
}

/// Writes the lines of a response that tell of this defense.
pub(super) fn format_status(text: &mut SecretBuffer, status: &DefenseStatus) {
    format_settings(text, &status.settings);
    text.line(DefenseKey::MaxDelayedPackets.name(), "=", MAX_QUEUED_PACKETS);
    text.line(DefenseKey::MinDelayCapacity.name(), "=", 0);
    counters::format(text, &status.statistics);
}

fn format_settings(text: &mut SecretBuffer, settings: &DefenseSettings) {
    let mut line = |key: DefenseKey, value: &dyn std::fmt::Display| text.line(key.name(), "=", value);
    let plan = &settings.plan;
    line(DefenseKey::Enable, &1);
    for machine in plan.machines().iter() {
        line(DefenseKey::Machine, &machine.serialize());
    }
    line(DefenseKey::MaxDecoyFrac, &plan.max_padding_frac());
    line(DefenseKey::MaxDelayFrac, &plan.max_blocking_frac());
    line(DefenseKey::Name, &settings.name);
    line(DefenseKey::MaxActions, &plan.max_actions_per_second());
    let options = settings.options();
    for setting in DefenseOptions::SETTINGS {
        if let (Some(key), Some(value)) = (setting.named_key, setting.get(&options)) {
            text.line(key, "=", value.spell(Spelling::Socket));
        }
    }
}

/// Takes the value of a setting that has a key of its own here.
fn set_option(settings: &mut DefenseSettings, setting: &Setting, value: &str) -> Result<(), &'static str> {
    let mut options = settings.options();
    setting.set(&mut options, value, Spelling::Socket)?;
    (settings.role, settings.limits, settings.masking) = (options.role, options.limits(), options.masking());
    Ok(())
}

/// Finds a key of a defense.
pub(super) fn key(name: &str) -> Option<Key<DefenseKey>> {
    Key::find(DefenseKey::from_name(name).map(|key| (key, key.name())), name, |setting| setting.named_key)
}

fn fraction(value: &str) -> Result<Fraction, &'static str> {
    value.parse().map_err(|_| "a number from 0 to 1")
}

fn is_enabled(value: &str) -> Result<bool, &'static str> {
    match value {
        "1" => Ok(true),
        "0" => Ok(false),
        _ => Err("0 or 1"),
    }
}

/// Takes a line other than `daita_enable`.
fn take(settings: &mut DefenseSettings, key: Key<DefenseKey>, value: &str) -> Result<(), &'static str> {
    match key {
        Key::Own(key, _) => set_own(settings, key, value),
        Key::Setting(setting, _) => set_option(settings, setting, value),
    }
}

fn set_own(settings: &mut DefenseSettings, key: DefenseKey, value: &str) -> Result<(), &'static str> {
    let plan = &mut settings.plan;
    match key {
        DefenseKey::Enable => {}
        DefenseKey::Machine => add_machine(plan, value)?,
        DefenseKey::MaxDecoyFrac => {
            *plan = limited(plan, fraction(value)?.get(), plan.max_blocking_frac())?;
        }
        DefenseKey::MaxDelayFrac => {
            *plan = limited(plan, plan.max_padding_frac(), fraction(value)?.get())?;
        }
        DefenseKey::MaxDelayedPackets => {
            text::decimal(value).filter(|&packets: &u64| packets != 0).ok_or("a number of packets, at least 1")?;
        }
        DefenseKey::MinDelayCapacity => {
            text::decimal::<u64>(value).ok_or("a number of packets")?;
        }
        DefenseKey::Name => {
            if !is_defense_name(value) {
                return Err("1 to 64 of a-z, 0-9 and -, and not off");
            }
            value.clone_into(&mut settings.name);
        }
        DefenseKey::MaxActions => {
            let actions = text::decimal(value).filter(|actions| (1..=MAX_ACTIONS_PER_SECOND as u32).contains(actions));
            *plan = plan.clone().capped(actions.ok_or("a number, 1 to 1000000")?);
        }
    }
    Ok(())
}

fn add_machine(plan: &mut Plan, value: &str) -> Result<(), &'static str> {
    if plan.machines().len() == MAX_MACHINES {
        return Err("at most 16 machines");
    }
    let invalid = "a valid Maybenot machine of version 02";
    let machine = machine::parse(value).map_err(|_| invalid)?;
    let states = plan.machines().iter().map(|machine| machine.states.len()).sum::<usize>() + machine.states.len();
    if states > MAX_STATES_A_SIDE {
        return Err("machines of at most 4096 states together");
    }
    let with = Plan::new(plan.machines().iter().cloned().chain([machine]).collect::<Vec<_>>()).map_err(|_| invalid)?;
    *plan = limited(&with.capped(plan.max_actions_per_second()), plan.max_padding_frac(), plan.max_blocking_frac())?;
    Ok(())
}

fn limited(plan: &Plan, max_padding_frac: f64, max_blocking_frac: f64) -> Result<Plan, &'static str> {
    plan.clone().limited(max_padding_frac, max_blocking_frac).map_err(|_| "a number from 0 to 1")
}

/// Returns how much memory a machine takes, in units of some 16 bytes: that of a transition. A state takes 40.
fn weight(machine: &Machine) -> usize {
    let transitions =
        |state: &maybenot::state::State| state.get_transitions().into_iter().map(|(_, of)| of.len()).sum::<usize>();
    machine.states.iter().map(|state| 40 + transitions(state)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Fraction, Role};

    const NO_OP: &str = "02eNpjYEAHjOgCAAA0AAI=";

    fn read_lines(lines: &[&str]) -> Result<Option<DefenseChange>, (String, &'static str)> {
        let (mut change, mut weight) = (None, MAX_WEIGHT);
        for line in lines {
            let (name, value) = line.split_once('=').unwrap();
            let key = key(name).unwrap();
            set(&mut change, key, value, &mut weight).map_err(|expected| ((*line).to_owned(), expected))?;
        }
        Ok(change)
    }

    fn on(lines: &[&str]) -> DefenseSettings {
        let Some(DefenseChange::On(settings)) = read_lines(&[&["daita_enable=1"], lines].concat()).unwrap() else {
            panic!("not on")
        };
        settings
    }

    #[test]
    fn what_gotatun_documents_is_taken() {
        let machine = format!("daita_machine={NO_OP}");
        let settings = on(&[
            &machine,
            &machine,
            "daita_max_delayed_packets=1024",
            "daita_min_delay_capacity=50",
            "daita_max_decoy_frac=0.5",
            "daita_max_delay_frac=0.25",
        ]);
        assert_eq!(settings.plan.machines().len(), 2);
        assert_eq!((settings.plan.max_padding_frac(), settings.plan.max_blocking_frac()), (0.5, 0.25));
        assert_eq!((settings.name.as_str(), settings.role), ("daita", None));
    }

    #[test]
    fn enabling_starts_anew_and_zero_is_off() {
        let machine = format!("daita_machine={NO_OP}");
        assert!(on(&[&machine, "daita_max_decoy_frac=1", "daita_enable=1"]) == enabled());
        assert_eq!(read_lines(&["daita_enable=1", &machine, "daita_enable=0"]), Ok(Some(DefenseChange::Off)));
    }

    #[test]
    fn our_own_keys_carry_the_rest() {
        let settings =
            on(&["maybetun_defense=front", "maybetun_defense_role=relay", "maybetun_defense_max_actions_per_second=7"]);
        assert_eq!((settings.name.as_str(), settings.role), ("front", Some(Role::Relay)));
        assert_eq!(settings.plan.max_actions_per_second(), 7);
    }

    #[test]
    fn the_users_limits_are_others_than_the_defenses_own() {
        let settings = on(&[
            "maybetun_defense_limit_padding_frac=0.5",
            "maybetun_defense_limit_blocking_frac=0",
            "maybetun_defense_limit_padding_rate=65536",
        ]);
        let limits = Limits {
            max_padding_frac: Fraction::new(0.5),
            max_blocking_frac: Fraction::new(0.0),
            ..Limits { max_padding_rate: Some(65_536), ..Limits::default() }
        };
        assert_eq!((settings.limits, settings.plan.max_padding_frac()), (limits, 0.0));
        assert_eq!(on(&["daita_max_decoy_frac=0.5"]).limits, Limits::default());
    }

    #[test]
    fn limits_that_are_not_set_are_left_out() {
        let mut text = SecretBuffer::with_capacity(1024);
        format_settings(&mut text, &enabled());
        assert!(!text.into_text().contains("limit"));
    }

    #[test]
    fn nothing_is_set_before_a_defense_is_enabled() {
        for lines in [&["daita_max_decoy_frac=0.5"][..], &["daita_enable=0", "maybetun_defense=front"]] {
            assert_eq!(read_lines(lines).unwrap_err().1, "daita_enable=1 before it");
        }
    }

    #[test]
    fn hostile_values_are_refused() {
        let truncated = format!("daita_machine={}", &NO_OP[..12]);
        let trailing = format!("daita_machine={NO_OP}AAAA");
        for line in [
            "daita_enable=2",
            "daita_enable=",
            "daita_machine=",
            "daita_machine=02",
            "daita_machine=01eNpjYEAHjOgCAAA0AAI=",
            &truncated,
            &trailing,
            "daita_max_decoy_frac=nan",
            "daita_max_decoy_frac=1.5",
            "daita_max_delay_frac=-1",
            "daita_max_delayed_packets=0",
            "daita_min_delay_capacity=-1",
            "maybetun_defense=off",
            "maybetun_defense=A name",
            "maybetun_defense_role=server",
            "maybetun_defense_max_actions_per_second=0",
            "maybetun_defense_max_actions_per_second=1000001",
            "maybetun_defense_limit_padding_frac=1.5",
            "maybetun_defense_limit_blocking_frac=",
            "maybetun_defense_limit_padding_rate=-1",
            "maybetun_defense_limit_padding_rate=18446744073709551616",
        ] {
            assert_eq!(read_lines(&["daita_enable=1", line]).unwrap_err().0, line);
        }
    }

    #[test]
    fn machines_are_bounded_for_a_peer_and_for_a_request() {
        let machine = format!("daita_machine={NO_OP}");
        let lines = |count| [&["daita_enable=1"][..], &vec![machine.as_str(); count]].concat();
        assert!(read_lines(&lines(MAX_MACHINES)).is_ok());
        assert_eq!(read_lines(&lines(MAX_MACHINES + 1)).unwrap_err().1, "at most 16 machines");
        let (mut change, mut weight) = (Some(DefenseChange::On(enabled())), 45);
        set(&mut change, key("daita_machine").unwrap(), NO_OP, &mut weight).unwrap();
        assert!(set(&mut change, key("daita_machine").unwrap(), NO_OP, &mut weight).is_err(), "{weight}");
    }
}

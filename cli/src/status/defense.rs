//! The defense of a peer, as text and as JSON.

use std::time::Duration;

use maybetun::settings::{
    Cause, DefenseOptions, DefenseSettings, DefenseStatistics, DefenseStatus, EphemeralSettings, EpochStatus,
    NegotiationStatus, PeerStatus, Protection, Scope, SettingTold, Spelling, Value,
};
use serde::Serialize;

use super::block::{Block, bytes, counts, span};
use super::in_force::in_force;
use super::json::{Agreement, Defense, Masking, render_peers};
use super::masking;
use super::paint::Paint;

/// Grows when a member changes its meaning or goes away; new members may come without.
const VERSION: u32 = 1;

/// The schema of `defense status --json`, as the help tells it.
pub(crate) const HELP: &str = r#"JSON schema (--json). Members may be added; `version` grows if one changes or goes:
  {
    "version": 1,
    "interface": string,
    "peers": [{
      "public_key": string (base64),
      "role": "client" or "relay", null if not known,
      "defense": null if none runs, else as in `maybetun status --help`,
      "masking", "protection", "protection_cause", "user_packets_leave",
        "negotiation": as in `maybetun status --help`
    }]
  }"#;

#[derive(Serialize)]
struct Peer {
    public_key: String,
    role: Option<String>,
    defense: Option<Defense>,
    masking: Option<Masking>,
    #[serde(flatten)]
    agreement: Agreement,
}

/// Renders the defenses of peers as a JSON document, with a line end.
pub(crate) fn render_json(interface: &str, peers: &[&PeerStatus]) -> serde_json::Result<String> {
    let peer = |peer: &&PeerStatus| Peer {
        public_key: peer.public_key.to_base64(),
        role: peer.role.map(|role| role.to_string()),
        defense: peer.defense.as_ref().map(Defense::of),
        masking: peer.masking.as_ref().map(Masking::of),
        agreement: Agreement::of(peer),
    };
    render_peers(VERSION, interface, peers.iter().map(peer).collect())
}

/// Renders the defenses of peers as text.
pub(crate) fn render_text(peers: &[&PeerStatus], paint: Paint) -> String {
    let blocks = peers.iter().map(|peer| {
        let mut block = Block::new(paint.peer(format_args!("peer: {}", peer.public_key)), paint);
        match &peer.defense {
            Some(running) => describe(&mut block, running),
            None => block.line("defense", "off"),
        }
        masking::describe(&mut block, peer);
        describe_agreement(&mut block, peer);
        block.text
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// Adds how far the traffic is protected, and what is agreed on. Of a peer without a defense there is nothing to add.
pub(super) fn describe_agreement(block: &mut Block, peer: &PeerStatus) {
    if peer.defense.is_none() && peer.negotiation.is_none() {
        return;
    }
    block.optional_line("protection", peer.protection.map(|protection| in_words(protection, peer)));
    let Some(NegotiationStatus { settings, epoch, renewals }) = &peer.negotiation else { return };
    block.line("negotiation", agreement(settings));
    if let Some(EpochStatus { number, age, tier, strength, fingerprint, digest }) = epoch {
        let age = match age.as_secs() {
            0 => "now".to_owned(),
            _ => format!("{} ago", span(*age)),
        };
        block.line("epoch", format_args!("{number}, agreed on {age}: {tier}, {strength}"));
        block.line("seed fingerprint", fingerprint);
        block.line("defense digest", digest);
    }
    if *renewals != 0 {
        block.line("renewals", renewals);
    }
}

/// Returns how far the traffic is protected, in words.
fn in_words(protection: Protection, peer: &PeerStatus) -> String {
    let Some(why) = protection.cause().map(Cause::why) else {
        return "both ends run a defense that only they know".to_owned();
    };
    match protection {
        _ if peer.holds_back() == Some(true) => format!("nothing leaves: the defense is required, and {why}"),
        Protection::OneSided(_) => format!("one-sided: {why}"),
        Protection::Protected | Protection::NotProtected(_) => format!("none: {why}"),
    }
}

/// Adds what runs, and what it has counted.
pub(super) fn describe(block: &mut Block, running: &DefenseStatus) {
    block.line("defense", title(&running.settings));
    block.optional_line("limits", limits(&running.settings));
    // What is not here is told by its row.
    let DefenseStatistics {
        normal_received_bytes,
        normal_sent_bytes,
        constant_size_received_bytes,
        constant_size_sent_bytes,
        padding_received_packets,
        padding_sent_packets,
        padding_received_bytes,
        padding_sent_bytes,
        bundles_received,
        bundles_sent,
        bundled_received_packets,
        bundled_sent_packets,
        padding_actions,
        blocking_actions,
        actions_capped,
        blocked,
        queue_high_water,
        lateness_p50,
        lateness_p99,
        ..
    } = running.statistics;
    let both = |received, sent| format!("{} received, {} sent", bytes(received), bytes(sent));
    block.line("normal", both(normal_received_bytes, normal_sent_bytes));
    block.line(
        "padding",
        format_args!(
            "{} received in {padding_received_packets} packets, {} sent in {padding_sent_packets}",
            bytes(padding_received_bytes),
            bytes(padding_sent_bytes)
        ),
    );
    block.line("constant size", both(constant_size_received_bytes, constant_size_sent_bytes));
    if bundles_sent != 0 || bundles_received != 0 {
        block.line(
            "bundles",
            format_args!(
                "{bundled_received_packets} packets received in {bundles_received}, {bundled_sent_packets} sent in {bundles_sent}"
            ),
        );
    }
    let actions = [(padding_actions, "padding"), (blocking_actions, "blocking"), (actions_capped, "capped")];
    block.optional_line("actions", counts(&actions));
    if blocked != Duration::ZERO || queue_high_water != 0 {
        let milliseconds = blocked.as_secs_f64() * 1_000.0;
        block.line("blocked", format_args!("{milliseconds:.3} ms, at most {queue_high_water} packets waiting"));
    }
    if lateness_p99 != Duration::ZERO {
        let [median, most] = [lateness_p50, lateness_p99].map(|late| late.as_micros());
        block.line("timers late", format_args!("{median} \u{b5}s (median), {most} \u{b5}s (99th percentile)"));
    }
    block.counters(&running.statistics);
}

/// Returns what runs, in one line.
fn title(settings: &DefenseSettings) -> String {
    let plan = &settings.plan;
    let role = settings.role.map(|role| format!(", as {role}")).unwrap_or_default();
    let machines = match plan.machines().len() {
        1 => "1 machine".to_owned(),
        count => format!("{count} machines"),
    };
    let limit = |fraction: f64, what: &str, of: &str| {
        if fraction > 0.0 { format!(", {what} at most {fraction} of {of}") } else { String::new() }
    };
    let padding = limit(plan.max_padding_frac(), "padding", "packets");
    let blocking = limit(plan.max_blocking_frac(), "blocking", "time");
    format!("{}{role}: {machines}{padding}{blocking}", settings.name)
}

/// Returns the user's limits in words; `None` if there are none.
fn limits(settings: &DefenseSettings) -> Option<String> {
    let mut limits: Vec<(&str, Vec<String>)> = Vec::new();
    for (setting, value) in in_force(settings, Scope::Limit).filter(|(_, value)| !value.is_zero()) {
        let SettingTold::Limit(what, words) = setting.told else { continue };
        let limit = words.replace("{}", &shown(&value));
        match limits.iter_mut().find(|(of, _)| *of == what) {
            Some((_, others)) => others.push(limit),
            None => limits.push((what, vec![limit])),
        }
    }
    let limits = limits.iter().map(|(what, limits)| format!("{what} at most {}", limits.join(", ")));
    Some(limits.collect::<Vec<_>>().join("; ")).filter(|limits| !limits.is_empty())
}

/// Returns what is to be agreed on, in words: first what becomes of a peer that does not agree.
fn agreement(settings: &EphemeralSettings) -> String {
    let options = DefenseOptions::from(settings);
    let mut settings: Vec<_> =
        DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Ephemeral).collect();
    settings.sort_by_key(|setting| setting.key != "Negotiation");
    let words = settings.into_iter().filter_map(|setting| {
        let value = setting.get(&options)?;
        match setting.told {
            SettingTold::Words(words) => Some(words.replace("{}", &shown(&value))),
            SettingTold::IfOff(words) => (value == Value::Switch(false)).then(|| words.to_owned()),
            SettingTold::Limit(..) | SettingTold::Elsewhere => None,
        }
    });
    words.collect::<Vec<_>>().join(", ")
}

/// Returns a value with its unit.
fn shown(value: &Value) -> String {
    match value {
        Value::Seconds(seconds) => span(Duration::from_secs(*seconds)),
        Value::Bytes(count) => bytes(*count),
        Value::Word(_) | Value::Switch(_) | Value::Fraction(_) | Value::Number(_) => value.spell(Spelling::File),
    }
}

#[cfg(test)]
mod tests {
    use maybetun::negotiation::Reason;
    use maybetun::settings::{Fraction, Limits, NegotiationPolicy};

    use super::super::tests_support::{negotiation, sample, silent};
    use super::*;

    #[test]
    fn limits_in_force_are_told_and_none_are_not() {
        let said = |padding, blocking, max_padding_rate| {
            let [max_padding_frac, max_blocking_frac] =
                [padding, blocking].map(|limit: Option<f64>| limit.and_then(Fraction::new));
            let rate = Limits { max_padding_rate, ..Limits::default() };
            let limits = Limits { max_padding_frac, max_blocking_frac, ..rate };
            super::limits(&super::super::tests_support::defense().settings.limited(limits))
        };
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(said(None, None, None), told("padding at most 16.00 MiB/s"));
        assert_eq!(said(Some(0.5), None, None), told("padding at most 0.5 of packets, 16.00 MiB/s"));
        assert_eq!(
            said(Some(0.5), Some(0.25), Some(0)),
            told("padding at most 0.5 of packets; blocking at most 0.25 of time")
        );
        assert_eq!(said(Some(0.0), Some(1.0), Some(0)), told("blocking at most 1 of time"));
        assert_eq!(said(Some(0.0), None, Some(0)), None);
    }

    #[test]
    fn a_tunnel_of_another_implementation_has_no_limit_that_it_does_not_tell() {
        let rate = |settings: &DefenseSettings| {
            in_force(settings, Scope::Limit)
                .find(|(setting, _)| setting.member == "max_padding_rate")
                .map(|(_, value)| value)
        };
        let mut settings = super::super::tests_support::defense().settings;
        assert_eq!(rate(&settings), Some(Value::Bytes(maybetun::settings::DEFAULT_MAX_PADDING_RATE)));
        settings.role = None;
        assert_eq!(rate(&settings), Some(Value::Bytes(0)));
        settings.limits.max_padding_rate = Some(7);
        assert_eq!(rate(&settings), Some(Value::Bytes(7)));
    }

    #[test]
    fn nothing_leaves_is_said_with_every_cause_and_only_where_it_is_so() {
        let mut peer = silent(maybetun::keys::PublicKey::from_bytes(&[1; 32]).unwrap());
        let mut agreement = negotiation();
        let mut text = |policy, protection| {
            agreement.settings.negotiation = policy;
            (peer.negotiation, peer.protection) = (Some(agreement.clone()), Some(protection));
            render_text(&[&peer], Paint::Plain)
        };
        let reasons = (0..=6).map(|number| Cause::Refused(Reason::from(number)));
        for cause in reasons.chain([Cause::Negotiating]) {
            let told = text(NegotiationPolicy::Require, Protection::NotProtected(cause));
            let line = format!("  protection: nothing leaves: the defense is required, and {}\n", cause.why());
            assert!(told.contains(&line), "{told}");
            for protection in [Protection::OneSided(cause), Protection::NotProtected(cause)] {
                let told = text(NegotiationPolicy::Prefer, protection);
                assert!(!told.contains("nothing leaves") && told.contains(cause.why()), "{told}");
            }
        }
    }

    #[test]
    fn a_peer_without_a_defense_says_so() {
        let named = sample();
        let peers: Vec<&PeerStatus> = named.status.peers.iter().collect();
        let text = render_text(&peers, Paint::Plain);
        let expected = "peer: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n  defense: off\n\npeer: AgICAgI";
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("\n  defense: sample, as client: 1 machine, padding at most 0.5 of packets\n"), "{text}");
    }

    #[test]
    fn the_schema_is_as_the_help_tells_it() {
        let named = sample();
        let peers: Vec<&PeerStatus> = named.status.peers.iter().collect();
        let document: serde_json::Value = serde_json::from_str(&render_json("wg0", &peers).unwrap()).unwrap();
        let all: serde_json::Value = serde_json::from_str(&super::super::json::render(&[sample()]).unwrap()).unwrap();
        assert_eq!((&document["version"], &document["interface"]), (&1.into(), &"wg0".into()));
        for (peer, in_status) in
            document["peers"].as_array().unwrap().iter().zip(all["interfaces"][0]["peers"].as_array().unwrap())
        {
            for (member, value) in peer.as_object().unwrap() {
                assert_eq!(*value, in_status[member]);
                assert!(HELP.contains(&format!("\"{member}\"")), "{member}");
            }
        }
    }
}

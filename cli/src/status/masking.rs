//! Masking, as text and as JSON: how far it got, and what was said of it.

use maybetun::masking::Shortfall;
use maybetun::settings::{DefenseOptions, MaskingSettings, MaskingStatus, PeerStatus, Role, Scope, Spelling};
use serde::Serialize;

use super::block::{Block, decimal};
use super::in_force::{Members, in_force_of, members};
use super::json::{Masking, render_peers};
use super::paint::Paint;

/// Grows when a member changes its meaning or goes away; new members may come without.
const VERSION: u32 = 1;

/// The schema of `masking --json`, as the help tells it.
pub(crate) const HELP: &str = r#"JSON schema (--json). Members may be added; `version` grows if one changes or goes:
  {
    "version": 1,
    "interface": string,
    "peers": [{
      "public_key": string (base64),
      "role": "client" or "relay", null if not known,
      "masking_settings": null without a defense, else as of a defense in `maybetun status --help`,
      "masking": null if this end does not mask, else as in `maybetun status --help`
    }]
  }"#;

#[derive(Serialize)]
struct Peer {
    public_key: String,
    role: Option<String>,
    masking_settings: Option<Members>,
    masking: Option<Masking>,
}

/// Renders how peers are masked as a JSON document, with a line end.
pub(crate) fn render_json(interface: &str, peers: &[&PeerStatus]) -> serde_json::Result<String> {
    let peer = |peer: &&PeerStatus| Peer {
        public_key: peer.public_key.to_base64(),
        role: peer.role.map(|role| role.to_string()),
        masking_settings: settings(peer).map(|settings| {
            let role = role(peer);
            members(in_force_of(DefenseOptions { role, ..of(settings) }, Scope::Masking))
        }),
        masking: peer.masking.as_ref().map(Masking::of),
    };
    render_peers(VERSION, interface, peers.iter().map(peer).collect())
}

/// Renders how peers are masked as text: how far it got, and what was said of it.
pub(crate) fn render_text(peers: &[&PeerStatus], paint: Paint) -> String {
    let blocks = peers.iter().map(|peer| {
        let mut block = Block::new(paint.peer(format_args!("peer: {}", peer.public_key)), paint);
        match (&peer.masking, settings(peer)) {
            (Some(_), _) => describe(&mut block, peer),
            (None, None) => block.line("masking", "off: no defense runs"),
            (None, Some(settings)) if settings.terms().mode == Default::default() => block.line("masking", "off"),
            (None, Some(_)) => block.line("masking", "not yet: packets have sizes of their own"),
        }
        block.optional_line("settings", settings(peer).and_then(|settings| said(&settings)));
        block.text
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// Returns what was said of the masking of a peer; `None` if it has no defense.
pub(crate) fn settings(peer: &PeerStatus) -> Option<MaskingSettings> {
    let agreed = peer.negotiation.as_ref().map(|agreed| agreed.settings.masking);
    agreed.or_else(|| peer.defense.as_ref().map(|running| running.settings.masking))
}

/// Returns the settings of masking that are said, by their keys; `None` if none is.
pub(crate) fn said(settings: &MaskingSettings) -> Option<String> {
    let options = of(*settings);
    let rows = DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Masking);
    let words = rows.filter_map(|setting| {
        let value = setting.get(&options)?;
        Some(format!("{} = {}", setting.key, value.spell(Spelling::File)))
    });
    Some(words.collect::<Vec<_>>().join(", ")).filter(|words| !words.is_empty())
}

fn of(settings: MaskingSettings) -> DefenseOptions {
    DefenseOptions::of(None, Default::default(), settings)
}

fn role(peer: &PeerStatus) -> Option<Role> {
    let agreed = peer.negotiation.as_ref().and_then(|agreed| agreed.settings.role);
    agreed.or_else(|| peer.defense.as_ref().and_then(|running| running.settings.role)).or(peer.role)
}

/// Adds how far masking got. Of a peer that is not masked there is nothing to add.
pub(super) fn describe(block: &mut Block, peer: &PeerStatus) {
    let Some(status) = &peer.masking else { return };
    let MaskingStatus {
        mode,
        is_mutual,
        activity,
        target,
        band,
        ratio,
        rates,
        target_rates,
        is_visible,
        shortfall,
        spent,
        allowed,
    } = *status;
    let ends = match (is_mutual, role(peer)) {
        (true, _) => "both ends",
        (false, Some(Role::Client)) => "one-sided: the relay does not mask",
        (false, Some(Role::Relay)) => "one-sided: the client does not ask for it",
        (false, None) => "one-sided: the other end does not mask",
    };
    block.line("masking", format_args!("{mode}, {ends}"));
    block.line("activity", activity);
    if let Some(target) = target {
        block.line("target", target);
    }
    let ratio = ratio.map_or("nothing came down".to_owned(), |ratio| format!("{:.1} %", f64::from(ratio) / 100.0));
    block.line("upload ratio", format_args!("{ratio} (kept in {band})"));
    let both = |[up, down]: [u64; 2]| format!("{}/s up, {}/s down", decimal(up), decimal(down));
    block.line("outer rates", both(rates));
    if target.is_some() {
        block.line("target rates", both(target_rates));
    }
    let spent = decimal(spent);
    match allowed {
        Some(allowed) => block.line("budget", format_args!("{spent} of {} a day, this end's part", decimal(allowed))),
        None => block.line("budget", format_args!("{spent} in the last day, which is not bounded")),
    }
    if is_visible {
        block.line("class visible", why(shortfall));
    }
}

/// Returns why an observer sees what the user does.
fn why(shortfall: Shortfall) -> &'static str {
    match shortfall {
        Shortfall::None => "the padding that is missing is still to come, or the other end's to send",
        Shortfall::MaskingBudget => "over the budget of masking",
        Shortfall::PaddingBudget => "over the budget of all padding",
        Shortfall::Limit => "a limit on padding is in its way, or the peer's address has not shown that it receives",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use maybetun::masking::Activity;
    use maybetun::settings::{Band, MaskingMode};
    use maybetun_machines::profile::ProfileName;

    use super::super::tests_support::{masking, sample};
    use super::*;

    fn lines(status: MaskingStatus) -> String {
        let mut peer = sample().status.peers.remove(1);
        peer.masking = Some(status);
        let mut block = Block::new(String::new(), Paint::Plain);
        describe(&mut block, &peer);
        block.text
    }

    #[test]
    fn a_class_that_is_visible_is_told_with_its_reason() {
        assert!(!lines(MaskingStatus { is_visible: false, ..masking() }).contains("class visible"));
        let reason = |shortfall| {
            let text = lines(MaskingStatus { is_visible: true, shortfall, ..masking() });
            text.split_once("\n  class visible: ").unwrap().1.to_owned()
        };
        assert_eq!(reason(Shortfall::MaskingBudget), "over the budget of masking\n");
        let reasons: BTreeSet<_> = Shortfall::ALL.into_iter().map(reason).collect();
        assert_eq!(reasons.len(), Shortfall::ALL.len());
    }

    #[test]
    fn who_does_not_mask_is_told_by_this_ends_role() {
        let told = |role| {
            let mut peer = sample().status.peers.remove(1);
            peer.masking = Some(MaskingStatus { is_mutual: false, ..masking() });
            (peer.role, peer.negotiation, peer.defense) = (role, None, None);
            let mut block = Block::new(String::new(), Paint::Plain);
            describe(&mut block, &peer);
            block.text.lines().nth(1).unwrap().to_owned()
        };
        assert_eq!(told(Some(Role::Client)), "  masking: adaptive, one-sided: the relay does not mask");
        assert_eq!(told(Some(Role::Relay)), "  masking: adaptive, one-sided: the client does not ask for it");
        assert_eq!(told(None), "  masking: adaptive, one-sided: the other end does not mask");
    }

    #[test]
    fn what_there_is_none_of_is_not_told_as_a_number() {
        let bare = MaskingStatus {
            mode: MaskingMode::Profile(ProfileName::Web),
            activity: Activity::Idle,
            target: None,
            band: Band::USUAL,
            ratio: None,
            is_visible: false,
            allowed: None,
            ..masking()
        };
        assert_eq!(
            lines(bare),
            "\n  masking: web, both ends\n  activity: idle\n  upload ratio: nothing came down (kept in 3-8%)\n  \
             outer rates: 5.2 kB/s up, 100.0 kB/s down\n  budget: 12.0 MB in the last day, which is not bounded\n"
        );
    }

    #[test]
    fn a_peer_shows_what_was_said_whether_or_not_it_is_masked() {
        let mut peers = sample().status.peers;
        let shown = |peer: &PeerStatus| {
            let text = render_text(&[peer], Paint::Plain);
            text.split_once('\n').unwrap().1.to_owned()
        };
        assert_eq!(shown(&peers[0]), "  masking: off: no defense runs\n");
        peers[1].masking = None;
        assert_eq!(shown(&peers[1]), "  masking: off\n");
        let said = MaskingSettings { metered: Some(true), ..MaskingSettings::default() };
        peers[1].negotiation.as_mut().unwrap().settings.masking = said;
        assert_eq!(shown(&peers[1]), "  masking: off\n  settings: Metered = on\n");
        let said = MaskingSettings { mode: Some(MaskingMode::Adaptive), ..said };
        peers[1].negotiation.as_mut().unwrap().settings.masking = said;
        let not_yet = "  masking: not yet: packets have sizes of their own\n";
        assert_eq!(shown(&peers[1]), format!("{not_yet}  settings: Masking = adaptive, Metered = on\n"));
        peers[1].masking = Some(masking());
        assert!(shown(&peers[1]).starts_with("  masking: adaptive, both ends\n"));
    }

    #[test]
    fn the_schema_is_as_the_help_tells_it() {
        let named = sample();
        let peers: Vec<&PeerStatus> = named.status.peers.iter().collect();
        let document: serde_json::Value = serde_json::from_str(&render_json("wg0", &peers).unwrap()).unwrap();
        let all: serde_json::Value = serde_json::from_str(&super::super::json::render(&[sample()]).unwrap()).unwrap();
        assert_eq!((&document["version"], &document["interface"]), (&1.into(), &"wg0".into()));
        let in_status = all["interfaces"][0]["peers"].as_array().unwrap();
        for (peer, in_status) in document["peers"].as_array().unwrap().iter().zip(in_status) {
            for member in ["public_key", "role", "masking"] {
                assert_eq!(peer[member], in_status[member]);
            }
            assert_eq!(peer["masking_settings"], in_status["defense"]["masking_settings"]);
            for member in peer.as_object().unwrap().keys() {
                assert!(HELP.contains(&format!("\"{member}\"")), "{member}");
            }
        }
    }
}

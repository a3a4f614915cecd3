//! SaveConfig for defenses: the keys that make a peer run what it runs now.

use maybetun::config::{Defense, Endpoint, Peer};
use maybetun::settings::{DefenseSettings, EphemeralSettings, Limits, PeerStatus, Role};

use crate::defense::load;
use crate::locate::Source;

/// Returns a peer that says nothing but its defense, and the endpoint that decides which end's that is.
///
/// What runs is said by the file's own `Defense`, or by a name of the catalogue. Machines that neither has cannot be said
/// in a file: then it keeps what it said, with a warning.
pub(super) fn saved_defense(source: &Source, status: &PeerStatus) -> Peer {
    let before = source.config.peers.iter().find(|peer| peer.public_key == status.public_key);
    let mut peer = Peer::new(status.public_key);
    peer.endpoint = status.endpoint.map(Endpoint::Address);
    if let Some(before) = before {
        peer.defense.clone_from(&before.defense);
        peer.defense_max_padding_frac = before.defense_max_padding_frac;
        peer.defense_max_blocking_frac = before.defense_max_blocking_frac;
        peer.defense_max_padding_rate = before.defense_max_padding_rate;
        peer.defense_role = before.defense_role;
        peer.defense_tier = before.defense_tier;
        peer.defense_strength = before.defense_strength;
        peer.negotiation = before.negotiation;
        peer.bundling = before.bundling;
        peer.defense_renewal = before.defense_renewal;
    }
    if let Some(negotiation) = &status.negotiation {
        say_ephemeral(&mut peer, &negotiation.settings);
        return peer;
    }
    if peer.defense == Some(Defense::Ephemeral) {
        peer.defense_tier = None;
        peer.defense_strength = None;
        peer.negotiation = None;
        peer.bundling = None;
        peer.defense_renewal = None;
    }
    let Some(running) = status.defense.as_ref().map(|defense| &defense.settings) else {
        peer.defense = peer.defense.map(|_| Defense::Off);
        return peer;
    };
    let says_so = peer.defense_change(|defense| load(defense, source.directory()));
    if matches!(&says_so, Ok(Some(maybetun::settings::DefenseChange::On(settings))) if settings == running) {
        return peer;
    }
    let named = Defense::Named(running.name.clone());
    let candidates = peer.defense.iter().chain([&named]).filter(|defense| **defense != Defense::Off).cloned();
    let saved = candidates.collect::<Vec<_>>().into_iter().find_map(|defense| as_said(source, defense, running, &peer));
    saved.unwrap_or_else(|| {
        tracing::warn!("the defense {} of a peer is in no file and not in the catalogue: not saved", running.name);
        peer
    })
}

/// Makes `peer` say `settings`. What it said already of what is the default stays said.
fn say_ephemeral(peer: &mut Peer, settings: &EphemeralSettings) {
    let EphemeralSettings { role, tier, strength, negotiation, bundling, renewal, limits } = settings.clone();
    let usual = EphemeralSettings::default();
    let usual_role = if peer.endpoint.is_some() { Role::Client } else { Role::Relay };
    *peer = Peer {
        defense: Some(Defense::Ephemeral),
        defense_role: role.and_then(|role| said(peer.defense_role, role, usual_role)),
        defense_tier: said(peer.defense_tier, tier, usual.tier),
        defense_strength: said(peer.defense_strength, strength, usual.strength),
        negotiation: said(peer.negotiation, negotiation, usual.negotiation),
        bundling: said(peer.bundling, bundling, usual.bundling),
        defense_renewal: said(peer.defense_renewal, renewal, usual.renewal),
        ..limited(Peer { endpoint: peer.endpoint.take(), ..Peer::new(peer.public_key) }, limits)
    };
}

/// Makes `peer` say these limits.
fn limited(peer: Peer, limits: Limits) -> Peer {
    let Limits { max_padding_frac, max_blocking_frac, max_padding_rate } = limits;
    Peer {
        defense_max_padding_frac: max_padding_frac,
        defense_max_blocking_frac: max_blocking_frac,
        defense_max_padding_rate: max_padding_rate,
        ..peer
    }
}

fn said<T: PartialEq>(before: Option<T>, now: T, usual: T) -> Option<T> {
    (before.is_some() || now != usual).then_some(now)
}

/// Returns the peer that runs `running` by naming `defense`, if that has its machines.
fn as_said(source: &Source, defense: Defense, running: &DefenseSettings, peer: &Peer) -> Option<Peer> {
    let role = running.role?;
    let own = DefenseSettings::of(&load(&defense, source.directory()).ok()?, role);
    (own.limited(running.limits) == *running).then(|| Peer {
        defense: Some(defense),
        defense_role: Some(role),
        ..limited(peer.clone(), running.limits)
    })
}

#[cfg(test)]
mod tests {
    use maybetun::config;
    use maybetun::keys::PublicKey;
    use maybetun::settings::{DefenseStatistics, DefenseStatus, Fraction, NegotiationPolicy, NegotiationStatus};
    use maybetun_machines::Strength;

    use super::*;
    use crate::status::tests_support::silent;

    /// The keys that are saved for a peer whose file says `before`, while `running` runs.
    fn saved(before: &str, running: Option<DefenseSettings>) -> String {
        let defense = running.map(|settings| DefenseStatus { settings, statistics: DefenseStatistics::default() });
        saved_of(before, PeerStatus { defense, ..silent(PublicKey::from_bytes(&[1; 32]).unwrap()) })
    }

    /// The same while `settings` are to be agreed on.
    fn saved_ephemeral(before: &str, settings: EphemeralSettings) -> String {
        let negotiation = Some(NegotiationStatus { settings, epoch: None, renewals: 0 });
        saved_of(before, PeerStatus { negotiation, ..silent(PublicKey::from_bytes(&[1; 32]).unwrap()) })
    }

    fn saved_of(before: &str, status: PeerStatus) -> String {
        let key = status.public_key;
        let text = format!(
            "[Interface]\nPrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\n[Peer]\nPublicKey = {key}\n{before}"
        );
        let source = Source { path: "/no/such/wg0.conf".into(), config: config::parse(&text).unwrap() };
        let peer = saved_defense(&source, &status);
        let text = config::format(&config::Config { peers: vec![peer], ..source.config });
        let lines = text.split_once("PublicKey = ").unwrap().1.split_once('\n').unwrap().1;
        lines.split_inclusive('\n').filter(|line| !line.starts_with("Endpoint = ")).collect()
    }

    fn front(role: Role) -> DefenseSettings {
        DefenseSettings::of(maybetun_machines::find("front").unwrap(), role)
    }

    #[test]
    fn a_defense_that_did_not_change_is_said_as_before() {
        let file = "Defense = front\nDefenseMaxPaddingFrac = 0.5\n";
        let limits = Limits { max_padding_frac: Fraction::new(0.5), ..Limits::default() };
        assert_eq!(saved(file, Some(front(Role::Relay).limited(limits))), file);
        assert_eq!(saved("", None), "");
        assert_eq!(saved("Defense = off\n", None), "Defense = off\n");
    }

    #[test]
    fn what_was_toggled_is_saved() {
        assert_eq!(saved("Defense = front\n", None), "Defense = off\n");
        let limits = Limits { max_blocking_frac: Fraction::new(0.25), ..Limits::default() };
        let on = "Defense = front\nDefenseMaxBlockingFrac = 0.25\nDefenseRole = client\n";
        for before in ["", "Defense = off\n", "Defense = interspace\n", "Defense = ./gone.toml\n"] {
            assert_eq!(saved(before, Some(front(Role::Client).limited(limits))), on, "{before}");
        }
    }

    #[test]
    fn an_ephemeral_defense_is_said_by_its_settings() {
        let saved = |before: &str, settings: EphemeralSettings| {
            let mut peer = Peer::new(PublicKey::from_bytes(&[1; 32]).unwrap());
            (peer.defense, peer.negotiation) = match before {
                "" => (None, None),
                _ => (Some(Defense::Ephemeral), Some(NegotiationPolicy::Prefer)),
            };
            say_ephemeral(&mut peer, &settings);
            (peer.defense, peer.defense_strength, peer.negotiation, peer.defense_role)
        };
        let settings =
            EphemeralSettings { strength: Strength::High, role: Some(Role::Client), ..EphemeralSettings::default() };
        let (ephemeral, high) = (Some(Defense::Ephemeral), Some(Strength::High));
        assert_eq!(saved("", settings.clone()), (ephemeral.clone(), high, None, Some(Role::Client)));
        assert_eq!(saved("said", settings), (ephemeral, high, Some(NegotiationPolicy::Prefer), Some(Role::Client)));
    }

    #[test]
    fn an_end_stays_what_it_is_where_its_peers_endpoint_is_saved() {
        let at = |status: PeerStatus| PeerStatus { endpoint: Some("192.0.2.1:51820".parse().unwrap()), ..status };
        let statically = |before: &str, role| {
            let settings = front(role);
            let defense = Some(DefenseStatus { settings, statistics: DefenseStatistics::default() });
            saved_of(before, at(PeerStatus { defense, ..silent(PublicKey::from_bytes(&[1; 32]).unwrap()) }))
        };
        let by_agreement = |before: &str, role| {
            let settings = EphemeralSettings { role: Some(role), ..EphemeralSettings::default() };
            let negotiation = Some(NegotiationStatus { settings, epoch: None, renewals: 0 });
            saved_of(before, at(PeerStatus { negotiation, ..silent(PublicKey::from_bytes(&[1; 32]).unwrap()) }))
        };
        for file in ["Defense = front\n", "Defense = ephemeral\n"] {
            let saved = |role| if file.contains("front") { statically(file, role) } else { by_agreement(file, role) };
            // A file with the peer's endpoint is that of a client.
            assert_eq!(saved(Role::Client), file);
            // A relay has learnt it.
            assert_eq!(saved(Role::Relay), format!("{file}DefenseRole = relay\n"));
        }
    }

    #[test]
    fn limits_are_saved_whatever_the_defense() {
        let limits = Limits {
            max_padding_frac: Fraction::new(0.5),
            max_blocking_frac: Fraction::new(0.25),
            max_padding_rate: Some(65_536),
        };
        let said = "DefenseMaxPaddingFrac = 0.5\nDefenseMaxBlockingFrac = 0.25\nDefenseMaxPaddingRate = 65536\n";
        let role = "DefenseRole = client\n";
        let running = front(Role::Client).limited(limits);
        assert_eq!(saved("Defense = off\n", Some(running.clone())), format!("Defense = front\n{said}{role}"));
        let ephemeral = EphemeralSettings { role: Some(Role::Relay), limits, ..EphemeralSettings::default() };
        let file = format!("Defense = ephemeral\n{said}");
        assert_eq!(saved_ephemeral(&file, ephemeral.clone()), file);
        assert_eq!(saved_ephemeral("", ephemeral), file);
        // Limits that were lifted are not said any more; those of a defense that is off stay said.
        let unlimited = EphemeralSettings { role: Some(Role::Relay), ..EphemeralSettings::default() };
        assert_eq!(saved_ephemeral(&file, unlimited), "Defense = ephemeral\n");
        assert_eq!(saved(&file, None), format!("Defense = off\n{said}"));
        assert_eq!(saved(&format!("Defense = front\n{said}"), None), format!("Defense = off\n{said}"));
    }

    #[test]
    fn machines_that_no_file_has_are_not_saved() {
        let mut unknown = front(Role::Client);
        unknown.name = "daita".to_owned();
        assert_eq!(saved("Defense = front\n", Some(unknown)), "Defense = front\n");
    }
}

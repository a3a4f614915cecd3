//! SaveConfig for defenses: the keys that make a peer run what it runs now.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use maybetun::config::{Defense, Peer};
use maybetun::settings::{DefenseChange, DefenseOptions, DefenseSettings, EphemeralSettings, PeerStatus, Role};
use maybetun_machines::Side;

use crate::defense::load;
use crate::interface;

/// What is saved of a peer's defense.
#[derive(Debug)]
pub(super) struct SavedDefense {
    /// The section of the peer, with the keys of its defense as they are to be.
    pub(super) peer: Peer,
    /// The file that it names, if there is none yet: where it is to be, and its text.
    pub(super) file: Option<(PathBuf, String)>,
}

/// Returns `before`, a section of the file at `path`, with the keys that make its peer run what it runs now. Which end that
/// is follows from its endpoint, unless it says so.
///
/// What runs is said by the file's own `Defense`, or by a name of the catalogue. Machines that neither has are said by a
/// file of their own.
pub(super) fn saved_defense(path: &Path, before: &Peer, status: &PeerStatus) -> SavedDefense {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let mut peer = before.clone();
    if let Some(negotiation) = &status.negotiation {
        say_ephemeral(&mut peer, &negotiation.settings);
        return SavedDefense { peer, file: None };
    }
    if peer.defense == Some(Defense::Ephemeral) {
        peer.defense_options = peer.defense_options.of_any_defense();
    }
    let Some(running) = status.defense.as_ref().map(|defense| &defense.settings) else {
        peer.defense = peer.defense.map(|_| Defense::Off);
        return SavedDefense { peer, file: None };
    };
    let says_so = peer.defense_change(|defense| load(defense, directory));
    if matches!(&says_so, Ok(Some(DefenseChange::On(settings))) if settings == running) {
        return SavedDefense { peer, file: None };
    }
    let named = Defense::Named(running.name.clone());
    let said =
        peer.defense.iter().chain([&named]).filter(|defense| !matches!(defense, Defense::Off | Defense::Ephemeral));
    let has_it = |defense: &&Defense| load(defense, directory).is_ok_and(|found| is_of(&found, running));
    if let Some(defense) = said.cloned().collect::<Vec<_>>().iter().find(has_it) {
        return SavedDefense { peer: as_said(defense.clone(), running, peer), file: None };
    }
    match written(path, running) {
        Ok((name, file)) => SavedDefense { peer: as_said(Defense::File(name), running, peer), file },
        Err(error) => {
            tracing::warn!(
                "the defense {} of a peer cannot be said in a file, and is not saved: {error:#}",
                running.name
            );
            SavedDefense { peer, file: None }
        }
    }
}

/// Most files of one name that are looked at for one that has the machines, or is free.
const MOST_FILES: u32 = 100;

/// Returns the name of a file beside that at `path` that has `running`, and the file if it is not there yet.
fn written(path: &Path, running: &DefenseSettings) -> anyhow::Result<(PathBuf, Option<(PathBuf, String)>)> {
    let side = Side {
        machines: running.plan.machines().clone(),
        limits: maybetun_machines::Limits {
            max_padding_frac: running.plan.max_padding_frac(),
            max_blocking_frac: running.plan.max_blocking_frac(),
            max_actions_per_second: f64::from(running.plan.max_actions_per_second()),
        },
    };
    let (client, relay) = match running.role.context("its end is not known")? {
        Role::Client => (side, Side::default()),
        Role::Relay => (Side::default(), side),
    };
    let text = maybetun_machines::Defense::from_machines(&running.name, client, relay)?
        .with_texts("What one end ran when SaveConfig saved it", "")?
        .to_toml();
    let again = maybetun_machines::Defense::parse(&text)?;
    anyhow::ensure!(is_of(&again, running), "it would be read as another");
    let directory = path.parent().unwrap_or(Path::new("/"));
    // The name of the file is one of the interface, but for those that were given another.
    let stem = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| interface::parse_name(stem).ok());
    let stem = stem.unwrap_or_else(|| "saved".to_owned());
    for number in 1..=MOST_FILES {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let name = PathBuf::from(format!("{stem}-{}{number}.toml", running.name));
        let place = directory.join(&name);
        if !place.exists() {
            return Ok((name, Some((place, text))));
        }
        if load(&Defense::File(name.clone()), directory).is_ok_and(|found| is_of(&found, running)) {
            return Ok((name, None));
        }
    }
    anyhow::bail!("{MOST_FILES} files of its name are others")
}

/// Makes `peer` say `settings`. What it said already of what is the default stays said.
fn say_ephemeral(peer: &mut Peer, settings: &EphemeralSettings) {
    peer.defense = Some(Defense::Ephemeral);
    peer.defense_options = said_anew(peer, &settings.into(), &(&EphemeralSettings::default()).into());
}

/// Returns the keys in the place of those of `peer` where `now` holds, and `usual` does without a word. What end we are stays
/// unsaid where the endpoint says it.
fn said_anew(peer: &Peer, now: &DefenseOptions, usual: &DefenseOptions) -> DefenseOptions {
    let usual = DefenseOptions { role: Some(peer.usual_role()), ..usual.clone() };
    peer.defense_options.said_anew(now, &usual)
}

/// Tells whether `running` is what `defense` asks of its end, but for the user's limits and masking.
fn is_of(defense: &maybetun_machines::Defense, running: &DefenseSettings) -> bool {
    running.role.is_some_and(|role| {
        DefenseSettings::of(defense, role).limited(running.limits).masked(running.masking) == *running
    })
}

/// Makes `peer` run `running` by naming `defense`.
fn as_said(defense: Defense, running: &DefenseSettings, peer: Peer) -> Peer {
    let defense_options = said_anew(&peer, &running.options(), &DefenseOptions::default());
    Peer { defense: Some(defense), defense_options, ..peer }
}

#[cfg(test)]
mod tests {
    use maybetun::config::{self, Endpoint};
    use maybetun::keys::PublicKey;
    use maybetun::settings::{
        DefenseStatistics, DefenseStatus, Fraction, Limits, MaskingMode, MaskingSettings, NegotiationPolicy,
        NegotiationStatus, Scope, Spelling,
    };
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
        let mut file = config::parse(&text).unwrap();
        file.peers[0].endpoint = status.endpoint.map(Endpoint::Address);
        let SavedDefense { peer, .. } = saved_defense(Path::new("/no/such/wg0.conf"), &file.peers[0], &status);
        let text = config::format(&config::Config { peers: vec![peer], ..file });
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
            (peer.defense, peer.defense_options.negotiation) = match before {
                "" => (None, None),
                _ => (Some(Defense::Ephemeral), Some(NegotiationPolicy::Prefer)),
            };
            say_ephemeral(&mut peer, &settings);
            let DefenseOptions { strength, negotiation, role, .. } = peer.defense_options;
            (peer.defense, strength, negotiation, role)
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
    fn each_setting_is_saved() {
        for setting in DefenseOptions::SETTINGS {
            for example in setting.examples {
                let mut options = DefenseOptions { role: Some(Role::Relay), ..DefenseOptions::default() };
                setting.set(&mut options, example, Spelling::File).unwrap();
                let running = options.ephemeral();
                for before in ["", "Defense = ephemeral\n", "Defense = front\nDefenseMaxPaddingFrac = 0.75\n"] {
                    let keys = saved_ephemeral(before, running.clone());
                    let text = format!(
                        "[Interface]\n[Peer]\nPublicKey = {}\n{keys}",
                        PublicKey::from_bytes(&[1; 32]).unwrap()
                    );
                    let change = config::parse(&text).unwrap().peers[0].defense_change(Defense::in_catalogue).unwrap();
                    assert_eq!(change, Some(DefenseChange::Ephemeral(running.clone())), "{} = {example}", setting.key);
                }
            }
        }
    }

    #[test]
    fn each_setting_beside_a_named_defense_is_saved() {
        for setting in DefenseOptions::SETTINGS.iter().filter(|setting| setting.named_key.is_some()) {
            for example in setting.examples {
                let mut options = DefenseOptions { role: Some(Role::Relay), ..DefenseOptions::default() };
                setting.set(&mut options, example, Spelling::File).unwrap();
                let role = options.role.unwrap();
                let running = front(role).limited(options.limits()).masked(options.masking());
                let other = match setting.scope {
                    Scope::Masking => format!("Defense = front\n{} = {}\n", setting.key, setting.examples[1]),
                    Scope::Any | Scope::Limit | Scope::Ephemeral => "Defense = interspace\n".to_owned(),
                };
                for before in ["", "Defense = front\n", "Defense = ephemeral\nDefenseTier = size\n", &other] {
                    let keys = saved(before, Some(running.clone()));
                    let text = format!(
                        "[Interface]\n[Peer]\nPublicKey = {}\n{keys}",
                        PublicKey::from_bytes(&[1; 32]).unwrap()
                    );
                    let change = config::parse(&text).unwrap().peers[0].defense_change(Defense::in_catalogue).unwrap();
                    assert_eq!(change, Some(DefenseChange::On(running.clone())), "{} = {example}", setting.key);
                }
            }
        }
    }

    #[test]
    fn masking_that_was_set_is_saved_and_what_was_not_stays_unsaid() {
        let masking =
            MaskingSettings { mode: Some(MaskingMode::Adaptive), metered: Some(false), ..MaskingSettings::default() };
        let said = "Masking = adaptive\nMetered = off\n";
        let ephemeral = EphemeralSettings { role: Some(Role::Relay), masking, ..EphemeralSettings::default() };
        let named = front(Role::Relay).masked(masking);
        for masked in ["", "Masking = off\n", "Masking = adaptive\nMetered = on\nUploadRatio = 3-8%\n"] {
            let before = format!("Defense = ephemeral\n{masked}");
            assert_eq!(saved_ephemeral(&before, ephemeral.clone()), format!("Defense = ephemeral\n{said}"));
            let before = format!("Defense = front\n{masked}");
            assert_eq!(saved(&before, Some(named.clone())), format!("Defense = front\n{said}"));
        }
        // That of a defense that is off stays said.
        let before = format!("Defense = front\n{said}");
        assert_eq!(saved(&before, None), format!("Defense = off\n{said}"));
    }

    #[test]
    fn machines_that_no_file_has_get_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("wg0.conf");
        let mut unknown = front(Role::Client);
        unknown.name = "daita".to_owned();
        let status = |settings: &DefenseSettings| PeerStatus {
            defense: Some(DefenseStatus { settings: settings.clone(), statistics: DefenseStatistics::default() }),
            ..silent(PublicKey::from_bytes(&[1; 32]).unwrap())
        };
        let key = PublicKey::from_bytes(&[1; 32]).unwrap();
        let before = Peer { defense: Some(Defense::Named("front".to_owned())), ..Peer::new(key) };
        let SavedDefense { peer, file } = saved_defense(&path, &before, &status(&unknown));
        let (place, text) = file.unwrap();
        assert_eq!(peer.defense, Some(Defense::File("wg0-daita.toml".into())));
        assert_eq!(place, directory.path().join("wg0-daita.toml"));
        std::fs::write(place, text).unwrap();
        let runs = |peer: &Peer| peer.defense_change(|defense| load(defense, directory.path())).unwrap();
        assert_eq!(runs(&peer), Some(DefenseChange::On(unknown.clone())));
        // The same is not written twice, and other machines replace no file.
        let again = saved_defense(&path, &before, &status(&unknown));
        assert_eq!((again.peer.defense.clone(), again.file), (peer.defense.clone(), None));
        let mut other = front(Role::Relay);
        other.name = "daita".to_owned();
        let SavedDefense { peer, file } = saved_defense(&path, &peer, &status(&other));
        assert_eq!(peer.defense, Some(Defense::File("wg0-daita-2.toml".into())));
        let (place, text) = file.unwrap();
        std::fs::write(place, text).unwrap();
        assert_eq!(runs(&peer), Some(DefenseChange::On(other)));
    }
}

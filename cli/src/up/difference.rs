//! What a file asks of a device that runs: no more than what is otherwise there.
//!
//! As with `wg syncconf` the file decides, also against what was set since by `wg set`. Only three things are left to the
//! device: where a peer is that moved, unless the file says another endpoint than before; a defense that a command
//! switched on for a peer of which the file says none, and said none; and, unlike there, keys that the file neither gives nor
//! gave: `PostUp` set them as a rule, which is not run again, and without them the tunnel is dead.

use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;
use maybetun::config::{Config, Interface, Live, Peer};
use maybetun::keys::{PresharedKey, PrivateKey, PublicKey};
use maybetun::settings::{
    AllowedIpChange, DefenseChange, DefenseOptions, EphemeralSettings, PeerAction, PeerStatus, PeerUpdate, Status,
    Update,
};

use crate::locate::KeysGiven;

/// A change, and the lines that tell of it.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// What the device is told.
    pub(super) update: Update,
    /// One line for what is told of each part.
    pub(super) told: Vec<String>,
}

/// Returns what makes a device that is in the state `status`, by a file that said `before` and gave these keys, what `wanted` says. `wanted` is
/// what `after` asks of a device that knows nothing.
pub(super) fn difference(
    before: &Config,
    gave: &KeysGiven,
    after: &Config,
    wanted: Update,
    status: &Status,
) -> Difference {
    let mut difference = Difference::default();
    of_device(&mut difference, gave, &wanted, status);
    let owners = owners(after);
    let there: HashMap<PublicKey, &PeerStatus> = status.peers.iter().map(|peer| (peer.public_key, peer)).collect();
    let asked: BTreeSet<[u8; 32]> = after.peers.iter().map(|peer| *peer.public_key.as_bytes()).collect();
    for peer in status.peers.iter().filter(|peer| !asked.contains(peer.public_key.as_bytes())) {
        let removal = PeerUpdate { action: PeerAction::Remove, ..PeerUpdate::new(peer.public_key) };
        difference.tell(removal, &["removed"]);
    }
    // A device passes over a peer with its own key.
    let own = after.interface.private_key.as_ref().or(status.private_key.as_ref()).map(PrivateKey::public_key);
    for (peer, wanted) in after.peers.iter().zip(wanted.peers).filter(|(peer, _)| Some(peer.public_key) != own) {
        match there.get(&peer.public_key) {
            None => difference.tell(wanted, &["added"]),
            Some(status) => {
                let said = before.peers.iter().find(|before| before.public_key == peer.public_key);
                let (mut update, mut keys) = of_peer(said, peer, wanted, status, &owners);
                if peer.preshared_key.is_none() && !gave.preshared_keys.contains(&peer.public_key) {
                    update.preshared_key = None;
                    keys.retain(|key| *key != "PresharedKey");
                }
                if !keys.is_empty() {
                    difference.tell(update, &keys);
                }
            }
        }
    }
    difference
}

impl Difference {
    fn tell(&mut self, update: PeerUpdate, what: &[&str]) {
        self.told.push(format!("peer {}: {}", update.public_key, what.join(", ")));
        self.update.peers.push(update);
    }
}

fn of_device(difference: &mut Difference, gave: &KeysGiven, wanted: &Update, status: &Status) {
    let Difference { update, told } = difference;
    let is_other = |key: &&Option<PrivateKey>| **key != status.private_key && (key.is_some() || gave.private_key);
    if wanted.private_key.as_ref().filter(is_other).is_some() {
        update.private_key.clone_from(&wanted.private_key);
        told.push("PrivateKey".to_owned());
    }
    let fixed = if status.is_port_fixed { status.listen_port } else { 0 };
    if wanted.listen_port.is_some_and(|port| port != fixed) {
        update.listen_port = wanted.listen_port;
        told.push("ListenPort".to_owned());
    }
    if wanted.fwmark.is_some_and(|mark| mark != status.fwmark) {
        update.fwmark = wanted.fwmark;
        told.push("FwMark".to_owned());
    }
}

/// Returns whose each prefix is: that of the last peer that names it.
fn owners(config: &Config) -> HashMap<IpNet, PublicKey> {
    config.peers.iter().flat_map(|peer| peer.allowed_ips.iter().map(|prefix| (*prefix, peer.public_key))).collect()
}

/// Returns what changes of a peer that is there, and the keys of the file that say so.
fn of_peer(
    before: Option<&Peer>,
    after: &Peer,
    wanted: PeerUpdate,
    status: &PeerStatus,
    owners: &HashMap<IpNet, PublicKey>,
) -> (PeerUpdate, Vec<&'static str>) {
    let mut update = PeerUpdate { action: PeerAction::UpdateOnly, ..PeerUpdate::new(after.public_key) };
    let mut keys = Vec::new();
    if wanted.preshared_key != status.preshared_key {
        update.preshared_key = Some(wanted.preshared_key.unwrap_or_else(|| PresharedKey::from_bytes(&[0; 32])));
        keys.push("PresharedKey");
    }
    let allowed_ips = changed_prefixes(after, status, owners);
    if !allowed_ips.is_empty() {
        update.allowed_ips = allowed_ips;
        keys.push("AllowedIPs");
    }
    if is_endpoint_new(before, after) {
        update.endpoint = wanted.endpoint;
        keys.push("Endpoint");
    }
    let keepalive = wanted.persistent_keepalive.unwrap_or(0);
    if keepalive != status.persistent_keepalive {
        update.persistent_keepalive = Some(keepalive);
        keys.push("PersistentKeepalive");
    }
    let was_said = before.is_some_and(|before| before.defense.is_some());
    let defense = wanted.defense.or_else(|| was_said.then_some(DefenseChange::Off));
    if let Some(defense) = defense.filter(|defense| !runs(status, defense)) {
        keys.extend(changed_masking(status, &defense).unwrap_or_else(|| vec!["Defense"]));
        update.defense = Some(defense);
    }
    (update, keys)
}

fn changed_prefixes(after: &Peer, status: &PeerStatus, owners: &HashMap<IpNet, PublicKey>) -> Vec<AllowedIpChange> {
    let there: BTreeSet<IpNet> = status.allowed_ips.iter().copied().collect();
    let is_ours = |prefix: &IpNet| owners.get(prefix) == Some(&after.public_key);
    let wanted: BTreeSet<IpNet> = after.allowed_ips.iter().copied().filter(is_ours).collect();
    // What another peer gets is taken by that.
    let gone = there.difference(&wanted).filter(|prefix| !owners.contains_key(prefix));
    let removed = gone.copied().map(AllowedIpChange::Remove);
    removed.chain(wanted.difference(&there).copied().map(AllowedIpChange::Add)).collect()
}

/// Tells whether the file says another endpoint than before. One that is said no more stays, as learnt.
pub(super) fn is_endpoint_new(before: Option<&Peer>, after: &Peer) -> bool {
    after.endpoint.is_some() && before.is_none_or(|before| before.endpoint != after.endpoint)
}

/// Tells whether a peer runs this already.
fn runs(status: &PeerStatus, change: &DefenseChange) -> bool {
    let (agreed, running) = (status.negotiation.as_ref(), status.defense.as_ref());
    match change {
        DefenseChange::Off => agreed.is_none() && running.is_none(),
        DefenseChange::On(settings) => agreed.is_none() && running.is_some_and(|running| running.settings == *settings),
        DefenseChange::Ephemeral(settings) => agreed.is_some_and(|agreed| agreed.settings == *settings),
        DefenseChange::Renew => false,
    }
}

/// Returns the keys of masking that change; `None` if anything else of the defense does, too.
fn changed_masking(status: &PeerStatus, change: &DefenseChange) -> Option<Vec<&'static str>> {
    let (before, after) = match (change, &status.negotiation, &status.defense) {
        (DefenseChange::Ephemeral(settings), Some(agreed), _) => {
            let running = EphemeralSettings { masking: settings.masking, ..agreed.settings.clone() };
            (running == *settings).then(|| (DefenseOptions::from(&agreed.settings), settings.into()))?
        }
        (DefenseChange::On(settings), None, Some(running)) => {
            let is_masking = running.settings.is_but_for_masking(settings);
            is_masking.then(|| (running.settings.options(), settings.options()))?
        }
        (DefenseChange::Ephemeral(_) | DefenseChange::On(_) | DefenseChange::Off | DefenseChange::Renew, _, _) => {
            return None;
        }
    };
    let changed = DefenseOptions::SETTINGS.iter().filter(|setting| setting.get(&before) != setting.get(&after));
    Some(changed.map(|setting| setting.key).collect())
}

/// Returns the keys of `[Interface]` that are the command's to apply, as far as they changed.
pub(super) fn changed_keys(before: &Interface, after: &Interface) -> Vec<&'static str> {
    // No mark and the mark 0 are one.
    let marked = |interface: &Interface| Interface { fwmark: interface.fwmark.or(Some(0)), ..interface.clone() };
    marked(before).changed(&marked(after), Live::Command)
}

/// Returns what a running tunnel cannot take from its file, as warnings.
pub(super) fn kept(before: &Interface, after: &Interface) -> Option<String> {
    let kept = before.changed(after, Live::Kept);
    (!kept.is_empty())
        .then(|| format!("{} cannot be changed while the tunnel runs: kept until the next `up`", kept.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::io;

    use maybetun::config;
    use maybetun::settings::{DefenseStatus, NegotiationStatus, Scope};

    use super::*;
    use crate::status::tests_support::silent;

    const HEAD: &str = "[Interface]\nPrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\nListenPort = 7\n";
    const ONE: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";
    const TWO: &str = "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM=";
    const KEYS: [(&str, &str); 4] = [
        ("PresharedKey", "BAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ="),
        ("AllowedIPs", "10.0.0.0/8, fd00::/64"),
        ("Endpoint", "192.0.2.1:9"),
        ("PersistentKeepalive", "25"),
    ];

    fn peer(key: &str, says: &[(&str, &str)]) -> String {
        let says: String = says.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("[Peer]\nPublicKey = {key}\n{says}")
    }

    fn parse(peers: &[String]) -> Config {
        config::parse(&(HEAD.to_owned() + &peers.concat())).unwrap()
    }

    fn asked(config: &Config) -> Update {
        let resolve = |endpoint: &config::Endpoint| match endpoint {
            config::Endpoint::Address(address) => Ok(*address),
            config::Endpoint::Host { .. } => Err(io::ErrorKind::NotFound.into()),
        };
        config.to_update(resolve, |defense| defense.in_catalogue()).unwrap()
    }

    /// The state of a device that was just told what the file says.
    fn state(config: &Config) -> Status {
        let update = asked(config);
        let owners = owners(config);
        let peers = update.peers.into_iter().zip(&config.peers).map(|(update, said)| {
            let mut status = silent(update.public_key);
            (status.preshared_key, status.endpoint) = (update.preshared_key, update.endpoint);
            status.persistent_keepalive = update.persistent_keepalive.unwrap_or(0);
            let ours = said.allowed_ips.iter().filter(|prefix| owners[prefix] == said.public_key);
            status.allowed_ips = ours.copied().collect();
            match update.defense {
                Some(DefenseChange::On(settings)) => {
                    status.defense = Some(DefenseStatus { settings, statistics: Default::default() });
                }
                Some(DefenseChange::Ephemeral(settings)) => {
                    status.negotiation = Some(NegotiationStatus { settings, epoch: None, renewals: 0 });
                }
                Some(DefenseChange::Off | DefenseChange::Renew) | None => {}
            }
            status
        });
        Status {
            private_key: update.private_key.unwrap(),
            listen_port: 7,
            is_port_fixed: true,
            fwmark: 0,
            peers: peers.collect(),
            ..Status::default()
        }
    }

    fn between(before: &Config, after: &Config) -> Difference {
        difference(before, &KeysGiven::by(before), after, asked(after), &state(before))
    }

    #[test]
    fn a_file_that_says_the_same_changes_nothing() {
        let defense = [("Defense", "front"), ("Endpoint", "192.0.2.1:9")];
        let same = parse(&[peer(ONE, &KEYS), peer(TWO, &defense)]);
        let Difference { update, told } = between(&same, &same);
        assert_eq!((update, told), (Update::default(), Vec::<String>::new()));
    }

    #[test]
    fn each_key_of_a_peer_changes_alone_and_disturbs_no_other() {
        let before = parse(&[peer(ONE, &KEYS), peer(TWO, &[])]);
        let others = [
            ("PresharedKey", TWO),
            ("AllowedIPs", "10.0.0.0/8"),
            ("Endpoint", "192.0.2.2:9"),
            ("PersistentKeepalive", "off"),
            ("Defense", "front"),
        ];
        for (key, value) in others {
            let says = KEYS.into_iter().filter(|(other, _)| *other != key).chain([(key, value)]).collect::<Vec<_>>();
            let after = parse(&[peer(ONE, &says), peer(TWO, &[])]);
            let Difference { update, told } = between(&before, &after);
            assert_eq!(told, [format!("peer {ONE}: {key}")]);
            let [only] = &update.peers[..] else { panic!("{update:?}") };
            assert_eq!((only.action, only.replace_allowed_ips), (PeerAction::UpdateOnly, false));
            let said = [
                only.preshared_key.is_some(),
                !only.allowed_ips.is_empty(),
                only.endpoint.is_some(),
                only.persistent_keepalive.is_some(),
                only.defense.is_some(),
            ];
            assert_eq!(said.map(usize::from).iter().sum::<usize>(), 1, "{key}: {only:?}");
        }
    }

    #[test]
    fn keys_of_masking_change_masking_alone() {
        let says = |defense, masking: Option<(&'static str, &'static str)>| {
            let endpoint = ("Endpoint", "192.0.2.1:9");
            parse(&[peer(ONE, &[("Defense", defense), endpoint].into_iter().chain(masking).collect::<Vec<_>>())])
        };
        let masking = DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Masking);
        for (setting, example) in masking.flat_map(|setting| setting.examples.iter().map(move |text| (setting, text))) {
            for defense in ["front", "ephemeral"] {
                let (without, with) = (says(defense, None), says(defense, Some((setting.key, example))));
                for (before, after) in [(&without, &with), (&with, &without)] {
                    let Difference { update, told } = between(before, after);
                    assert_eq!(told, [format!("peer {ONE}: {}", setting.key)]);
                    // But for masking, what is told is what runs.
                    let change = update.peers[0].defense.clone().unwrap();
                    let masked = |settings: &EphemeralSettings| EphemeralSettings {
                        masking: Default::default(),
                        ..settings.clone()
                    };
                    let status = state(before).peers.remove(0);
                    match (&change, status.negotiation, status.defense) {
                        (DefenseChange::Ephemeral(settings), Some(agreed), _) => {
                            assert_eq!(masked(settings), masked(&agreed.settings));
                        }
                        (DefenseChange::On(settings), None, Some(running)) => {
                            assert!(running.settings.is_but_for_masking(settings));
                        }
                        others => panic!("{others:?}"),
                    }
                }
            }
            // With another defense, that is what changes.
            let other = between(&says("ephemeral", None), &says("front", Some((setting.key, example))));
            assert_eq!(other.told, [format!("peer {ONE}: Defense")]);
        }
    }

    #[test]
    fn the_file_wins_over_masking_that_a_command_has_set() {
        let says =
            |mode| parse(&[peer(ONE, &[("Defense", "ephemeral"), ("Endpoint", "192.0.2.1:9"), ("Masking", mode)])]);
        let (file, set) = (says("off"), says("adaptive"));
        let Difference { update, told } = difference(&file, &KeysGiven::by(&file), &file, asked(&file), &state(&set));
        assert_eq!(told, [format!("peer {ONE}: Masking")]);
        assert_eq!(update.peers[0].defense, asked(&file).peers[0].defense);
    }

    #[test]
    fn what_a_file_says_no_more_goes_back_to_its_default_but_for_the_endpoint() {
        let before = parse(&[peer(ONE, &KEYS)]);
        let Difference { update, .. } = between(&before, &parse(&[peer(ONE, &[])]));
        let [only] = &update.peers[..] else { panic!("{update:?}") };
        assert!(only.preshared_key.as_ref().is_some_and(PresharedKey::is_zero));
        assert_eq!((only.persistent_keepalive, only.endpoint), (Some(0), None));
        assert_eq!(only.allowed_ips.len(), 2);
        assert!(only.allowed_ips.iter().all(|change| matches!(change, AllowedIpChange::Remove(_))));
    }

    #[test]
    fn peers_come_and_go() {
        let (one, two) = (parse(&[peer(ONE, &KEYS)]), parse(&[peer(TWO, &KEYS)]));
        let Difference { update, told } = between(&one, &two);
        assert_eq!(told, [format!("peer {ONE}: removed"), format!("peer {TWO}: added")]);
        assert_eq!(update.peers[0].action, PeerAction::Remove);
        assert_eq!(update.peers[1], asked(&two).peers[0]);
        assert!(!update.replace_peers);
    }

    #[test]
    fn a_prefix_that_two_name_stays_the_last_ones() {
        let same = parse(&[peer(ONE, &[("AllowedIPs", "10.0.0.0/8")]), peer(TWO, &[("AllowedIPs", "10.0.0.0/8")])]);
        assert_eq!(between(&same, &same).told, Vec::<String>::new());
        let other = parse(&[peer(TWO, &[("AllowedIPs", "10.0.0.0/8")]), peer(ONE, &[("AllowedIPs", "10.0.0.0/8")])]);
        let Difference { update, told } = between(&same, &other);
        assert_eq!(told, [format!("peer {ONE}: AllowedIPs")]);
        assert_eq!(update.peers[0].allowed_ips, [AllowedIpChange::Add("10.0.0.0/8".parse().unwrap())]);
    }

    #[test]
    fn the_file_wins_over_what_was_set_meanwhile_but_for_where_a_peer_is() {
        let same = parse(&[peer(ONE, &KEYS)]);
        let mut status = state(&same);
        status.peers[0].preshared_key = None;
        status.peers[0].endpoint = Some("198.51.100.7:7".parse().unwrap());
        (status.listen_port, status.fwmark) = (8, 9);
        let Difference { update, told } = difference(&same, &KeysGiven::by(&same), &same, asked(&same), &status);
        assert_eq!(told, ["ListenPort".to_owned(), "FwMark".to_owned(), format!("peer {ONE}: PresharedKey")]);
        assert_eq!((update.listen_port, update.fwmark), (Some(7), Some(0)));
        assert_eq!(update.peers[0].endpoint, None);
    }

    #[test]
    fn a_defense_that_a_command_switched_on_stays_until_a_file_has_said_something() {
        let silent = parse(&[peer(ONE, &[])]);
        let front = parse(&[peer(ONE, &[("Defense", "front")])]);
        assert_eq!(
            difference(&silent, &KeysGiven::default(), &silent, asked(&silent), &state(&front)).told,
            Vec::<String>::new()
        );
        let Difference { update, .. } = between(&front, &silent);
        assert_eq!(update.peers[0].defense, Some(DefenseChange::Off));
    }

    #[test]
    fn keys_that_no_file_gave_stay_and_those_that_one_gave_go_with_it() {
        let [with, without] = [HEAD, "[Interface]\nListenPort = 7\n"].map(|head| {
            let keys = if head == HEAD { &KEYS[..] } else { &KEYS[1..] };
            config::parse(&(head.to_owned() + &peer(ONE, keys))).unwrap()
        });
        let says_nothing = KeysGiven::default();
        let left = difference(&without, &says_nothing, &without, asked(&without), &state(&with));
        assert_eq!((left.update, left.told), (Update::default(), Vec::<String>::new()));
        let Difference { update, told } = between(&with, &without);
        assert_eq!(told, ["PrivateKey".to_owned(), format!("peer {ONE}: PresharedKey")]);
        assert!(update.private_key == Some(None) && update.peers[0].preshared_key.as_ref().unwrap().is_zero());
        let other = config::parse(&(HEAD.to_owned() + &peer(ONE, &[("PresharedKey", TWO)]))).unwrap();
        let told = difference(&without, &says_nothing, &other, asked(&other), &state(&with)).told;
        assert!(told[0].contains("PresharedKey"), "a file that gives a key decides: {told:?}");
    }

    #[test]
    fn what_cannot_change_is_named() {
        let says = |more: &str| config::parse(&(HEAD.to_owned() + more)).unwrap().interface;
        let kept = |after: &str| kept(&says(""), &says(after));
        assert_eq!(kept("MTU = 1300\n"), None);
        let warning = kept("MaxPaddingRate = 5\nHandshakesPerSecond = 5\n").unwrap();
        assert!(warning.starts_with("MaxPaddingRate, HandshakesPerSecond cannot"), "{warning}");
    }
}

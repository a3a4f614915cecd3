use super::*;
use crate::documents;

#[test]
fn names_are_found_in_any_case() {
    assert_eq!(Section::from_name("iNTERFACE"), Some(Section::Interface));
    assert_eq!(Section::from_name("Defence"), None);
    for (name, found) in [
        ("dns", Some((Section::Interface, "DNS"))),
        ("allowedips", Some((Section::Peer, "AllowedIPs"))),
        ("DEFENSETIER", Some((Section::Peer, "DefenseTier"))),
        ("AllowedIP", None),
    ] {
        assert_eq!(Key::find(name).map(|key| (key.section(), key.name())), found);
    }
}

#[test]
fn a_mistyped_key_and_that_of_another_program_are_recognized() {
    for (name, key) in [
        ("AllowedIP", Some("AllowedIPs")),
        ("Adress", Some("Address")),
        ("keepalive", Some("PersistentKeepalive")),
        ("FirewallMark", Some("FwMark")),
        ("Defence", Some("Defense")),
        ("Unheard", None),
    ] {
        assert_eq!(meant(name), key, "{name}");
    }
}

#[test]
fn the_documents_have_a_row_for_each_key_and_no_other() {
    for section in [Section::Interface, Section::Peer] {
        let rows = Key::all().filter(|key| key.section() == section).map(|key| {
            let About { name, takes, without, .. } = key.about();
            let scope = match key {
                Key::Defense(Setting { scope: Scope::Ephemeral, .. }) => "with `ephemeral`: ",
                Key::Interface(_) | Key::Peer(_) | Key::Defense(_) => "",
            };
            format!("| `{name}` | {scope}{takes} | {without} |\n")
        });
        let rows: String = rows.collect();
        let head = "| key | takes | without it |\n|---|---|---|\n";
        documents::hold("docs/configuration.md", &format!("rows: {}", section.name()), &format!("{head}{rows}"));
    }
}

#[test]
fn the_documents_tell_where_else_a_setting_is_said() {
    let mut table = "| key | flag of `defense … on` | configuration socket | JSON |\n|---|---|---|---|\n".to_owned();
    for setting in DefenseOptions::SETTINGS {
        let Setting { key, flag, named_key, ephemeral_key, member, json, scope, .. } = setting;
        let keys: Vec<_> = named_key.iter().chain([ephemeral_key]).map(|key| format!("`{key}`")).collect();
        let object = match scope {
            Scope::Any => "",
            Scope::Limit => "limits.",
            Scope::Masking => "masking_settings.",
            Scope::Ephemeral => "negotiation.",
        };
        table += &format!("| `{key}` | `--{flag}` | {} | `{object}{member}`: {json} |\n", keys.join(", "));
    }
    documents::hold("docs/configuration.md", "settings", &table);
}

#[test]
fn what_holds_without_a_setting_is_told_as_it_is() {
    for setting in DefenseOptions::SETTINGS {
        if let Some(default) = setting.default() {
            assert_eq!(setting.without.trim_matches('`'), default.spell(Spelling::File), "{}", setting.key);
        }
    }
}

/// Each field is here, so that one without a key is not forgotten.
#[test]
fn every_field_of_the_interface_has_a_key() {
    let text: String = interface::KEYS
        .iter()
        .map(|key| {
            let value = match key.about.name {
                "PrivateKey" => "CAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=",
                "Address" | "KillSwitchAllow" => "10.0.0.0/8",
                "DNS" => "10.0.0.1, corp.example",
                "SaveConfig" => "true",
                "KillSwitch" => "on",
                "PreUp" | "PostUp" | "PreDown" | "PostDown" => "true",
                _ => "1420",
            };
            format!("{} = {value}\n", key.about.name)
        })
        .collect();
    let config = super::super::parse(format!("[Interface]\n{text}")).unwrap();
    let usual = Interface::default();
    let Interface {
        private_key,
        listen_port,
        fwmark,
        addresses,
        dns_servers,
        dns_search,
        mtu,
        table,
        max_padding_rate,
        handshakes_per_second,
        pre_up,
        post_up,
        pre_down,
        post_down,
        save_config,
        kill_switch,
        kill_switch_allow,
    } = config.interface.clone();
    assert!(private_key.is_some() && listen_port.is_some() && fwmark.is_some() && mtu.is_some());
    assert!(!addresses.is_empty() && !dns_servers.is_empty() && !dns_search.is_empty() && table != usual.table);
    assert!(max_padding_rate.is_some() && handshakes_per_second.is_some() && save_config && kill_switch);
    assert!(
        [pre_up, post_up, pre_down, post_down].iter().all(|hooks| hooks.len() == 1) && !kill_switch_allow.is_empty()
    );
    // What is said is read again.
    assert_eq!(super::super::parse(super::super::format(&config).as_bytes()).unwrap().interface.addresses, addresses);
    let changed = |live| usual.changed(&config.interface, live);
    assert_eq!(changed(Live::Kept), ["MaxPaddingRate", "HandshakesPerSecond"]);
    assert_eq!(changed(Live::Device), ["PrivateKey", "ListenPort"]);
    let all: usize =
        [Live::Device, Live::Command, Live::Kept, Live::AtStart].map(|live| changed(live).len()).iter().sum();
    assert_eq!(all, interface::KEYS.len());
}

#[test]
fn every_setting_of_a_defense_is_read_as_it_is_said() {
    for setting in DefenseOptions::SETTINGS {
        for example in setting.examples {
            let text = format!(
                "[Interface]\n[Peer]\nPublicKey = AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\nDefense = ephemeral\n{} = {example}\n",
                setting.key
            );
            let config = super::super::parse(&text).unwrap();
            assert!(setting.get(&config.peers[0].defense_options).is_some());
            assert_eq!(super::super::parse(super::super::format(&config).as_bytes()).unwrap(), config, "{text}");
        }
    }
}

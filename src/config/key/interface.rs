//! The keys of `[Interface]`, a row each: who reads it beside us, whether it is a list, how a tunnel that runs takes another
//! value, what the documents say, how it is read, and how it is said.

use std::fmt::Display;

use zeroize::Zeroizing;

use super::super::value::{self, Dns};
use super::super::{Hook, Table};
use super::{InterfaceKey, Live, Say, Value};

macro_rules! keys {
    ($($name:literal {
        $reader:ident, $list:ident, $live:ident,
        takes: $takes:literal,
        without: $without:literal,
        set: |$set:ident, $value:ident| $read:expr,
        say: |$said:ident, $say:ident| $tell:expr,
    })*) => {
        pub(super) const KEYS: &[InterfaceKey] = &[$(InterfaceKey {
            about: about!($name, $reader, $list, $takes, $without),
            live: Live::$live,
            set: |$set, $value| {
                $read;
                Ok(())
            },
            say: |$said, $say| $tell,
        }),*];
    };
}

keys! {
    "PrivateKey" {
        Wg, No, Device,
        takes: "32 bytes in base64; not zeros",
        without: "the tunnel is up, and nothing crosses it until `wg set` gives one",
        set: |interface, value| interface.private_key = Some(value::private_key(value.text)?),
        say: |interface, say| if let Some(key) = &interface.private_key {
            say(&Zeroizing::new(key.to_base64()).as_str());
        },
    }
    "ListenPort" {
        Wg, No, Device,
        takes: "a UDP port, 0 to 65535; 0 is any",
        without: "any, another one on each network",
        set: |interface, value| interface.listen_port = Some(value::listen_port(value.text)?),
        say: |interface, say| say_if(interface.listen_port, say),
    }
    "FwMark" {
        Wg, No, Command,
        takes: "a 32-bit number, decimal or `0x`; `off` or 0 for none",
        without: "a mark of its own where there is a default route or a kill switch",
        set: |interface, value| interface.fwmark = Some(value::fwmark(value.text)?),
        say: |interface, say| say_if(interface.fwmark.map(|mark| format!("{mark:#x}")), say),
    }
    "Address" {
        WgQuick, Set, Command,
        takes: "addresses with prefix lengths, by commas; may stand several times",
        without: "none",
        set: |interface, value| interface.addresses.extend(value::addresses(value.text)?),
        say: |interface, say| say_all(&interface.addresses, say),
    }
    "DNS" {
        WgQuick, Sequence, Command,
        takes: "addresses of resolvers and search domains, by commas; may stand several times. A domain with `~` is only for routing",
        without: "the host's",
        set: |interface, value| for item in value::dns(value.text)? {
            match item {
                Dns::Server(server) => interface.dns_servers.push(server),
                Dns::Search(domain) => interface.dns_search.push(domain),
            }
        },
        say: |interface, say| {
            say_all(&interface.dns_servers, say);
            say_all(&interface.dns_search, say);
        },
    }
    "MTU" {
        WgQuick, No, Command,
        takes: "576 to 65535 bytes, 1280 at least with IPv6",
        without: "what the path to the peers leaves; with one peer it follows that",
        set: |interface, value| interface.mtu = value::mtu(value.text)?,
        say: |interface, say| say_if(interface.mtu, say),
    }
    "Table" {
        WgQuick, No, Command,
        takes: "a routing table's number or name; `auto`; `off` for no routes",
        without: "`auto`",
        set: |interface, value| interface.table = value::table(value.text, value.tables)?,
        say: |interface, say| match interface.table {
            Table::Auto => {}
            Table::Off => say(&"off"),
            Table::Number(number) => say(&number),
        },
    }
    "MaxPaddingRate" {
        Ours, No, Kept,
        takes: "bytes a second that padding to all peers together may take, as IP packets with all headers; 0 is no limit",
        without: "268435456",
        set: |interface, value| interface.max_padding_rate = Some(value::padding_rate(value.text)?),
        say: |interface, say| say_if(interface.max_padding_rate, say),
    }
    "HandshakesPerSecond" {
        Ours, No, Kept,
        takes: "handshake messages a second from which on the interface is under load; 0 asks everybody for a cookie",
        without: "100, or one for 20 peers if that is more",
        set: |interface, value| interface.handshakes_per_second = Some(value::message_rate(value.text)?),
        say: |interface, say| say_if(interface.handshakes_per_second, say),
    }
    "PreUp" {
        WgQuick, Sequence, AtStart,
        takes: "a command, run with `--allow-hooks` only; `%i` is the interface. May stand several times",
        without: "none",
        set: |interface, value| interface.pre_up.extend(hook(value)),
        say: |interface, say| say_hooks(&interface.pre_up, say),
    }
    "PostUp" {
        WgQuick, Sequence, AtStart,
        takes: "the same",
        without: "none",
        set: |interface, value| interface.post_up.extend(hook(value)),
        say: |interface, say| say_hooks(&interface.post_up, say),
    }
    "PreDown" {
        WgQuick, Sequence, Command,
        takes: "the same",
        without: "none",
        set: |interface, value| interface.pre_down.extend(hook(value)),
        say: |interface, say| say_hooks(&interface.pre_down, say),
    }
    "PostDown" {
        WgQuick, Sequence, Command,
        takes: "the same",
        without: "none",
        set: |interface, value| interface.post_down.extend(hook(value)),
        say: |interface, say| say_hooks(&interface.post_down, say),
    }
    "SaveConfig" {
        WgQuick, No, Command,
        takes: "`true` or `false`: [what changed while the tunnel was up](relay.md) is saved when it ends",
        without: "`false`",
        set: |interface, value| interface.save_config = value::save_config(value.text)?,
        say: |interface, say| say_if(interface.save_config.then_some(true), say),
    }
    "KillSwitch" {
        Ours, No, Command,
        takes: "`on` or `off`: [nothing leaves but the tunnel](kill-switch.md)",
        without: "`off`",
        set: |interface, value| interface.kill_switch = value::on_or_off(value.text)?,
        say: |interface, say| say_if(interface.kill_switch.then_some("on"), say),
    }
    "KillSwitchAllow" {
        Ours, Sequence, Command,
        takes: "networks that it lets through, by commas; may stand several times",
        without: "none",
        set: |interface, value| interface.kill_switch_allow.extend(value::kill_switch_allow(value.text)?),
        say: |interface, say| say_all(&interface.kill_switch_allow, say),
    }
}

fn say_if(value: Option<impl Display>, say: Say<'_>) {
    if let Some(value) = value {
        say(&value);
    }
}

fn say_all(values: &[impl Display], say: Say<'_>) {
    values.iter().for_each(|value| say(value));
}

fn say_hooks(hooks: &[Hook], say: Say<'_>) {
    hooks.iter().for_each(|hook| say(&hook.command));
}

/// Returns a hook; `None` of an empty one, which does nothing.
fn hook(value: Value<'_>) -> Option<Hook> {
    (!value.text.is_empty()).then(|| Hook { line: value.line, command: value.text.to_owned() })
}

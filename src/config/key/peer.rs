//! The keys of `[Peer]` but for those of a defense, a row each, as for `[Interface]`; and a section as it is read.

use zeroize::Zeroizing;

use super::super::Peer;
use super::super::value::{self, AllowedIps, Invalid};
use super::PeerKey;
use crate::keys::{PresharedKey, PublicKey};
use crate::settings::{AllowedIpChange, Setting, Spelling};

/// Everything of a [`Peer`] except that its key may be missing.
pub(in crate::config) struct PeerSection {
    pub(in crate::config) public_key: Option<PublicKey>,
    /// What is said of the preshared key; inside, `None` is that there is to be none.
    pub(in crate::config) preshared_key: Option<Option<PresharedKey>>,
    pub(in crate::config) allowed_ips: AllowedIps,
    pub(in crate::config) changes: Vec<AllowedIpChange>,
    pub(in crate::config) rest: Peer,
}

impl PeerSection {
    pub(in crate::config) fn new() -> Self {
        Self {
            public_key: None,
            preshared_key: None,
            allowed_ips: AllowedIps::Whole,
            changes: Vec::new(),
            rest: Peer::new(PublicKey::BASE_POINT),
        }
    }

    /// Takes a setting of a defense.
    pub(in crate::config) fn set_option<'a>(&mut self, setting: &Setting, found: &'a str) -> Result<(), Invalid<'a>> {
        setting
            .set(&mut self.rest.defense_options, &found.to_ascii_lowercase(), Spelling::File)
            .map_err(|expected| Invalid::Plain { expected, found })
    }
}

macro_rules! keys {
    ($($name:literal {
        $reader:ident, $list:ident,
        takes: $takes:literal,
        without: $without:literal,
        set: |$set:ident, $value:ident| $read:expr,
        say: |$said:ident, $say:ident| $tell:expr,
    })*) => {
        pub(super) const KEYS: &[PeerKey] = &[$(PeerKey {
            about: about!($name, $reader, $list, $takes, $without),
            set: |$set, $value| {
                $read;
                Ok(())
            },
            say: |$said, $say| {
                $tell;
            },
        }),*];
    };
}

keys! {
    "PublicKey" {
        Wg, No,
        takes: "32 bytes in base64; none of small order",
        without: "an error",
        set: |peer, value| peer.public_key = Some(value::public_key(value)?),
        say: |peer, say| say(&peer.public_key),
    }
    "PresharedKey" {
        Wg, No,
        takes: "32 bytes in base64; zeros are none",
        without: "none",
        set: |peer, value| peer.preshared_key = Some(value::preshared_key(value)?),
        say: |peer, say| if let Some(key) = &peer.preshared_key {
            say(&Zeroizing::new(key.to_base64()).as_str())
        },
    }
    "AllowedIPs" {
        Wg, Set,
        takes: "networks, by commas; may stand several times. `+` and `-` before one add or take away; an empty value is none",
        without: "none",
        set: |peer, value| {
            let (kind, changes) = value::allowed_ips(value)?;
            peer.allowed_ips = kind;
            peer.changes.extend(changes)
        },
        say: |peer, say| peer.allowed_ips.iter().for_each(|prefix| say(prefix)),
    }
    "Endpoint" {
        Wg, No,
        takes: "`ADDRESS:PORT`, `[IPv6]:PORT` (with `%zone`), or `NAME:PORT`, which is looked up; the port is not 0",
        without: "it is learnt from the peer's datagrams",
        set: |peer, value| peer.rest.endpoint = Some(value::endpoint(value)?),
        say: |peer, say| peer.endpoint.iter().for_each(|endpoint| say(endpoint)),
    }
    "PersistentKeepalive" {
        Wg, No,
        takes: "seconds of silence after which a keepalive is sent, 1 to 65535; `off` or 0 for never",
        without: "never",
        set: |peer, value| peer.rest.persistent_keepalive = Some(value::persistent_keepalive(value)?),
        say: |peer, say| peer.persistent_keepalive.iter().for_each(|seconds| say(seconds)),
    }
    "Defense" {
        Ours, No,
        takes: "`ephemeral`; a name that `maybetun machines list` prints; a path (with a `/`, or ending in `.toml`; relative to the file's directory); `off`",
        without: "`off`",
        set: |peer, value| peer.rest.defense = Some(value::defense(value)?),
        say: |peer, say| peer.defense.iter().for_each(|defense| say(defense)),
    }
}

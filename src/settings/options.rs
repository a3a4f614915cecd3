//! The settings of a defense, a row each: the row is all that any surface needs to know of one.
//!
//! Files, the configuration socket, the command line, `status`, SaveConfig and the tables of the documents go through
//! [`DefenseOptions::SETTINGS`]. A new setting is a row here, and what the tunnel makes of its field.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::value::{
    ALLOWANCE, BAND, BYTE_RATE, FRACTION, MASKING, POLICY, RENEWAL, ROLE, STRENGTH, SWITCH, Spelling, TIER, Value,
};
use super::{Fraction, NegotiationPolicy, Role, Strength, Tier};
use crate::masking::{Allowance, Band, MaskingMode, Terms};
use crate::negotiation::DEFAULT_RENEWAL;

/// Bytes a second that padding to one peer may take, unless the user says otherwise: IP packets with all their headers.
/// Twice what any of 1,680 draws had sent in a second of a page load or a fast transfer: 6,270 packets
/// (`maybetun-machines`, example `measure-rates`).
pub const DEFAULT_MAX_PADDING_RATE: u64 = 16 << 20;

/// A setting of a defense: what is to be known of it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in a file.
    pub key: &'static str,
    /// Its key on the configuration socket beside a defense with machines, if it may stand there.
    pub named_key: Option<&'static str>,
    /// Its key on the configuration socket beside a defense by agreement.
    pub ephemeral_key: &'static str,
    /// Its member in JSON.
    pub member: &'static str,
    /// Its flag on the command line.
    pub flag: &'static str,
    /// What it is, as a part of a sentence.
    pub about: &'static str,
    /// What else the help of its flag says.
    pub more: Option<&'static str>,
    /// What holds if it is not said, in words.
    pub without: &'static str,
    /// How a text tells of it.
    pub told: SettingTold,
    /// Which defenses have it.
    pub scope: Scope,
    /// What takes the place of its value in a usage.
    pub values: &'static str,
    /// What is expected of its value.
    pub expected: &'static str,
    /// What JSON has of it.
    pub json: &'static str,
    /// Values that it takes.
    pub examples: &'static [&'static str],
    default: Option<fn() -> Value>,
    set: fn(&mut DefenseOptions, &str, Spelling) -> Option<()>,
    get: fn(&DefenseOptions) -> Option<Value>,
}

/// Which defenses have a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Every one.
    Any,
    /// Every one: it is a limit of the user's.
    Limit,
    /// Every one: it is about masking.
    Masking,
    /// Those that both ends draw by agreement.
    Ephemeral,
}

/// How a text tells of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingTold {
    /// Of a limit, unless it is 0: what is limited, and the limit with `{}` for its value.
    Limit(&'static str, &'static str),
    /// In words, with `{}` for its value.
    Words(&'static str),
    /// In these words, if it is off.
    IfOff(&'static str),
    /// Elsewhere.
    Elsewhere,
}

impl Setting {
    /// Takes a value into `options`.
    ///
    /// # Errors
    /// What the setting takes instead.
    pub fn set(&self, options: &mut DefenseOptions, text: &str, spelling: Spelling) -> Result<(), &'static str> {
        (self.set)(options, text, spelling).ok_or(self.expected)
    }

    /// Returns what `options` say of the setting, if they do.
    pub fn get(&self, options: &DefenseOptions) -> Option<Value> {
        (self.get)(options)
    }

    /// Returns what holds if it is not said; `None` if that depends on the peer.
    pub fn default(&self) -> Option<Value> {
        self.default.map(|default| default())
    }
}

macro_rules! settings {
    (
        role { $($role_row:tt)* }
        limits { $($(#[$limit_about:meta])* $limit:ident: $limit_type:ty as $limit_kind:ident = $limit_default:expr, { $($limit_row:tt)* })* }
        masking { $($(#[$masking_about:meta])* $masking:ident: $masking_type:ty as $masking_kind:ident = $masking_default:expr, { $($masking_row:tt)* })* }
        ephemeral { $($(#[$about:meta])* $field:ident: $type:ty as $kind:ident = $default:expr, { $($row:tt)* })* }
    ) => {
        /// What is said of a defense beside which it is; each setting if it is said.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct DefenseOptions {
            $($(#[$limit_about])* pub $limit: Option<$limit_type>,)*
            $($(#[$masking_about])* pub $masking: Option<$masking_type>,)*
            /// Which end we are.
            pub role: Option<Role>,
            $($(#[$about])* pub $field: Option<$type>,)*
        }

        /// Limits that hold for all that pads or blocks together, whatever machines ask for and whoever sent them, across
        /// epochs.
        ///
        /// They come on top of a defense's own limits, which leave each machine an allowance of its own first.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Limits {
            $($(#[$limit_about])* pub $limit: Option<$limit_type>,)*
        }

        /// What the traffic is to look like, and what that may cost: each if it is said.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct MaskingSettings {
            $($(#[$masking_about])* pub $masking: Option<$masking_type>,)*
        }

        impl MaskingSettings {
            /// Returns what is said here, and what `before` says of the rest.
            #[must_use]
            pub fn or(self, before: Self) -> Self {
                Self { $($masking: self.$masking.or(before.$masking),)* }
            }
        }

        /// A defense drawn anew for each connection, by agreement with the peer.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct EphemeralSettings {
            /// Which end we are; `None` lets the device say: a client where the peer's endpoint was set, a relay where it was
            /// learnt.
            pub role: Option<Role>,
            $($(#[$about])* pub $field: $type,)*
            /// The user's limits.
            pub limits: Limits,
            /// How the traffic is masked.
            pub masking: MaskingSettings,
        }

        impl Default for EphemeralSettings {
            fn default() -> Self {
                Self { role: None, $($field: $default,)* limits: Limits::default(), masking: MaskingSettings::default() }
            }
        }

        impl DefenseOptions {
            /// Every setting.
            pub const SETTINGS: &'static [Setting] = &[
                $(settings!(@row $limit, $limit_kind, Scope::Limit, Some(|| ($limit_kind.value)(&$limit_default)), $($limit_row)*),)*
                $(settings!(@row $masking, $masking_kind, Scope::Masking, Some(|| ($masking_kind.value)(&$masking_default)), $($masking_row)*),)*
                settings!(@row role, ROLE, Scope::Any, None, $($role_row)*),
                $(settings!(@row $field, $kind, Scope::Ephemeral, Some(|| ($kind.value)(&$default)), $($row)*),)*
            ];

            /// Returns the user's limits.
            pub fn limits(&self) -> Limits {
                Limits { $($limit: self.$limit,)* }
            }

            /// Returns how the traffic is masked.
            pub fn masking(&self) -> MaskingSettings {
                MaskingSettings { $($masking: self.$masking,)* }
            }

            /// Returns what is said of every defense.
            pub fn of(role: Option<Role>, limits: Limits, masking: MaskingSettings) -> Self {
                Self { role, $($limit: limits.$limit,)* $($masking: masking.$masking,)* ..Self::default() }
            }

            /// Returns what a defense by agreement is; what is not said is as usual.
            pub fn ephemeral(&self) -> EphemeralSettings {
                EphemeralSettings {
                    role: self.role,
                    $($field: self.$field.unwrap_or($default),)*
                    limits: self.limits(),
                    masking: self.masking(),
                }
            }

            /// Returns what is said of every defense.
            #[must_use]
            pub fn of_any_defense(&self) -> Self {
                Self::of(self.role, self.limits(), self.masking())
            }

            /// Returns what is said in the place of this, if `now` holds and without a word `usual` does: what was said
            /// already of what is usual stays said.
            #[must_use]
            pub fn said_anew(&self, now: &Self, usual: &Self) -> Self {
                fn said<T: PartialEq + Copy>(before: Option<T>, now: Option<T>, usual: Option<T>) -> Option<T> {
                    now.filter(|_| before.is_some() || now != usual)
                }
                Self {
                    $($limit: said(self.$limit, now.$limit, usual.$limit),)*
                    $($masking: said(self.$masking, now.$masking, usual.$masking),)*
                    role: said(self.role, now.role, usual.role),
                    $($field: said(self.$field, now.$field, usual.$field),)*
                }
            }
        }

        impl From<&EphemeralSettings> for DefenseOptions {
            fn from(settings: &EphemeralSettings) -> Self {
                Self {
                    $($field: Some(settings.$field),)*
                    ..Self::of(settings.role, settings.limits, settings.masking)
                }
            }
        }
    };
    (@row $field:ident, $kind:ident, $scope:expr, $default:expr, $($row:tt)*) => {
        Setting {
            $($row)*
            scope: $scope,
            values: $kind.values,
            expected: $kind.expected,
            json: $kind.json,
            examples: $kind.examples,
            default: $default,
            set: |options, text, spelling| {
                options.$field = Some(($kind.read)(text, spelling)?);
                Some(())
            },
            get: |options| options.$field.as_ref().map($kind.value),
        }
    };
}

settings! {
    role {
        key: "DefenseRole",
        named_key: Some("maybetun_defense_role"),
        ephemeral_key: "maybetun_ephemeral_role",
        member: "role",
        flag: "role",
        about: "which end's machines to run: `client` or `relay`",
        more: None,
        without: "the client's where the peer's endpoint is set, else the relay's",
        told: SettingTold::Elsewhere,
    }
    limits {
        /// Padding sent, as a fraction of all packets sent: at no instant is it more. 0 is no limit.
        max_padding_frac: Fraction as FRACTION = Fraction::NONE, {
            key: "DefenseMaxPaddingFrac",
            named_key: Some("maybetun_defense_limit_padding_frac"),
            ephemeral_key: "maybetun_ephemeral_limit_padding_frac",
            member: "max_padding_frac",
            flag: "max-padding-frac",
            about: "your limit on padding as a fraction of all packets sent, counted in packets: 0 to 1; 0 is no limit",
            more: Some(
                "Your limits hold at every moment for all machines together, whatever they ask for and whoever sent them. The \
                 defense's own limits hold beside them.",
            ),
            without: "0",
            told: SettingTold::Limit("padding", "{} of packets"),
        }
        /// Time for which outgoing traffic was blocked, as a fraction of all time since the defense was set: at no instant is
        /// it more. 0 is no limit.
        max_blocking_frac: Fraction as FRACTION = Fraction::NONE, {
            key: "DefenseMaxBlockingFrac",
            named_key: Some("maybetun_defense_limit_blocking_frac"),
            ephemeral_key: "maybetun_ephemeral_limit_blocking_frac",
            member: "max_blocking_frac",
            flag: "max-blocking-frac",
            about: "your limit on blocking as a fraction of all time: 0 to 1; 0 is no limit",
            more: None,
            without: "0",
            told: SettingTold::Limit("blocking", "{} of time"),
        }
        /// Bytes a second that padding may take, counted as IP packets with all their headers when it leaves or begins to wait:
        /// in any second at most twice as many. 0 is no limit; `None` is [`DEFAULT_MAX_PADDING_RATE`].
        max_padding_rate: u64 as BYTE_RATE = DEFAULT_MAX_PADDING_RATE, {
            key: "DefenseMaxPaddingRate",
            named_key: Some("maybetun_defense_limit_padding_rate"),
            ephemeral_key: "maybetun_ephemeral_limit_padding_rate",
            member: "max_padding_rate",
            flag: "max-padding-rate",
            about: "your limit on padding in bytes a second, of IP packets with all their headers; 0 is no limit",
            more: None,
            without: "16777216",
            told: SettingTold::Limit("padding", "{}/s"),
        }
    }
    masking {
        /// What the traffic is to look like. A relay does what its client asks for, unless it says `off`.
        mode: MaskingMode as MASKING = MaskingMode::Off, {
            key: "Masking",
            named_key: Some("maybetun_defense_masking"),
            ephemeral_key: "maybetun_ephemeral_masking",
            member: "masking",
            flag: "masking",
            about: "padding that follows your traffic. `adaptive`: the ratio of upload to download is kept in its band, and a call \
                    is made to look like a video; a profile (`web`, `video`, `voice`, `gaming`, `download`, `mixed`): all is made to \
                    look like that. A relay does what its client asks for, unless it says `off` itself",
            more: Some("At one end alone it does that end's part: the client's bounds the upload, the relay's pads the download."),
            without: "`off`",
            told: SettingTold::Elsewhere,
        }
        /// The band that outer bytes up over outer bytes down are kept in.
        upload_ratio: Band as BAND = Band::USUAL, {
            key: "UploadRatio",
            named_key: Some("maybetun_defense_upload_ratio"),
            ephemeral_key: "maybetun_ephemeral_upload_ratio",
            member: "upload_ratio",
            flag: "upload-ratio",
            about: "the band that bytes up over bytes down are kept in, in percent; with `voice` and `gaming` it is those' own unless \
                    you say another",
            more: None,
            without: "`3-8%`",
            told: SettingTold::Elsewhere,
        }
        /// What masking's own padding may cost, of both ends together: a tenth of it is the client's, the rest the relay's. At a relay it is
        /// what the operator allows whoever asks.
        masking_budget: Allowance as ALLOWANCE = Allowance::MASKING, {
            key: "MaskingBudget",
            named_key: Some("maybetun_defense_masking_budget"),
            ephemeral_key: "maybetun_ephemeral_masking_budget",
            member: "masking_budget",
            flag: "masking-budget",
            about: "what masking's own padding may cost: terms by commas, of which all hold. `30%`: of your bytes; `200MB/d`, \
                    `20MB/h`, `1MB/s`: in any day, hour, second; `10%link`: of the fastest second of the last hour; `off`: no bound",
            more: None,
            without: "`30%,200MB/d`",
            told: SettingTold::Elsewhere,
        }
        /// What everything that is not the user's may cost, both ways together: the padding of machines and what one size adds, too.
        /// What cannot be left out goes over it.
        padding_budget: Allowance as ALLOWANCE = Allowance::NONE, {
            key: "PaddingBudget",
            named_key: Some("maybetun_defense_padding_budget"),
            ephemeral_key: "maybetun_ephemeral_padding_budget",
            member: "padding_budget",
            flag: "padding-budget",
            about: "what all that is not yours may cost, both ways: machines' padding and what one size adds, too. As for masking; no \
                    padding leaves that would be more, and your packets always do. On a metered network `200MB/d` \
                    holds where you say nothing",
            more: None,
            without: "`off`",
            told: SettingTold::Elsewhere,
        }
        /// Whether the network is metered.
        metered: bool as SWITCH = false, {
            key: "Metered",
            named_key: Some("maybetun_defense_metered"),
            ephemeral_key: "maybetun_ephemeral_metered",
            member: "metered",
            flag: "metered",
            about: "`on` or `off`: whether the network is metered. Masking may cost a quarter of its budget then",
            more: None,
            without: "`off`",
            told: SettingTold::Elsewhere,
        }
        /// Whether wakeups are batched.
        battery_saver: bool as SWITCH = false, {
            key: "BatterySaver",
            named_key: Some("maybetun_defense_battery_saver"),
            ephemeral_key: "maybetun_ephemeral_battery_saver",
            member: "battery_saver",
            flag: "battery-saver",
            about: "`on` or `off`: whether masking wakes at most once a second, and never while you do nothing",
            more: None,
            without: "`off`",
            told: SettingTold::Elsewhere,
        }
    }
    ephemeral {
        /// What kind of machines are drawn. A relay runs what its client asks for, and this where it is alone.
        tier: Tier as TIER = Tier::default(), {
            key: "DefenseTier",
            named_key: None,
            ephemeral_key: "maybetun_ephemeral",
            member: "tier",
            flag: "tier",
            about: "what kind of machines are drawn. `size`: none, packets of one size only; `padding`: such that delay \
                    nothing; `blocking`: such that also delay",
            more: None,
            without: "`padding`",
            told: SettingTold::Words("{}"),
        }
        /// How much they do. A relay runs what its client asks for, and this where it is alone.
        strength: Strength as STRENGTH = Strength::default(), {
            key: "DefenseStrength",
            named_key: None,
            ephemeral_key: "maybetun_ephemeral_strength",
            member: "strength",
            flag: "strength",
            about: "how much the machines do, and cost: `low`, `medium` or `high`",
            more: None,
            without: "`medium`",
            told: SettingTold::Words("{}"),
        }
        /// What becomes of a peer that does not agree.
        negotiation: NegotiationPolicy as POLICY = NegotiationPolicy::default(), {
            key: "Negotiation",
            named_key: None,
            ephemeral_key: "maybetun_negotiation",
            member: "policy",
            flag: "negotiation",
            about: "for a peer that does not agree: `require` lets nothing leave, `prefer` defends this end alone, `off` does \
                    not ask",
            more: None,
            without: "`prefer`",
            told: SettingTold::Words("{}"),
        }
        /// Whether small packets that wait may share a datagram, where the peer knows how.
        bundling: bool as SWITCH = true, {
            key: "Bundling",
            named_key: None,
            ephemeral_key: "maybetun_bundling",
            member: "bundling",
            flag: "bundling",
            about: "`on` or `off`: whether small packets that wait may share a datagram",
            more: None,
            without: "`on`",
            told: SettingTold::IfOff("without bundling"),
        }
        /// After how long, a quarter more or less, the client asks for another: [`MIN_RENEWAL`](super::MIN_RENEWAL) to
        /// [`MAX_RENEWAL`](super::MAX_RENEWAL), in whole seconds.
        renewal: Duration as RENEWAL = DEFAULT_RENEWAL, {
            key: "DefenseRenewal",
            named_key: None,
            ephemeral_key: "maybetun_renewal_sec",
            member: "renewal",
            flag: "renewal",
            about: "seconds, a quarter more or less, after which the client asks for another: 60 to 604800",
            more: None,
            without: "3600",
            told: SettingTold::Words("anew after {}"),
        }
    }
}

/// What only a defense by agreement has.
impl Serialize for EphemeralSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options = DefenseOptions::from(self);
        let settings = DefenseOptions::SETTINGS.iter().filter(|setting| setting.scope == Scope::Ephemeral);
        serializer.collect_map(settings.filter_map(|setting| Some((setting.member, setting.get(&options)?))))
    }
}

impl MaskingSettings {
    /// Returns what an end masks by that is told this.
    pub fn terms(&self) -> Terms {
        let usual = Terms::default();
        Terms {
            mode: self.mode.unwrap_or(usual.mode),
            band: self.upload_ratio,
            masking_budget: self.masking_budget.unwrap_or(usual.masking_budget),
            padding_budget: self.padding_budget,
            is_metered: self.metered.unwrap_or(usual.is_metered),
            saves_battery: self.battery_saver.unwrap_or(usual.saves_battery),
        }
    }
}

impl Limits {
    /// Returns the bytes a second in force; 0 is no limit.
    pub fn padding_rate(self) -> u64 {
        self.max_padding_rate.unwrap_or(DEFAULT_MAX_PADDING_RATE)
    }
}

//! What masking tells of itself.

use std::fmt;

use maybetun_machines::profile::ProfileName;

use super::{Activity, Band, MaskingMode};

/// Why masking does not do what it was told to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Shortfall {
    /// It does.
    #[default]
    None,
    /// The budget of masking is used up.
    MaskingBudget,
    /// The budget of all padding is used up.
    PaddingBudget,
    /// A limit on padding stands in its way, or the peer's address has not shown that it receives.
    Limit,
}

impl Shortfall {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::None, Self::MaskingBudget, Self::PaddingBudget, Self::Limit];

    /// Returns its name: lower-case words with hyphens between.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::MaskingBudget => "masking-budget",
            Self::PaddingBudget => "padding-budget",
            Self::Limit => "limit",
        }
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// How far masking got, at one end of a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskingStatus {
    /// What the traffic is made to look like: as it was set, or as the client asked for.
    pub mode: MaskingMode,
    /// Whether the other end does its part.
    pub is_mutual: bool,
    /// What the user does, as the traffic says.
    pub activity: Activity,
    /// What it is made to look like at present; `None` where nothing but the ratio is kept.
    pub target: Option<ProfileName>,
    /// The band that the ratio is kept in.
    pub band: Band,
    /// Outer bytes up over outer bytes down of the last 10 s, in hundredths of a percent; `None` if nothing came down, or
    /// less than 30 kB passed.
    pub ratio: Option<u32>,
    /// Outer bytes a second of the last 10 s, up and down.
    pub rates: [u64; 2],
    /// The same of what the target asks for at present.
    pub target_rates: [u64; 2],
    /// Whether an observer sees what the user does: the ratio is out of its band, or what it is made to look like is not reached.
    pub is_visible: bool,
    /// Why, if it is.
    pub shortfall: Shortfall,
    /// Bytes of masking's padding that this end has sent in the last day.
    pub spent: u64,
    /// What it may send in a day; `None` if that is not bounded.
    pub allowed: Option<u64>,
}

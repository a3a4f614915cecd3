//! The profiles that come with maybetun, built into the program.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use super::Profile;
use crate::UnknownName;

/// A profile that comes with maybetun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProfileName {
    /// Pages of many objects, with times to read them.
    Web,
    /// A video in segments that are fetched ahead of the picture.
    Video,
    /// A voice call.
    Voice,
    /// The exchange of a game with its server, a small datagram each way every tick.
    Gaming,
    /// Large files, with pauses.
    Download,
    /// Pages, a video and a call, which overlap.
    Mixed,
}

impl ProfileName {
    /// Every one, in the order of the documents.
    pub const ALL: [Self; 6] = [Self::Web, Self::Video, Self::Voice, Self::Gaming, Self::Download, Self::Mixed];

    /// Returns the profile; parsed when it is first asked for.
    pub fn profile(self) -> &'static Profile {
        static PROFILES: [OnceLock<Profile>; ProfileName::ALL.len()] = [const { OnceLock::new() }; 6];
        PROFILES[self as usize]
            .get_or_init(|| Profile::parse(self.text()).expect("a test parses every shipped profile"))
    }

    /// Returns the text form, as it is in the repository.
    pub fn text(self) -> &'static str {
        match self {
            Self::Web => include_str!("../../profiles/web.toml"),
            Self::Video => include_str!("../../profiles/video.toml"),
            Self::Voice => include_str!("../../profiles/voice.toml"),
            Self::Gaming => include_str!("../../profiles/gaming.toml"),
            Self::Download => include_str!("../../profiles/download.toml"),
            Self::Mixed => include_str!("../../profiles/mixed.toml"),
        }
    }
}

impl fmt::Display for ProfileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Web => "web",
            Self::Video => "video",
            Self::Voice => "voice",
            Self::Gaming => "gaming",
            Self::Download => "download",
            Self::Mixed => "mixed",
        })
    }
}

impl FromStr for ProfileName {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let named = Self::ALL.into_iter().find(|name| name.to_string() == text);
        named.ok_or(UnknownName("`web`, `video`, `voice`, `gaming`, `download` or `mixed`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_profile_is_valid_and_says_where_it_is_from() {
        for name in ProfileName::ALL {
            let profile = Profile::parse(name.text()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!((profile.name(), &profile), (&*name.to_string(), name.profile()));
            assert!(!profile.description().is_empty() && !profile.source().is_empty(), "{name}");
            let mean = profile.mean_rates();
            assert!(mean.upload > 0 && mean.download > 0, "{name}: {mean:?}");
        }
        for name in [ProfileName::Web, ProfileName::Video, ProfileName::Download, ProfileName::Mixed] {
            assert_eq!(name.profile().upload_ratio(), (300, 800), "{name}");
        }
    }

    #[test]
    fn names_survive_their_text() {
        for (index, name) in ProfileName::ALL.into_iter().enumerate() {
            assert_eq!(name.to_string().parse(), Ok(name));
            assert_eq!(name as usize, index);
        }
        let error = "Web".parse::<ProfileName>().unwrap_err();
        assert_eq!(error.to_string(), "expected `web`, `video`, `voice`, `gaming`, `download` or `mixed`");
    }
}

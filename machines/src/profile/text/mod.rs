//! The text form of a profile, in TOML.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::check_name;
use super::{Activity, MAX_BURST, MAX_RATE, MAX_STATES, MAX_TIME, MAX_WEIGHT, MIN_TIME};
use super::{Direction, Profile, ProfileError, Quantiles, State};
use crate::text::toml_message;

/// Longest text of a profile in bytes.
pub const MAX_PROFILE: usize = 64 * 1024;

/// The members of the text form, in its order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    source: String,
    upload_ratio: (u16, u16),
    inertia: u64,
    states: BTreeMap<String, StateTable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateTable {
    weight: u32,
    stay: Vec<u64>,
    next: BTreeMap<String, u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upload: Option<ActivityTable>,
    #[serde(skip_serializing_if = "Option::is_none")]
    download: Option<ActivityTable>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ActivityTable {
    burst: Vec<u64>,
    rate: Vec<u64>,
    gap: Vec<u64>,
}

impl Profile {
    /// Parses the text form, which may come from anyone.
    ///
    /// # Errors
    /// When the text is longer than [`MAX_PROFILE`], is not TOML, has a key that a profile has not, lacks one that it needs, or
    /// says something that is not valid; the error names the key, and with it the state.
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        if text.len() > MAX_PROFILE {
            let message = format_args!("{} bytes, expected at most {MAX_PROFILE}", text.len());
            return Err(ProfileError::new("", message));
        }
        let of_toml = |key: &str, error: &toml::de::Error| {
            ProfileError::new(key.replace(char::is_control, " "), toml_message(error, text))
        };
        let deserializer = toml::Deserializer::parse(text).map_err(|error| of_toml("", &error))?;
        let document: Document = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let path = error.path().to_string();
            of_toml(if path == "." { "" } else { &path }, error.inner())
        })?;
        let Document { name, description, source, upload_ratio, inertia, states } = document;
        if states.len() > MAX_STATES {
            let message = format_args!("{} states, expected 1 to {MAX_STATES}", states.len());
            return Err(ProfileError::new("states", message));
        }
        let names: Vec<String> = states.keys().cloned().collect();
        let states = states.into_iter().map(|(name, table)| {
            check_name(&format!("states.{name}"), &name)?;
            table.into_state(name.clone(), &names).map_err(|error| error.under(format_args!("states.{name}")))
        });
        let states = states.collect::<Result<_, _>>()?;
        Self::new([&name, &description, &source], upload_ratio, Duration::from_micros(inertia), states)
    }

    /// Returns the text form; [`Profile::parse`] makes an equal profile of it.
    pub fn to_toml(&self) -> String {
        let states = self.states().iter().map(|state| (state.name.clone(), StateTable::of(state, self.states())));
        let document = Document {
            name: self.name().to_owned(),
            description: self.description().to_owned(),
            source: self.source().to_owned(),
            upload_ratio: self.upload_ratio(),
            inertia: u64::try_from(self.inertia().as_micros()).unwrap_or(u64::MAX),
            states: states.collect(),
        };
        toml::to_string(&document).expect("strings, numbers, and tables after them have a form in TOML")
    }
}

impl FromStr for Profile {
    type Err = ProfileError;

    fn from_str(text: &str) -> Result<Self, ProfileError> {
        Self::parse(text)
    }
}

impl StateTable {
    fn into_state(self, name: String, names: &[String]) -> Result<State, ProfileError> {
        check_weight("weight", self.weight)?;
        let stay = times("stay", self.stay)?;
        if self.next.is_empty() {
            return Err(ProfileError::new("next", "expected at least one state, which may be this one"));
        }
        let next = self.next.into_iter().map(|(other, weight)| {
            let key = format!("next.{}", other.replace(char::is_control, " "));
            check_weight(&key, weight)?;
            let index = names.binary_search(&other);
            let index =
                index.map_err(|_| ProfileError::new(key, format_args!("no such state, expected one of {names:?}")))?;
            Ok((index, weight))
        });
        let next = next.collect::<Result<_, _>>()?;
        let activity = |table: Option<ActivityTable>, direction: Direction| {
            let parsed = table.map(ActivityTable::into_activity).transpose();
            parsed.map_err(|error| error.under(direction.key()))
        };
        let upload = activity(self.upload, Direction::Upload)?;
        let download = activity(self.download, Direction::Download)?;
        Ok(State { name, weight: self.weight, stay, next, upload, download })
    }

    fn of(state: &State, states: &[State]) -> Self {
        let next = state.next.iter().map(|&(index, weight)| (states[index].name.clone(), weight));
        Self {
            weight: state.weight,
            stay: state.stay.points().to_vec(),
            next: next.collect(),
            upload: state.upload.as_ref().map(ActivityTable::of),
            download: state.download.as_ref().map(ActivityTable::of),
        }
    }
}

impl ActivityTable {
    fn into_activity(self) -> Result<Activity, ProfileError> {
        let burst = Quantiles::new("burst", self.burst, 1, MAX_BURST)?;
        let rate = Quantiles::new("rate", self.rate, 1, MAX_RATE)?;
        Ok(Activity { burst, rate, gap: times("gap", self.gap)? })
    }

    fn of(activity: &Activity) -> Self {
        let [burst, rate, gap] = [&activity.burst, &activity.rate, &activity.gap].map(|table| table.points().to_vec());
        Self { burst, rate, gap }
    }
}

fn times(key: &str, points: Vec<u64>) -> Result<Quantiles, ProfileError> {
    let [least, most] = [MIN_TIME, MAX_TIME].map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    Quantiles::new(key, points, least, most)
}

fn check_weight(key: &str, weight: u32) -> Result<(), ProfileError> {
    if (1..=MAX_WEIGHT).contains(&weight) {
        return Ok(());
    }
    Err(ProfileError::new(key, format_args!("{weight}, expected 1 to {MAX_WEIGHT}")))
}

#[cfg(test)]
pub(super) mod tests;

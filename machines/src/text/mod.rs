//! The text form of a defense, in TOML.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Defense, DefenseError, Limits, MAX_MACHINES, Overhead, Side, machine};

/// Longest text of a defense in bytes.
pub const MAX_FILE: usize = 2 * 1024 * 1024;

/// Room for all that is not machines: texts of which each character may be escaped, keys and numbers.
const MAX_REST: usize = 64 * 1024;

// Every defense has a text form that is read again.
const _: () = assert!(2 * MAX_MACHINES * (machine::MAX_TEXT + 16) + MAX_REST <= MAX_FILE);

/// The members of the text form, in its order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    source: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    overhead: Option<Overhead>,
    #[serde(default)]
    client: SideTable,
    #[serde(default)]
    relay: SideTable,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SideTable {
    machines: Vec<String>,
    #[serde(default)]
    limits: Limits,
}

impl Defense {
    /// Parses the text form, which may come from anyone.
    ///
    /// # Errors
    /// When the text is longer than [`MAX_FILE`], is not TOML, has a key that a defense has not, lacks one that it needs,
    /// or says something that is not valid; the error names the key.
    pub fn parse(text: &str) -> Result<Self, DefenseError> {
        if text.len() > MAX_FILE {
            let message = format_args!("{} bytes, expected at most {MAX_FILE}", text.len());
            return Err(DefenseError::new("", message));
        }
        let deserializer = toml::Deserializer::parse(text).map_err(|error| of_toml("", &error, text))?;
        let document: Document = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let path = error.path().to_string();
            // The path of what is not in any table.
            of_toml(if path == "." { "" } else { &path }, error.inner(), text)
        })?;
        let Document { name, description, source, overhead, client, relay } = document;
        let client = Side::parse(&client.machines, client.limits).map_err(|error| error.under("client"))?;
        let relay = Side::parse(&relay.machines, relay.limits).map_err(|error| error.under("relay"))?;
        Self::from_machines(&name, client, relay)?.with_texts(&description, &source)?.with_overhead(overhead)
    }

    /// Returns the text form; [`Defense::parse`] makes an equal defense of it.
    pub fn to_toml(&self) -> String {
        let table = |side: &Side| SideTable { machines: side.texts(), limits: side.limits };
        let document = Document {
            name: self.name().to_owned(),
            description: self.description().to_owned(),
            source: self.source().to_owned(),
            overhead: self.overhead(),
            client: table(self.client()),
            relay: table(self.relay()),
        };
        toml::to_string_pretty(&document).expect("strings, numbers, and tables after them have a form in TOML")
    }
}

impl FromStr for Defense {
    type Err = DefenseError;

    fn from_str(text: &str) -> Result<Self, DefenseError> {
        Self::parse(text)
    }
}

/// Returns the error of the TOML parser with its place: the key, and the line.
fn of_toml(key: &str, error: &toml::de::Error, text: &str) -> DefenseError {
    DefenseError::new(key.replace(char::is_control, " "), toml_message(error, text))
}

/// Returns the message of the TOML parser with the line, if it is known.
pub(crate) fn toml_message(error: &toml::de::Error, text: &str) -> String {
    let message = error.message().replace(char::is_control, " ");
    let before = error.span().and_then(|span| text.as_bytes().get(..span.start));
    match before.map(|before| 1 + before.iter().filter(|&&byte| byte == b'\n').count()) {
        Some(line) => format!("line {line}: {message}"),
        None => message,
    }
}

#[cfg(test)]
mod tests;

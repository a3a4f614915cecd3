//! The names of routing tables, as iproute2 has them.

use std::collections::BTreeMap;

use crate::text;

/// The number of the table that routes are in unless it is said otherwise.
const MAIN: u32 = 254;

/// Names of routing tables, and their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables(BTreeMap<String, u32>);

impl Default for Tables {
    /// Returns the names that Linux itself has: `local`, `main` and `default`.
    fn default() -> Self {
        let names = [("local", 255), ("main", MAIN), ("default", 253), ("unspec", 0)];
        Self(names.map(|(name, number)| (name.to_owned(), number)).into())
    }
}

impl Tables {
    /// Adds the names of a file of iproute2: a number and a name on each line, `#` before a comment. What is neither is
    /// passed over, as iproute2 does.
    pub fn add_file(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
            if let (Some(number), Some(name)) = (words.next().and_then(text::any_base), words.next()) {
                self.0.insert(name.to_owned(), number);
            }
        }
    }

    /// Returns the number of the table that is said by name or number. Nothing in particular is the main table.
    pub(super) fn find(&self, said: &str) -> Option<u32> {
        let number = self.0.get(said).copied().or_else(|| text::any_base(said))?;
        Some(if number == 0 { MAIN } else { number })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_found_by_its_name_and_by_its_number_in_any_base() {
        let mut tables = Tables::default();
        tables.add_file("#\n# reserved\n255\tlocal\n0x64 office # ours\n\nx y\n 7\n200 lab more\n");
        for (said, number) in [
            ("office", Some(100)),
            ("lab", Some(200)),
            ("main", Some(254)),
            ("0", Some(254)),
            ("unspec", Some(254)),
            ("0x4d2", Some(1234)),
            ("02322", Some(1234)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("Office", None),
            ("nowhere", None),
            ("", None),
        ] {
            assert_eq!(tables.find(said), number, "{said:?}");
        }
    }
}

//! Lines of a text, of a bounded length, with their numbers.

use std::io::{BufRead, Read as _};

use super::error::FormatError;

/// Most bytes of a line: several times what the longest one takes.
const MAX_LINE: u64 = 256;

/// Calls `line` with the number, from 1, and the text of every line that is not empty, without white space around it.
pub(super) fn each(
    mut reader: impl BufRead,
    mut line: impl FnMut(usize, &str) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut bytes = Vec::new();
    for number in 1.. {
        bytes.clear();
        if reader.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut bytes)? == 0 {
            break;
        }
        if bytes.len() as u64 > MAX_LINE {
            return Err(invalid(number, format_args!("more than {MAX_LINE} bytes")));
        }
        let text = str::from_utf8(&bytes).map_err(|_| invalid(number, "expected text in UTF-8"))?.trim();
        if !text.is_empty() {
            line(number, text)?;
        }
    }
    Ok(())
}

/// Says what is wrong with a line.
pub(super) fn invalid(number: usize, problem: impl std::fmt::Display) -> FormatError {
    FormatError::at(format_args!("line {number}"), problem)
}

/// Reads a number.
pub(super) fn number<T: std::str::FromStr>(line: usize, name: &str, text: &str) -> Result<T, FormatError> {
    text.parse().map_err(|_| {
        invalid(line, format_args!("{name} is {text:?}: expected a whole number of {} bits", 8 * size_of::<T>()))
    })
}

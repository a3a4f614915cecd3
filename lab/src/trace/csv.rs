//! Traces as comma-separated values, a line for each datagram: all that a set of traces has.
//!
//! ```text
//! load,label,visit,draw,time_ns,direction,size
//! 0,3,0,,0,up,176
//! 0,3,0,,20415233,down,1452
//! 1,3,1,12,,,
//! ```
//!
//! Loads count up from 0. A load of which nothing was seen has one line, without time, direction and size. No field has quotes:
//! they are numbers.

use std::io::{BufRead, Write};
use std::time::Duration;

use super::error::FormatError;
use super::lines::{self, invalid, number};
use super::{Direction, Labelled, MAX_DATAGRAMS, Passage, Trace};

const HEADER: &str = "load,label,visit,draw,time_ns,direction,size";

/// Most loads of a file.
const MAX_LOADS: usize = 1 << 20;

/// Writes the loads.
///
/// # Errors
/// If writing fails.
pub fn write(mut writer: impl Write, loads: &[Labelled]) -> Result<(), FormatError> {
    writeln!(writer, "{HEADER}")?;
    for (index, load) in loads.iter().enumerate() {
        let Labelled { label, visit, draw, trace } = load;
        let draw = draw.map_or(String::new(), |draw| draw.to_string());
        if trace.is_empty() {
            writeln!(writer, "{index},{label},{visit},{draw},,,")?;
        }
        for Passage { at, direction, size } in trace.iter() {
            let direction = match direction {
                Direction::Upload => "up",
                Direction::Download => "down",
            };
            writeln!(writer, "{index},{label},{visit},{draw},{},{direction},{size}", at.as_nanos())?;
        }
    }
    Ok(writer.flush()?)
}

/// Reads the loads.
///
/// # Errors
/// If reading fails, or a line is not as it should be; the error has its number.
pub fn read(reader: impl BufRead) -> Result<Vec<Labelled>, FormatError> {
    let mut loads: Vec<Labelled> = Vec::new();
    let mut datagrams = 0;
    let mut has_header = false;
    lines::each(reader, |line, text| {
        if !has_header {
            has_header = text == HEADER;
            return if has_header { Ok(()) } else { Err(invalid(line, format_args!("expected {HEADER}"))) };
        }
        let fields: Vec<&str> = text.split(',').collect();
        let Ok([load, label, visit, draw, time, direction, size]) = <[&str; 7]>::try_from(fields) else {
            return Err(invalid(line, format_args!("expected the 7 fields {HEADER}")));
        };
        let load: usize = number(line, "load", load)?;
        let draw = if draw.is_empty() { None } else { Some(number(line, "draw", draw)?) };
        let (label, visit) = (number(line, "label", label)?, number(line, "visit", visit)?);
        if load == loads.len() && load < MAX_LOADS {
            loads.push(Labelled { label, visit, draw, trace: Trace::new() });
        }
        let count = loads.len();
        let Some(current) = loads.last_mut().filter(|_| Some(load) == count.checked_sub(1)) else {
            return Err(invalid(
                line,
                format_args!("load is {load}: expected {count}, below {MAX_LOADS}, or the one before"),
            ));
        };
        if (current.label, current.visit, current.draw) != (label, visit, draw) {
            return Err(invalid(
                line,
                format_args!("label, visit and draw of load {load} are others than in the line before"),
            ));
        }
        if [time, direction, size].iter().all(|field| field.is_empty()) {
            return Ok(());
        }
        let direction = match direction {
            "up" => Direction::Upload,
            "down" => Direction::Download,
            other => return Err(invalid(line, format_args!("direction is {other:?}: expected up or down"))),
        };
        datagrams += 1;
        if datagrams > MAX_DATAGRAMS {
            return Err(invalid(line, format_args!("more than {MAX_DATAGRAMS} datagrams")));
        }
        let at = Duration::from_nanos(number(line, "time_ns", time)?);
        let size = number(line, "size", size)?;
        current.trace.push(Passage { at, direction, size }).map_err(|error| invalid(line, error))
    })?;
    if has_header { Ok(loads) } else { Err(invalid(1, format_args!("expected {HEADER}"))) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::tests::loads;

    fn error(text: &str) -> String {
        read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let with = |lines: &str| error(&format!("{HEADER}\n{lines}"));
        assert_eq!(error(""), format!("line 1: expected {HEADER}"));
        assert_eq!(error("a\n"), format!("line 1: expected {HEADER}"));
        assert_eq!(with("0,1,2\n"), format!("line 2: expected the 7 fields {HEADER}"));
        assert_eq!(with("0,1,0,,5,up,70000"), "line 2: size is \"70000\": expected a whole number of 16 bits");
        assert_eq!(with("0,1,0,,5,sideways,7"), "line 2: direction is \"sideways\": expected up or down");
        assert!(with("0,1,0,,5,up,9\n0,1,0,,4,up,9").starts_with("line 3: a datagram at 4ns follows one at 5ns"));
        assert!(with("0,1,0,,999999999999999999,up,9").starts_with("line 2: a datagram at 999999999.999999999s"));
        assert!(with("7,1,0,,5,up,9").starts_with("line 2: load is 7: expected 0"));
        let largest = usize::MAX;
        assert!(
            with(&format!("0,1,0,,5,up,9\n{largest},1,0,,6,up,9")).starts_with(&format!("line 3: load is {largest}"))
        );
        assert!(with("0,1,0,,5,up,9\n0,2,0,,6,up,9").contains("load 0 are others"));
        assert_eq!(with(&"1".repeat(300)), "line 2: more than 256 bytes");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(loads in loads()) {
            let mut text = Vec::new();
            write(&mut text, &loads).unwrap();
            prop_assert_eq!(read(&text[..]).unwrap(), loads);
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), lines in "([0-9]{0,3},){0,7}(up)?\n") {
            let _ = read(&bytes[..]);
            let _ = read(format!("{HEADER}\n{lines}").as_bytes());
        }
    }
}

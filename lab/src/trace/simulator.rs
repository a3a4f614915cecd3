//! One trace as Maybenot's simulator reads and writes it: `time,s` or `time,r` a line, nanoseconds since the start, sent or
//! received by the client. Sizes and labels are not in it. As there, `sn` and `rn` are the same, and a third field is not looked at.

use std::io::{BufRead, Write};
use std::time::Duration;

use super::error::FormatError;
use super::lines::{self, invalid, number};
use super::{Direction, Passage, Trace, UNKNOWN_SIZE};

/// Writes the trace.
///
/// # Errors
/// If writing fails.
pub fn write(mut writer: impl Write, trace: &Trace) -> Result<(), FormatError> {
    for Passage { at, direction, .. } in trace.iter() {
        let direction = match direction {
            Direction::Upload => 's',
            Direction::Download => 'r',
        };
        writeln!(writer, "{},{direction}", at.as_nanos())?;
    }
    Ok(writer.flush()?)
}

/// Reads the trace. All datagrams have [`UNKNOWN_SIZE`].
///
/// # Errors
/// If reading fails, or a line is not as it should be; the error has its number.
pub fn read(reader: impl BufRead) -> Result<Trace, FormatError> {
    let mut trace = Trace::new();
    lines::each(reader, |line, text| {
        let mut fields = text.split(',').map(str::trim);
        let (Some(time), Some(direction)) = (fields.next(), fields.next()) else {
            return Err(invalid(line, format_args!("{text:?}: expected a time in nanoseconds, a comma, and s or r")));
        };
        let direction = match direction {
            "s" | "sn" => Direction::Upload,
            "r" | "rn" => Direction::Download,
            other => return Err(invalid(line, format_args!("direction is {other:?}: expected s or r"))),
        };
        let at = Duration::from_nanos(number(line, "time", time)?);
        trace.push(Passage { at, direction, size: UNKNOWN_SIZE }).map_err(|error| invalid(line, error))
    })?;
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::trace::tests::traces;

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let error = |text: &str| read(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("0,s\n5"), "line 2: \"5\": expected a time in nanoseconds, a comma, and s or r");
        assert_eq!(error("0,x"), "line 1: direction is \"x\": expected s or r");
        assert_eq!(error("-1,s"), "line 1: time is \"-1\": expected a whole number of 64 bits");
        assert!(error("9,s\n8,r").starts_with("line 2: a datagram at 8ns follows"));
        assert!(error("18446744073709551615,s").contains("expected at most"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_but_for_sizes(trace in traces()) {
            let mut text = Vec::new();
            write(&mut text, &trace).unwrap();
            let sizeless = trace.iter().map(|passage| Passage { size: UNKNOWN_SIZE, ..passage }).collect();
            prop_assert_eq!(read(&text[..]).unwrap(), Trace::sorted(sizeless).unwrap());
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), lines in "([0-9]{0,22},[sr]?\n){0,3}") {
            let _ = read(&bytes[..]);
            let _ = read(lines.as_bytes());
        }
    }
}

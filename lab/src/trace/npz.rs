//! Sets of traces as numpy's `.npz`, as WFlib reads them (github.com/Xinhao-Deng/Website-Fingerprinting-Library,
//! `WFlib/tools/data_processor.py` and `exp/dataset_process/dataset_split.py`).
//!
//! - `X`, 64-bit floating point, a row for each load: the seconds since it began, positive for up and negative for down,
//!   with zeros behind the last datagram. A datagram at 0 is written at 1 ns, because 0 is the end.
//! - `y`, 64-bit integers: the label of each load. WFlib expects labels from 0 without a gap.
//! - `sizes`, 16 bits, of the form of `X`; `visit` and `draw`, 64 bits, of the form of `y`; a draw is -1 where there is none. WFlib
//!   does not look at them. Without `sizes`, all datagrams have [`UNKNOWN_SIZE`]; without `visit`, it counts up; without `draw`,
//!   there is none.
//!
//! The container is the `zip` crate's. Arrays are read and written here, a row at a time: crates for them take the whole array into
//! memory by what its header says.

use std::io::{BufReader, BufWriter, Read, Seek, Write};
use std::time::Duration;

use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::error::FormatError;
use super::npy::Array;
use super::{Direction, Labelled, MAX_DATAGRAMS, Passage, Trace, UNKNOWN_SIZE};

/// Most loads of a file.
const MAX_LOADS: usize = 1 << 20;

/// Most datagrams of a load.
const MAX_COLUMNS: usize = 1 << 22;

/// Writes the loads.
///
/// # Errors
/// If writing fails, a draw is above 2^63 - 1, or a load has more than 4,194,304 datagrams.
pub fn write(writer: impl Write + Seek, loads: &[Labelled]) -> Result<(), FormatError> {
    let columns = loads.iter().map(|load| load.trace.len()).max().unwrap_or(0);
    if columns > MAX_COLUMNS || loads.len() > MAX_LOADS {
        let problem = format_args!(
            "{} loads of up to {columns} datagrams: expected at most {MAX_LOADS} of {MAX_COLUMNS}",
            loads.len()
        );
        return Err(FormatError::at("the set", problem));
    }
    let mut zip = ZipWriter::new(BufWriter::new(writer));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
    let shape = [loads.len(), columns];
    zip.start_file("X.npy", options).map_err(failed)?;
    matrix(&mut zip, "<f8", shape, loads, |passage| {
        let seconds = passage.at.as_nanos().max(1) as f64 / 1e9;
        if passage.direction == Direction::Upload { seconds } else { -seconds }.to_le_bytes()
    })?;
    zip.start_file("sizes.npy", options).map_err(failed)?;
    matrix(&mut zip, "<u2", shape, loads, |passage| passage.size.to_le_bytes())?;
    let draws = loads.iter().enumerate().map(|(at, load)| match load.draw.map(i64::try_from) {
        None => Ok(-1),
        Some(Ok(draw)) => Ok(draw),
        Some(Err(_)) => Err(FormatError::at(format_args!("load {at}"), "its draw is above 2^63 - 1")),
    });
    let draws = draws.collect::<Result<Vec<i64>, _>>()?;
    let labels = loads.iter().map(|load| i64::from(load.label)).collect();
    let visits = loads.iter().map(|load| i64::from(load.visit)).collect();
    for (name, values) in [("y.npy", labels), ("visit.npy", visits), ("draw.npy", draws)] {
        zip.start_file(name, options).map_err(failed)?;
        zip.write_all(&Array::header("<i8", &[values.len()]))?;
        zip.write_all(&values.into_iter().flat_map(i64::to_le_bytes).collect::<Vec<u8>>())?;
    }
    Ok(zip.finish().map_err(failed)?.flush()?)
}

/// Writes a matrix with a row for each load, zeros behind its datagrams.
fn matrix<const N: usize>(
    writer: &mut impl Write,
    kind: &str,
    shape: [usize; 2],
    loads: &[Labelled],
    value: impl Fn(Passage) -> [u8; N],
) -> Result<(), FormatError> {
    writer.write_all(&Array::header(kind, &shape))?;
    for load in loads {
        let mut row: Vec<u8> = load.trace.iter().flat_map(&value).collect();
        row.resize(N * shape[1], 0);
        writer.write_all(&row)?;
    }
    Ok(())
}

/// Reads the loads. Times that go backwards in a row are put in order.
///
/// # Errors
/// If reading fails, or an array is not as it should be; the error has its name, and the row where there is one.
pub fn read(reader: impl Read + Seek) -> Result<Vec<Labelled>, FormatError> {
    let mut zip = ZipArchive::new(BufReader::new(reader)).map_err(failed)?;
    let Some(labels) = column(&mut zip, "y.npy")? else {
        return Err(FormatError::at("y.npy", "it is not in the file: expected X.npy and y.npy"));
    };
    let visits = column(&mut zip, "visit.npy")?;
    let draws = column(&mut zip, "draw.npy")?;
    for (name, values) in [("visit.npy", &visits), ("draw.npy", &draws)] {
        if let Some(values) = values.as_ref().filter(|values| values.len() != labels.len()) {
            return Err(FormatError::at(
                name,
                format_args!("{} rows: expected the {} of y.npy", values.len(), labels.len()),
            ));
        }
    }
    let Some(mut traces) = times(&mut zip, labels.len())? else {
        return Err(FormatError::at("X.npy", "it is not in the file: expected X.npy and y.npy"));
    };
    sizes(&mut zip, &mut traces)?;
    let mut seen = std::collections::HashMap::<u32, u32>::new();
    let number = |name: &str, row: usize, value: i64| {
        u32::try_from(value).map_err(|_| {
            FormatError::at(format_args!("{name}, row {row}"), format_args!("{value}: expected 0 to {}", u32::MAX))
        })
    };
    let loads = traces.into_iter().enumerate().map(|(row, passages)| {
        let label = number("y.npy", row, labels[row])?;
        let counted = seen.entry(label).or_default();
        let visit = visits.as_ref().map_or(Ok(*counted), |visits| number("visit.npy", row, visits[row]))?;
        *counted += 1;
        let draw = draws.as_ref().and_then(|draws| u64::try_from(draws[row]).ok());
        let trace =
            Trace::sorted(passages).map_err(|error| FormatError::at(format_args!("X.npy, row {row}"), error))?;
        Ok(Labelled { label, visit, draw, trace })
    });
    loads.collect()
}

/// Reads a column of whole numbers; `None` if it is not there.
fn column<R: Read + Seek>(zip: &mut ZipArchive<R>, name: &str) -> Result<Option<Vec<i64>>, FormatError> {
    let Some(mut array) = Array::open(zip, name)? else { return Ok(None) };
    let [rows] = array.shape()?;
    if rows > MAX_LOADS {
        return Err(FormatError::at(name, format_args!("{rows} rows: expected at most {MAX_LOADS}")));
    }
    let mut values = Vec::new();
    for row in 0..rows {
        let value = array.value(row)?;
        if value.fract() != 0.0 || value.abs() > i64::MAX as f64 {
            return Err(FormatError::at(
                format_args!("{name}, row {row}"),
                format_args!("{value}: expected a whole number"),
            ));
        }
        values.push(array.whole().unwrap_or(value as i64));
    }
    Ok(Some(values))
}

/// Reads the times and directions of all loads.
fn times<R: Read + Seek>(zip: &mut ZipArchive<R>, loads: usize) -> Result<Option<Vec<Vec<Passage>>>, FormatError> {
    let Some(mut array) = Array::open(zip, "X.npy")? else { return Ok(None) };
    let [rows, columns] = array.shape()?;
    if rows != loads || columns > MAX_COLUMNS {
        let problem =
            format_args!("{rows} rows of {columns}: expected the {loads} rows of y.npy, of at most {MAX_COLUMNS}");
        return Err(FormatError::at("X.npy", problem));
    }
    let (mut traces, mut datagrams) = (Vec::new(), 0);
    for row in 0..rows {
        let invalid = |problem: &dyn std::fmt::Display| FormatError::at(format_args!("X.npy, row {row}"), problem);
        let mut passages = Vec::new();
        let mut has_ended = false;
        for _ in 0..columns {
            let seconds = array.value(row)?;
            has_ended |= seconds == 0.0;
            if has_ended {
                continue;
            }
            datagrams += 1;
            if datagrams > MAX_DATAGRAMS {
                return Err(invalid(&format_args!("more than {MAX_DATAGRAMS} datagrams in all")));
            }
            let nanoseconds = (seconds.abs() * 1e9).round();
            if !(0.0..=super::MAX_TIME.as_nanos() as f64).contains(&nanoseconds) {
                return Err(invalid(&format_args!("a time of {seconds} s: expected at most {:?}", super::MAX_TIME)));
            }
            let direction = if seconds > 0.0 { Direction::Upload } else { Direction::Download };
            passages.push(Passage { at: Duration::from_nanos(nanoseconds as u64), direction, size: UNKNOWN_SIZE });
        }
        traces.push(passages);
    }
    Ok(Some(traces))
}

/// Reads the sizes, if they are there.
fn sizes<R: Read + Seek>(zip: &mut ZipArchive<R>, traces: &mut [Vec<Passage>]) -> Result<(), FormatError> {
    let Some(mut array) = Array::open(zip, "sizes.npy")? else { return Ok(()) };
    let [rows, columns] = array.shape()?;
    let longest = traces.iter().map(Vec::len).max().unwrap_or(0);
    if rows != traces.len() || !(longest..=MAX_COLUMNS).contains(&columns) {
        let problem = format_args!("{rows} rows of {columns}: expected {} of {longest} to {MAX_COLUMNS}", traces.len());
        return Err(FormatError::at("sizes.npy", problem));
    }
    for (row, trace) in traces.iter_mut().enumerate() {
        for column in 0..columns {
            let size = array.value(row)?;
            let Some(passage) = trace.get_mut(column) else { continue };
            if !(1.0..=65_535.0).contains(&size) || size.fract() != 0.0 {
                let problem = format_args!("{size} bytes: expected a whole number from 1 to 65535");
                return Err(FormatError::at(format_args!("sizes.npy, row {row}"), problem));
            }
            passage.size = size as u16;
        }
    }
    Ok(())
}

pub(super) fn failed(error: ZipError) -> FormatError {
    if let ZipError::Io(error) = error { FormatError::Io(error) } else { FormatError::at("the zip file", error) }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::trace::tests::loads;

    fn file(arrays: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, kind, shape, data) in arrays {
            let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
            zip.start_file(*name, options).unwrap();
            zip.write_all(&[&Array::header(kind, shape)[..], data].concat()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn error(arrays: &[(&str, &str, &[usize], &[u8])]) -> String {
        read(Cursor::new(file(arrays))).unwrap_err().to_string()
    }

    #[test]
    fn what_wflib_has_is_read() {
        let times: Vec<u8> = [0.5f32, -1.0, 0.0, -0.25, 0.0, 0.0].into_iter().flat_map(f32::to_le_bytes).collect();
        let bytes = file(&[("X.npy", "<f4", &[2, 3], &times), ("y.npy", "|u1", &[2], &[4, 4])]);
        let loads = read(Cursor::new(bytes)).unwrap();
        let all: Vec<Vec<_>> = loads
            .iter()
            .map(|load| load.trace.iter().map(|passage| (passage.at.as_millis(), passage.direction)).collect())
            .collect();
        assert_eq!(all[0], [(500, Direction::Upload), (1_000, Direction::Download)]);
        assert_eq!(all[1], [(250, Direction::Download)]);
        assert_eq!(
            loads.iter().map(|load| (load.label, load.visit, load.draw)).collect::<Vec<_>>(),
            [(4, 0, None), (4, 1, None)]
        );
    }

    #[test]
    fn what_cannot_be_is_said_with_its_array() {
        let labels: (&str, &str, &[usize], &[u8]) = ("y.npy", "|u1", &[1], &[0]);
        assert_eq!(error(&[labels]), "X.npy: it is not in the file: expected X.npy and y.npy");
        assert!(error(&[]).starts_with("y.npy: it is not in the file"));
        assert_eq!(error(&[("y.npy", "|u1", &[2], &[0])]), "y.npy, row 1: it ends there");
        assert_eq!(
            error(&[("y.npy", "|O", &[1], &[0])]),
            "y.npy: values of kind \"|O\": expected numbers: f4, f8, i1 to i8, u1 to u8"
        );
        assert!(error(&[("y.npy", "|u1", &[1, 1], &[0])]).contains("2 dimensions: expected 1"));
        assert!(error(&[("y.npy", "|u1", &[1 << 40], &[0])]).contains("expected at most 1048576"));
        assert!(error(&[("X.npy", "|u1", &[2, 1], &[0]), labels]).contains("expected the 1 rows of y.npy"));
        assert!(error(&[("X.npy", "|u1", &[1, 1 << 40], &[0]), labels]).contains("of at most 4194304"));
        assert!(error(&[("X.npy", "<f8", &[1, 1], &f64::NAN.to_le_bytes()), labels]).contains("a time of NaN s"));
        assert!(error(&[("X.npy", "<f8", &[1, 1], &1e9f64.to_le_bytes()), labels]).contains("a time of 1000000000 s"));
        let times: (&str, &str, &[usize], &[u8]) = ("X.npy", "|u1", &[1, 1], &[1]);
        assert!(error(&[times, labels, ("sizes.npy", "|u1", &[1, 1], &[0])]).starts_with("sizes.npy, row 0: 0 bytes"));
        assert!(error(&[times, labels, ("draw.npy", "|u1", &[2], &[0, 0])]).starts_with("draw.npy: 2 rows"));
        assert!(error(&[times, ("y.npy", "|i1", &[1], &[255])]).starts_with("y.npy, row 0: -1: expected 0 to"));
        assert!(read(Cursor::new(b"PK\x03\x04")).unwrap_err().to_string().starts_with("the zip file: "));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_but_for_the_first_nanosecond(loads in loads()) {
            let mut file = Cursor::new(Vec::new());
            write(&mut file, &loads).unwrap();
            let moved = loads.into_iter().map(|load| {
                let moved = load.trace.iter().map(|passage| Passage { at: passage.at.max(Duration::from_nanos(1)), ..passage });
                Labelled { trace: Trace::sorted(moved.collect()).unwrap(), ..load }
            });
            prop_assert_eq!(read(file).unwrap(), moved.collect::<Vec<_>>());
        }

        #[test]
        fn hostile_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
            let mut bytes = file(&[("X.npy", "<f8", &[1, 1], &[1; 8]), ("y.npy", "|u1", &[1], &[0])]);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = read(Cursor::new(bytes));
        }
    }
}

//! Files of traces: the format is what the name ends with.
//!
//! | ends with | is |
//! |---|---|
//! | `.npz` | a set, as WFlib reads it ([`npz`]) |
//! | `.csv` | a set, with all that it has ([`csv`]) |
//! | `.pcapng` | one trace, a capture ([`pcapng`]) |
//! | `.trace` | one trace, as Maybenot's simulator reads it ([`simulator`]) |

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::error::FormatError;
use super::{Labelled, csv, npz, pcapng, simulator};

/// Why a file was not read, or not written.
#[derive(Debug, Error)]
#[error("{}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong, and where in it.
    pub source: FormatError,
}

/// Reads a set of traces. That of a format with one trace has label and visit 0.
///
/// # Errors
/// If it cannot be read, its name ends otherwise, or what is in it cannot be.
pub fn read(path: &Path) -> Result<Vec<Labelled>, FileError> {
    let one = |trace| vec![Labelled { label: 0, visit: 0, draw: None, trace }];
    let read = || {
        let format = Format::of(path)?;
        let file = BufReader::new(File::open(path)?);
        match format {
            Format::Npz => npz::read(file),
            Format::Csv => csv::read(file),
            Format::Pcapng => pcapng::read(file, None).map(one),
            Format::Simulator => simulator::read(file).map(one),
        }
    };
    read().map_err(|source| FileError { path: path.to_owned(), source })
}

/// Writes a set of traces.
///
/// # Errors
/// If it cannot be written, its name ends otherwise, or the format cannot hold the set.
pub fn write(path: &Path, loads: &[Labelled]) -> Result<(), FileError> {
    let write = || {
        let format = Format::of(path)?;
        if matches!(format, Format::Pcapng | Format::Simulator) && loads.len() != 1 {
            return Err(FormatError::at(
                "the set",
                format_args!("{} traces: expected 1 in a file of this kind", loads.len()),
            ));
        }
        let file = BufWriter::new(File::create(path)?);
        match format {
            Format::Npz => npz::write(file, loads),
            Format::Csv => csv::write(file, loads),
            Format::Pcapng => pcapng::write(file, &loads[0].trace),
            Format::Simulator => simulator::write(file, &loads[0].trace),
        }
    };
    write().map_err(|source| FileError { path: path.to_owned(), source })
}

#[derive(Clone, Copy)]
enum Format {
    Npz,
    Csv,
    Pcapng,
    Simulator,
}

impl Format {
    fn of(path: &Path) -> Result<Self, FormatError> {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("npz") => Ok(Self::Npz),
            Some("csv") => Ok(Self::Csv),
            Some("pcapng") => Ok(Self::Pcapng),
            Some("trace") => Ok(Self::Simulator),
            _ => Err(FormatError::at("its name", "expected it to end with .npz, .csv, .pcapng or .trace")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::trace::{Direction, Passage, Trace};

    #[test]
    fn a_set_goes_through_every_kind_of_file() {
        let directory = tempfile::tempdir().unwrap();
        let passage = |ns, direction| Passage { at: std::time::Duration::from_nanos(ns), direction, size: 1_500 };
        let trace = Trace::sorted(vec![passage(1, Direction::Upload), passage(7, Direction::Download)]).unwrap();
        let loads = [Labelled { label: 0, visit: 0, draw: None, trace }];
        for name in ["a.npz", "a.csv", "a.pcapng", "a.trace"] {
            let path = directory.path().join(name);
            write(&path, &loads).unwrap();
            let read = read(&path).unwrap();
            assert_eq!((read.len(), read[0].trace.len()), (1, 2), "{name}");
        }
        let error = write(&directory.path().join("b.trace"), &[]).unwrap_err();
        assert_eq!(error.source().unwrap().to_string(), "the set: 0 traces: expected 1 in a file of this kind");
        let error = read(&directory.path().join("b.png")).unwrap_err();
        assert!(error.to_string().ends_with("b.png"), "{error}");
        assert!(error.source().unwrap().to_string().starts_with("its name: expected it to end with"));
        assert!(read(&directory.path().join("none.csv")).is_err());
    }
}

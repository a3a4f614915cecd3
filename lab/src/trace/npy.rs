//! An array of a `.npz` file, value by value: numpy's format 1.0 to 3.0 (numpy.lib.format).

use std::io::{BufReader, Read, Seek};

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::error::FormatError;
use super::npz::failed;

/// Most bytes of a header: numpy itself reads no longer ones.
const MAX_HEADER: usize = 10_000;

/// An array that is read from its start.
pub(super) struct Array<'a, R: Read> {
    reader: BufReader<ZipFile<'a, R>>,
    name: String,
    kind: Kind,
    shape: Vec<usize>,
    /// The last value, if its kind is whole.
    whole: Option<i64>,
}

#[derive(Clone, Copy)]
enum Kind {
    Float(usize),
    Signed(usize),
    Unsigned(usize),
}

impl<'a, R: Read + Seek> Array<'a, R> {
    /// Opens the array of that name; `None` if it is not there.
    pub(super) fn open(zip: &'a mut ZipArchive<R>, name: &str) -> Result<Option<Self>, FormatError> {
        let file = match zip.by_name(name) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut reader = BufReader::new(file);
        let invalid = |problem: &dyn std::fmt::Display| FormatError::at(name, problem);
        let short = |error: std::io::Error| invalid(&format_args!("its header does not end: {error}"));
        let mut start = [0; 8];
        reader.read_exact(&mut start).map_err(short)?;
        let length = match start {
            [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _] => {
                let mut length = [0; 2];
                reader.read_exact(&mut length).map_err(short)?;
                u16::from_le_bytes(length).into()
            }
            [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _] => {
                let mut length = [0; 4];
                reader.read_exact(&mut length).map_err(short)?;
                u32::from_le_bytes(length) as usize
            }
            _ => return Err(invalid(&"it does not start as arrays of numpy do, in version 1 to 3")),
        };
        if length > MAX_HEADER {
            return Err(invalid(&format_args!("a header of {length} bytes: expected at most {MAX_HEADER}")));
        }
        let mut header = vec![0; length];
        reader.read_exact(&mut header).map_err(short)?;
        let header = str::from_utf8(&header).map_err(|_| invalid(&"its header is not text"))?;
        let (kind, shape) = parse(header).map_err(|problem| invalid(&problem))?;
        Ok(Some(Self { reader, name: name.to_owned(), kind, shape, whole: None }))
    }

    /// Returns its shape, if it has `N` dimensions.
    pub(super) fn shape<const N: usize>(&self) -> Result<[usize; N], FormatError> {
        <[usize; N]>::try_from(&self.shape[..])
            .map_err(|_| FormatError::at(&self.name, format_args!("{} dimensions: expected {N}", self.shape.len())))
    }

    /// Reads the next value; `row` is for the error if there is none.
    pub(super) fn value(&mut self, row: usize) -> Result<f64, FormatError> {
        let (Kind::Float(width) | Kind::Signed(width) | Kind::Unsigned(width)) = self.kind;
        let mut bytes = [0; 8];
        self.reader.read_exact(&mut bytes[..width]).map_err(|error| {
            let place = format_args!("{}, row {row}", self.name).to_string();
            if error.kind() == std::io::ErrorKind::UnexpectedEof {
                FormatError::at(place, "it ends there")
            } else {
                FormatError::at(place, error)
            }
        })?;
        let bits = u64::from_le_bytes(bytes);
        let unused = 64 - 8 * width as u32;
        let (value, whole) = match self.kind {
            Kind::Float(4) => (f32::from_bits(bits as u32).into(), None),
            Kind::Float(_) => (f64::from_bits(bits), None),
            Kind::Signed(_) => {
                let value = (bits << unused) as i64 >> unused;
                (value as f64, Some(value))
            }
            Kind::Unsigned(_) => (bits as f64, i64::try_from(bits).ok()),
        };
        self.whole = whole;
        Ok(value)
    }

    /// Returns the last value exactly, if its kind is whole.
    pub(super) fn whole(&self) -> Option<i64> {
        self.whole
    }
}

impl Array<'_, std::io::Empty> {
    /// Returns the header of an array in rows, in version 1.0, padded to 64 bytes as numpy does.
    pub(super) fn header(kind: &str, shape: &[usize]) -> Vec<u8> {
        let shape: String = shape.iter().map(|length| format!("{length}, ")).collect();
        let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({}), }}", shape.trim_end());
        let length = (10 + text.len() + 1).next_multiple_of(64) - 10;
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend((length as u16).to_le_bytes());
        header.extend(format!("{text:<width$}\n", width = length - 1).bytes());
        header
    }
}

/// Reads the dictionary of a header.
fn parse(header: &str) -> Result<(Kind, Vec<usize>), String> {
    let value = |key: &str| {
        let (_, rest) =
            header.split_once(&format!("'{key}':")).ok_or(format!("its header has no {key}: {header:?}"))?;
        Ok::<_, String>(rest.trim_start())
    };
    let descr = value("descr")?.strip_prefix('\'').and_then(|rest| rest.split_once('\''));
    let descr = descr.map(|(descr, _)| descr).ok_or("its values are not plain numbers")?;
    let width = descr.get(2..).and_then(|width| width.parse().ok()).filter(|width| [1, 2, 4, 8].contains(width));
    let kind = match (descr.get(..2), width) {
        (Some("<f"), Some(width @ (4 | 8))) => Kind::Float(width),
        (Some("<i" | "|i"), Some(width)) => Kind::Signed(width),
        (Some("<u" | "|u"), Some(width)) => Kind::Unsigned(width),
        _ => return Err(format!("values of kind {descr:?}: expected numbers: f4, f8, i1 to i8, u1 to u8")),
    };
    if !value("fortran_order")?.starts_with("False") {
        return Err("it is in columns (fortran_order): expected rows".into());
    }
    let shape = value("shape")?.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let (shape, _) = shape.ok_or(format!("its shape is not a tuple: {header:?}"))?;
    let lengths = shape.split(',').map(str::trim).filter(|length| !length.is_empty());
    let shape =
        lengths.map(|length| length.parse().map_err(|_| format!("its shape has {length:?}: expected a number")));
    Ok((kind, shape.collect::<Result<_, _>>()?))
}

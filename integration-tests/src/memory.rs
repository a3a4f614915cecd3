//! What a process holds in its memory: how many copies of a key.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// How many copies of a key a process holds, in each of its forms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    /// The 32 bytes.
    pub raw: usize,
    /// As files have it: all of its base64 that no other key has.
    pub base64: usize,
    /// As the configuration socket has it, of either case.
    pub hex: usize,
}

impl Copies {
    /// No copy at all.
    pub const NONE: Self = Self { raw: 0, base64: 0, hex: 0 };
}

/// Counts the copies of `key`, which is given in base64, in all memory that the process `id` can write to: its heap, the
/// stacks of its threads, and its variables. Root may read it, whatever the process says.
///
/// The process goes on meanwhile; panics if it ends.
#[track_caller]
pub fn copies(id: u32, key: &str) -> Copies {
    let raw = BASE64.decode(key).expect("a key in base64");
    assert_eq!(raw.len(), 32, "a key");
    // The last group of the text may be cut off where it was pasted from.
    let text = key.trim_end_matches('=').as_bytes();
    let hex: String = raw.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut copies = Copies::NONE;
    for region in writable(id) {
        copies.raw += count(&region, &raw);
        copies.base64 += count(&region, text);
        copies.hex += count(&region, hex.as_bytes()) + count(&region, hex.to_uppercase().as_bytes());
    }
    copies
}

fn count(region: &[u8], sought: &[u8]) -> usize {
    region.windows(sought.len()).filter(|window| *window == sought).count()
}

/// Returns what is in each mapping that can be written to (proc_pid_maps(5)).
#[track_caller]
fn writable(id: u32) -> impl Iterator<Item = Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).expect("the process runs");
    let memory = File::open(format!("/proc/{id}/mem")).expect("root may read the memory of others");
    let mappings: Vec<(u64, u64)> = maps.lines().filter_map(mapping).collect();
    assert!(!mappings.is_empty(), "nothing can be written to:\n{maps}");
    mappings.into_iter().filter_map(move |(start, end)| {
        let mut region = vec![0; usize::try_from(end - start).expect("it fits into an address space")];
        // It may have been unmapped since.
        memory.read_exact_at(&mut region, start).ok().map(|()| region)
    })
}

/// Returns where a mapping begins and ends, if it can be read and written to.
fn mapping(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let is_writable = words.next()?.starts_with("rw");
    let parse = |text| u64::from_str_radix(text, 16).ok();
    is_writable.then_some((parse(start)?, parse(end)?))
}

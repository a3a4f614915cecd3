//! How much memory a process has.

/// Returns how much of a process's memory is resident, in KiB.
#[track_caller]
pub fn resident(process: u32) -> u64 {
    let path = format!("/proc/{process}/status");
    let status = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {path}: {error}"));
    let size = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    size.unwrap_or_else(|| panic!("no VmRSS in {status}"))
}

//! Files of /etc that only one host sees: its names, its resolver.

use std::fs;
use std::path::PathBuf;

use crate::host::Host;

/// A directory whose files `ip netns exec` puts over those of /etc. What runs already sees a file that is written anew, but
/// no file that is new.
#[derive(Debug)]
pub struct Etc(PathBuf);

impl Etc {
    /// Makes the directory of `host`.
    #[track_caller]
    pub fn of(host: &Host) -> Self {
        let etc = Self(PathBuf::from("/etc/netns").join(host.namespace()));
        fs::create_dir_all(&etc.0).expect("/etc can be written to");
        etc
    }

    /// Writes a file.
    #[track_caller]
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).expect("the directory is there");
    }
}

impl Drop for Etc {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
        // Unless there are others.
        fs::remove_dir("/etc/netns").ok();
    }
}

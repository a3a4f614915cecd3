//! The names that this host has for its routing tables.

use std::fs;
use std::path::{Path, PathBuf};

use maybetun::config::Tables;

/// Where iproute2 looks, the first that is there: the file of the administrator, then that of the distribution.
const FILES: [&str; 3] = ["/etc/iproute2/rt_tables", "/usr/share/iproute2/rt_tables", "/usr/lib/iproute2/rt_tables"];

/// Where more of them are, in files whose names end in `.conf`; what stands in the last counts.
const DIRECTORIES: [&str; 3] =
    ["/usr/lib/iproute2/rt_tables.d", "/usr/share/iproute2/rt_tables.d", "/etc/iproute2/rt_tables.d"];

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 1024 * 1024;

/// Returns the names of routing tables that `ip` knows on this host.
pub(crate) fn of_host() -> Tables {
    read(&FILES.map(Path::new), &DIRECTORIES.map(Path::new))
}

fn read(files: &[&Path], directories: &[&Path]) -> Tables {
    let mut tables = Tables::default();
    let first = files.iter().find(|file| file.is_file()).map(|file| file.to_path_buf());
    for file in first.into_iter().chain(directories.iter().flat_map(|directory| files_of(directory))) {
        match text_of(&file) {
            Ok(text) => tables.add_file(&text),
            Err(error) => tracing::debug!("cannot read {}: {error}", file.display()),
        }
    }
    tables
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<PathBuf> = entries.filter(|file| file.extension().is_some_and(|end| end == "conf")).collect();
    files.sort();
    files
}

fn text_of(file: &Path) -> std::io::Result<String> {
    let size = fs::metadata(file)?.len();
    if size > MAX_FILE {
        return Err(std::io::ErrorKind::FileTooLarge.into());
    }
    Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use maybetun::config::{Names, Table, parse_with};

    #[test]
    fn the_first_file_and_every_directory_give_names() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let more = path("rt_tables.d");
        fs::create_dir(&more).unwrap();
        fs::write(path("first"), "100 office\n").unwrap();
        fs::write(path("second"), "101 lab\n").unwrap();
        fs::write(more.join("a.conf"), "102 home\n103 caf\u{e9}\n").unwrap();
        fs::write(more.join("b.txt"), "104 passed-over\n").unwrap();
        let tables = read(&[&path("none"), &path("first"), &path("second")], &[&path("no.d"), &more]);
        let table = |name: &str| {
            let names = Names { tables: &tables, check_defense: &|_| Ok(()) };
            let parsed = parse_with(format!("[Interface]\nTable = {name}\n"), names);
            parsed.map(|config| config.interface.table).map_err(|error| error.to_string())
        };
        for (name, number) in [("office", 100), ("home", 102), ("caf\u{e9}", 103), ("main", 254)] {
            assert_eq!(table(name), Ok(Table::Number(number)), "{name}");
        }
        assert!(table("lab").is_err() && table("passed-over").is_err());
        assert!(table("ofice").unwrap_err().ends_with("found \"ofice\": did you mean \"office\"?"));
    }
}

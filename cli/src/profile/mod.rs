//! `profile`: the traffic profiles that there are, whether a file is one, and one derived from a capture.

mod derive;
mod summary;

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use maybetun_machines::profile::{MAX_PROFILE, Profile, ProfileName};

use super::exit::{Exit, Failure, OrExit as _};

/// Lists, checks and derives traffic profiles: what kinds of use look like, which padding may follow.
#[derive(Debug, clap::Args)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, clap::Subcommand)]
enum ProfileCommand {
    /// Lists the profiles that come with maybetun.
    ///
    /// UP/DOWN is how many bytes go up for those that come down; UP and DOWN are mean rates in kbit/s, over the long run.
    List,
    /// Reads a profile from a TOML file and says whether it is valid, and what is in it.
    ///
    /// A file that is not valid gives `FILE: KEY: message` and exit code 3.
    Check {
        /// The file.
        file: PathBuf,
    },
    Derive(derive::DeriveArgs),
}

/// Lists, checks or derives.
pub(crate) fn run(args: &ProfileArgs) -> anyhow::Result<()> {
    let output = match &args.command {
        ProfileCommand::List => summary::table(ProfileName::ALL.map(ProfileName::profile)),
        ProfileCommand::Check { file } => {
            let profile = read(file)?;
            format!("{}: ok\n{}", file.display(), summary::details(&profile))
        }
        ProfileCommand::Derive(args) => derive::run(args)?,
    };
    io::stdout().write_all(output.as_bytes()).context("cannot write to standard output")
}

/// Reads a profile from a file.
fn read(path: &Path) -> anyhow::Result<Profile> {
    let text = read_bounded(path).or_exit(Exit::Config, format!("cannot read {}", path.display()))?;
    Profile::parse(&text).map_err(|error| Failure::error(Exit::Config, format!("{}: {error}", path.display())))
}

/// Reads a file to its end, or a little beyond the size that the parser takes.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_PROFILE as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    #[test]
    fn a_file_that_is_wrong_is_named_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        let video = ProfileName::Video.profile();
        std::fs::write(&path, video.to_toml()).unwrap();
        assert_eq!(&read(&path).unwrap(), video);
        std::fs::write(&path, video.to_toml().replacen("weight = ", "weight = -", 1)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().starts_with(&format!("{}: states.", path.display())), "{error}");
        assert_eq!(exit::of(&error), Exit::Config);
        std::fs::write(&path, vec![b'#'; MAX_PROFILE + 2]).unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("expected at most 65536"));
        assert_eq!(exit::of(&read(Path::new("/no/such/file.toml")).unwrap_err()), Exit::Config);
    }
}

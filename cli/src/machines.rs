//! `machines`: the defenses that there are, one that is drawn, and whether a file is one.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use maybetun_machines::{Defense, Limits, MAX_FILE, Overhead, Role, Side, Strength, Tier, catalogue, find};
use rand_chacha::ChaCha20Rng;
use rand_core::{OsRng, RngCore as _, SeedableRng as _, TryRngCore as _};
use serde::Serialize;

use super::exit::{Exit, Failure, OrExit as _};

/// Grows when a member changes its meaning or goes away; new members may come without.
const VERSION: u32 = 1;

/// The schema, as the help tells it.
const HELP: &str = r#"JSON schema (--json). Members may be added; `version` grows if one changes or goes:
  {
    "version": 1,
    "defenses": [{
      "name": string,
      "description": string,
      "source": string,
      "digest": string (64 hexadecimal digits, of machines and limits),
      "overhead": {"upload", "download": padding packets for each normal packet,
                   "delay": fraction by which page loads take longer} or null,
      "client", "relay": {
        "machines": [string (Maybenot's text form)],
        "limits": {"max_padding_frac", "max_blocking_frac": number from 0 to 1, 0 if there is none,
                   "max_actions_per_second": number}
      }
    }]
  }"#;

/// Lists, shows, draws and checks defenses: the Maybenot machines that client and relay run.
#[derive(Debug, clap::Args)]
pub(crate) struct MachinesArgs {
    #[command(subcommand)]
    command: MachinesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum MachinesCommand {
    /// Lists the defenses of the catalogue.
    ///
    /// Overhead is padding packets for each normal packet, up and down, and the fraction by which page loads take longer.
    #[command(after_long_help = HELP)]
    List {
        /// Prints one JSON object instead; `--help` has its schema.
        #[arg(long)]
        json: bool,
    },
    /// Shows a defense of the catalogue.
    #[command(after_long_help = HELP)]
    Show {
        /// Its name, as `maybetun machines list` has it.
        name: String,

        /// Prints one JSON object instead, as `list --json` does; `--help` has its schema.
        #[arg(long, conflicts_with = "toml")]
        json: bool,

        /// Prints the file instead, to start one's own from.
        #[arg(long)]
        toml: bool,
    },
    /// Draws an ephemeral defense and prints its file: for simulators, or to run one that stays the same.
    ///
    /// The ends of a tunnel draw theirs from a seed that only they know; the same seed gives the same defense, on every
    /// machine, for one version of the pool.
    #[command(after_long_help = HELP)]
    Draw {
        /// What kind of machines.
        #[arg(long, value_name = "padding|blocking", default_value_t)]
        tier: Tier,

        /// How much they do.
        #[arg(long, value_name = "low|medium|high", default_value_t)]
        strength: Strength,

        /// 64 hexadecimal digits; random by default. The file says which.
        #[arg(long, value_parser = parse_seed)]
        seed: Option<[u8; 32]>,

        /// Prints one JSON object instead, as `list --json` does; `--help` has its schema.
        #[arg(long)]
        json: bool,
    },
    /// Reads a defense from a TOML file and says whether it is valid; runs nothing.
    ///
    /// A valid file gives `FILE: ok`; one that is not, `FILE: KEY: message` and exit code 3.
    Check {
        /// The file.
        file: PathBuf,
    },
}

/// Lists, shows or checks.
pub(crate) fn run(args: &MachinesArgs) -> anyhow::Result<()> {
    let output = match &args.command {
        MachinesCommand::List { json } => {
            let defenses = catalogue().iter().map(|entry| entry.defense());
            if *json { document(defenses)? } else { table(defenses) }
        }
        MachinesCommand::Show { name, json, toml } => {
            let Some(defense) = find(name) else {
                let message = format!("no defense {name:?}: `maybetun machines list` has their names");
                return Err(Failure::error(Exit::Usage, message));
            };
            match (json, toml) {
                (true, _) => document([defense])?,
                (_, true) => defense.to_toml(),
                (false, false) => details(defense),
            }
        }
        MachinesCommand::Draw { tier, strength, seed, json } => {
            let defense = drawn(*tier, *strength, seed.unwrap_or_else(random_seed))?;
            if *json { document([&defense])? } else { defense.to_toml() }
        }
        MachinesCommand::Check { file } => {
            read(file)?;
            format!("{}: ok\n", file.display())
        }
    };
    io::stdout().write_all(output.as_bytes()).context("cannot write to standard output")
}

/// Draws a defense that says what it was drawn from.
fn drawn(tier: Tier, strength: Strength, seed: [u8; 32]) -> anyhow::Result<Defense> {
    let defense = maybetun_machines::draw(&mut ChaCha20Rng::from_seed(seed), tier, strength);
    let description = format!("{tier}, {strength}, drawn from {}", hex::encode(seed));
    Ok(defense.with_texts(&description, "maybetun machines draw")?)
}

fn parse_seed(text: &str) -> Result<[u8; 32], &'static str> {
    let mut seed = [0; 32];
    hex::decode_to_slice(text, &mut seed).map_err(|_| "expected 64 hexadecimal digits")?;
    Ok(seed)
}

fn random_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    OsRng.unwrap_err().fill_bytes(&mut seed);
    seed
}

/// Reads a defense from a file.
///
/// # Errors
/// When it cannot be read, or is not valid; the message names file and key.
pub(super) fn read(path: &Path) -> anyhow::Result<Defense> {
    let text = read_bounded(path).or_exit(Exit::Config, format!("cannot read {}", path.display()))?;
    Defense::parse(&text)
        .map_err(|error| Failure::error(Exit::Config, error.in_file(path.display().to_string()).to_string()))
}

/// Reads a file to its end, or a little beyond the size that the parser takes.
fn read_bounded(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE as u64 + 1).read_to_string(&mut text)?;
    Ok(text)
}

/// Renders defenses as a table.
fn table<'a>(defenses: impl IntoIterator<Item = &'a Defense>) -> String {
    let heads = ["NAME", "CLIENT", "RELAY", "UP", "DOWN", "DELAY", "DESCRIPTION"].map(str::to_owned);
    let rows = std::iter::once(heads).chain(defenses.into_iter().map(row)).collect::<Vec<_>>();
    let mut text = String::new();
    for row in &rows {
        let [name, numbers @ .., description] = row;
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let _ = write!(text, "{name:<0$}", width(0));
        for (column, number) in (1..).zip(numbers) {
            let _ = write!(text, "  {number:>0$}", width(column));
        }
        let _ = writeln!(text, "  {description}");
    }
    text
}

fn row(defense: &Defense) -> [String; 7] {
    let unknown = || "-".to_owned();
    let of = |part: fn(Overhead) -> f64| defense.overhead().map_or_else(unknown, |known| format!("{:.2}", part(known)));
    [
        defense.name().to_owned(),
        defense.client().machines.len().to_string(),
        defense.relay().machines.len().to_string(),
        of(|overhead| overhead.upload),
        of(|overhead| overhead.download),
        of(|overhead| overhead.delay),
        defense.description().to_owned(),
    ]
}

/// Renders all that is known of a defense, but for the machines themselves.
fn details(defense: &Defense) -> String {
    let mut text = format!(
        "{}: {}\n  source: {}\n  digest: {}\n",
        defense.name(),
        defense.description(),
        defense.source(),
        defense.digest()
    );
    if let Some(Overhead { upload, download, delay }) = defense.overhead() {
        let _ = writeln!(text, "  padding packets for each normal packet: {upload:.2} up, {download:.2} down");
        let _ = writeln!(text, "  page loads take longer by: {:.0} %", delay * 100.0);
    }
    for role in [Role::Client, Role::Relay] {
        describe(role, defense.side(role), &mut text);
    }
    text
}

fn describe(role: Role, side: &Side, text: &mut String) {
    let Limits { max_padding_frac, max_blocking_frac, max_actions_per_second } = side.limits;
    let fraction = |limit: f64| if limit > 0.0 { limit.to_string() } else { "no limit".to_owned() };
    let _ = writeln!(text, "\n{role}:");
    let _ = writeln!(text, "  padding, fraction of packets: {}", fraction(max_padding_frac));
    let _ = writeln!(text, "  blocking, fraction of time: {}", fraction(max_blocking_frac));
    let _ = writeln!(text, "  actions a second: at most {max_actions_per_second}");
    if side.machines.is_empty() {
        let _ = writeln!(text, "  no machines");
    }
    for machine in side.machines.iter() {
        let _ = writeln!(text, "  machine {}: {} states", machine.name(), machine.states.len());
    }
}

#[derive(Serialize)]
struct Document {
    version: u32,
    defenses: Vec<DefenseDocument>,
}

#[derive(Serialize)]
struct DefenseDocument {
    name: String,
    description: String,
    source: String,
    digest: String,
    overhead: Option<Overhead>,
    client: SideDocument,
    relay: SideDocument,
}

#[derive(Serialize)]
struct SideDocument {
    machines: Vec<String>,
    limits: Limits,
}

/// Renders the JSON document, with a line end.
fn document<'a>(defenses: impl IntoIterator<Item = &'a Defense>) -> anyhow::Result<String> {
    let side = |side: &Side| SideDocument { machines: side.texts(), limits: side.limits };
    let of = |defense: &Defense| DefenseDocument {
        name: defense.name().to_owned(),
        description: defense.description().to_owned(),
        source: defense.source().to_owned(),
        digest: defense.digest().to_string(),
        overhead: defense.overhead(),
        client: side(defense.client()),
        relay: side(defense.relay()),
    };
    let document = Document { version: VERSION, defenses: defenses.into_iter().map(of).collect() };
    Ok(serde_json::to_string_pretty(&document).context("cannot write JSON")? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    /// Two defenses, the second of which says nothing but its name.
    fn samples() -> [Defense; 2] {
        let text = r#"
            name = "sample"
            description = "Does nothing"
            source = "nowhere"
            overhead = { upload = 4.125, download = 10, delay = 0.5 }
            client = { machines = ["02eNpjYEAHjOgCAAA0AAI="], limits = { max_padding_frac = 0.5 } }"#;
        [text, "name = \"x\""].map(|text| Defense::parse(text).unwrap())
    }

    #[test]
    fn a_table_has_a_line_for_each() {
        let expected = "\
NAME    CLIENT  RELAY    UP   DOWN  DELAY  DESCRIPTION
sample       1      0  4.12  10.00   0.50  Does nothing
x            0      0     -      -      -  \n";
        assert_eq!(table(&samples()), expected);
        assert_eq!(table(catalogue().iter().map(|entry| entry.defense())).lines().count(), 1 + catalogue().len());
    }

    #[test]
    fn details_tell_what_each_end_may_do() {
        let [sample, _] = samples();
        let expected = format!(
            "\
sample: Does nothing
  source: nowhere
  digest: {}
  padding packets for each normal packet: 4.12 up, 10.00 down
  page loads take longer by: 50 %

client:
  padding, fraction of packets: 0.5
  blocking, fraction of time: no limit
  actions a second: at most 100000
  machine {}: 1 states

relay:
  padding, fraction of packets: no limit
  blocking, fraction of time: no limit
  actions a second: at most 100000
  no machines
",
            sample.digest(),
            sample.client().machines[0].name()
        );
        assert_eq!(details(&sample), expected);
    }

    #[test]
    fn the_json_is_as_the_help_tells_it() {
        let [sample, bare] = samples();
        let value: serde_json::Value = serde_json::from_str(&document([&sample, &bare]).unwrap()).unwrap();
        let none = serde_json::json!(
            {"max_padding_frac": 0.0, "max_blocking_frac": 0.0, "max_actions_per_second": 100_000.0});
        let expected = serde_json::json!({
            "version": 1,
            "defenses": [{
                "name": "sample",
                "description": "Does nothing",
                "source": "nowhere",
                "digest": sample.digest().to_string(),
                "overhead": {"upload": 4.125, "download": 10.0, "delay": 0.5},
                "client": {
                    "machines": ["02eNpjYEAHjOgCAAA0AAI="],
                    "limits": {"max_padding_frac": 0.5, "max_blocking_frac": 0.0, "max_actions_per_second": 100_000.0}
                },
                "relay": {"machines": [], "limits": none}
            }, {
                "name": "x",
                "description": "",
                "source": "",
                "digest": bare.digest().to_string(),
                "overhead": null,
                "client": {"machines": [], "limits": none},
                "relay": {"machines": [], "limits": none}
            }]
        });
        assert_eq!(value, expected);
        for member in ["defenses", "digest", "overhead", "delay", "machines", "max_actions_per_second"] {
            assert!(HELP.contains(&format!("\"{member}\"")), "{member}");
        }
    }

    #[test]
    fn a_file_that_is_wrong_is_named_with_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("mine.toml");
        std::fs::write(&path, samples()[0].to_toml()).unwrap();
        assert_eq!(read(&path).unwrap(), samples()[0]);
        std::fs::write(&path, "name = \"x\"\nclient = { machines = [\"03eNp\"] }").unwrap();
        let error = read(&path).unwrap_err();
        let place = format!("{}: client.machines[0]: ", path.display());
        assert!(error.to_string().starts_with(&place), "{error}");
        assert_eq!(exit::of(&error), Exit::Config);
        std::fs::write(&path, vec![b'#'; MAX_FILE + 2]).unwrap();
        assert!(read(&path).unwrap_err().to_string().ends_with("expected at most 2097152"));
        assert_eq!(exit::of(&read(Path::new("/no/such/file.toml")).unwrap_err()), Exit::Config);
    }

    #[test]
    fn a_draw_can_be_repeated_from_what_its_file_says() {
        let one = drawn(Tier::Blocking, Strength::Low, random_seed()).unwrap();
        let file = Defense::parse(&one.to_toml()).unwrap();
        let seed = parse_seed(file.description().rsplit_once(' ').unwrap().1).unwrap();
        assert_eq!(file, drawn(Tier::Blocking, Strength::Low, seed).unwrap());
        assert_ne!(file.digest(), drawn(Tier::Blocking, Strength::Low, random_seed()).unwrap().digest());
        assert!(parse_seed("00").is_err() && parse_seed(&"g".repeat(64)).is_err());
    }

    #[test]
    fn a_name_that_is_not_there_is_wrong_usage() {
        let command = MachinesCommand::Show { name: "nothing".to_owned(), json: false, toml: false };
        assert_eq!(exit::of(&run(&MachinesArgs { command }).unwrap_err()), Exit::Usage);
    }
}

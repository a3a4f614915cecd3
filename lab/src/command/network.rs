//! The network that loads pass, and which loads.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use maybetun_lab::attack;
use maybetun_lab::study::{Engine, Options};
use maybetun_lab::workload::{Access, Plan, Protocol, RateChange};

/// What is loaded, and through what.
#[derive(Debug, clap::Args)]
pub(super) struct Loads {
    /// Sites; by default the files of --har if there are two or more, else 20.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1_000))]
    sites: Option<u32>,

    /// A page that a browser has exported (HAR), to load in place of a drawn one; may stand several times.
    #[arg(long, value_name = "FILE")]
    har: Vec<PathBuf>,

    /// How requests share connections: h1, h2 or h3; without, as a page's file says, or h2.
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,

    /// Visits of each site.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    visits: u32,

    /// Loads of a session: so many sites are loaded one after another through one tunnel, whose defense goes on.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    session: u32,

    /// Seconds for which a page is read before the next load: the trace goes on.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    reading: u64,

    /// What all draws come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    network: Network,
}

/// The network.
#[derive(Debug, clap::Args)]
pub(super) struct Network {
    /// Milliseconds of a round trip between client and relay when nothing waits.
    #[arg(long, value_name = "MS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(0..=10_000), help_heading = "Network")]
    rtt: u64,

    /// Mbit/s to the client.
    #[arg(long, value_name = "MBIT", default_value_t = 100.0, help_heading = "Network")]
    down: f64,

    /// Mbit/s from the client.
    #[arg(long, value_name = "MBIT", default_value_t = 20.0, help_heading = "Network")]
    up: f64,

    /// Milliseconds for which the last of a full queue waits.
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000), help_heading = "Network")]
    queue: u64,

    /// Milliseconds by which a packet is later at most.
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000), help_heading = "Network")]
    jitter: u64,

    /// The part of packets that is lost, from 0 to less than 1.
    #[arg(long, value_name = "PART", default_value_t = 0.0, help_heading = "Network")]
    loss: f64,

    /// How many are lost in a row, on average.
    #[arg(long, value_name = "N", default_value_t = 1.0, help_heading = "Network")]
    loss_run: f64,

    /// Other rates from some time after the start of a load on: SECONDS:DOWN:UP, in Mbit/s.
    #[arg(long, value_name = "CHANGE", value_parser = rate_change, help_heading = "Network")]
    change: Option<RateChange>,
}

impl Network {
    /// Returns it.
    ///
    /// # Errors
    /// When there is none such.
    pub(super) fn access(&self) -> anyhow::Result<Access> {
        let [down, up] = [bits(self.down)?, bits(self.up)?];
        ensure!((0.0..1.0).contains(&self.loss), "--loss {}: expected 0 to less than 1", self.loss);
        ensure!((1.0..=1_000.0).contains(&self.loss_run), "--loss-run {}: expected 1 to 1000", self.loss_run);
        Ok(Access {
            round_trip: Duration::from_millis(self.rtt),
            down,
            up,
            queue: Duration::from_millis(self.queue),
            jitter: Duration::from_millis(self.jitter),
            loss: self.loss,
            loss_run: self.loss_run,
            change: self.change,
        })
    }
}

impl Loads {
    /// Returns the options of a study in which an observer learns from them.
    ///
    /// # Errors
    /// When there are too few, and as [`options`](Self::options).
    pub(super) fn options_to_attack(&self, engine: Engine) -> anyhow::Result<Options> {
        let options = self.options(engine)?;
        let (visits, folds) = (options.visits, options.attack.folds);
        ensure!(visits as usize >= folds, "--visits {visits}: expected at least {folds}, one for each fold");
        Ok(options)
    }

    /// Returns the options of a study of them by an engine.
    ///
    /// # Errors
    /// When there is no such network, or a page cannot be read.
    pub(super) fn options(&self, engine: Engine) -> anyhow::Result<Options> {
        let usual = Options::default();
        let pages = self.har.iter().map(|path| Plan::read_har(path)).collect::<Result<Vec<_>, _>>()?;
        let files = u32::try_from(pages.len()).unwrap_or(u32::MAX);
        Ok(Options {
            sites: self.sites.unwrap_or(if files < 2 { usual.sites } else { files }),
            pages,
            protocol: self.protocol,
            visits: self.visits,
            session: self.session,
            engine,
            seed: self.seed,
            reading: Duration::from_secs(self.reading),
            access: self.network.access()?,
            attack: attack::Options { seed: self.seed, ..usual.attack },
            ..usual
        })
    }
}

fn bits(megabits: f64) -> anyhow::Result<u64> {
    ensure!((0.01..=100_000.0).contains(&megabits), "{megabits} Mbit/s: expected 0.01 to 100000");
    Ok((megabits * 1e6) as u64)
}

fn rate_change(text: &str) -> Result<RateChange, String> {
    let wrong = || format!("{text:?}: expected SECONDS:DOWN:UP, such as 2:5:1");
    let parts: Vec<f64> = text.split(':').map(|part| part.parse().map_err(|_| wrong())).collect::<Result<_, _>>()?;
    let [after, down, up] = parts[..] else { return Err(wrong()) };
    if !(0.0..=86_400.0).contains(&after) {
        return Err(wrong());
    }
    let [down, up] = [down, up].map(bits).map(|rate| rate.map_err(|error| error.to_string()));
    Ok(RateChange { after: Duration::from_secs_f64(after), down: down?, up: up? })
}

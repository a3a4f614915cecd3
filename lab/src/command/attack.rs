//! `attack`: traces of a file.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use maybetun_lab::attack::{Accuracy, Features, Options, closed_world, learning_curve, shape};
use maybetun_lab::report::VERSION;
use maybetun_lab::trace::file;

use super::results::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Attack {
    /// The traces, with labels: a file whose name ends with .npz (as WFlib reads it) or .csv.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What the attacker makes of a trace.
    #[arg(long, value_name = "FEATURES", default_value = "all")]
    features: Kind,

    /// Parts of the traces, each of which is tested with what was learnt from the others.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(2..=1_000))]
    folds: u16,

    /// Tells how well he does with so many traces of each label to learn from, too.
    #[arg(long, value_name = "N,N", value_delimiter = ',')]
    curve: Vec<usize>,

    /// Shows what each label was taken for.
    #[arg(long)]
    confusion: bool,

    /// Writes the results to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// What all draws come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Kind {
    /// All that there is.
    All,
    /// k-fingerprinting, with sizes.
    KFingerprinting,
    /// Robust Fingerprinting's matrix.
    Matrix,
    /// The throughput of the whole, in steps of 1 s and 100 ms.
    Shape,
}

impl Attack {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let json = self.json.as_deref().map(Output::open).transpose()?;
        let loads = file::read(&self.file).context("cannot read the traces")?;
        let features = match self.features {
            Kind::All | Kind::Shape => Features::All,
            Kind::KFingerprinting => Features::KFingerprinting,
            Kind::Matrix => Features::Matrix,
        };
        let options = Options { features, folds: self.folds.into(), seed: self.seed, ..Options::default() };
        let accuracy = match self.features {
            Kind::Shape => shape::classify(&loads, &options)?,
            Kind::All | Kind::KFingerprinting | Kind::Matrix => closed_world(&loads, &options)?,
        };
        let mut text = format!("{} traces of {} labels\n{}\n", loads.len(), accuracy.labels.len(), line(&accuracy));
        let curve = learning_curve(&loads, &self.curve, &options)?;
        for point in &curve {
            text += &format!("with {} of each label: {}\n", point.loads, line(&point.accuracy));
        }
        if self.confusion {
            text += "label: what it was taken for, and how often\n";
            for (label, row) in accuracy.labels.iter().zip(&accuracy.confusion) {
                let named = accuracy.labels.iter().zip(row).filter(|(_, count)| **count > 0);
                let named: Vec<_> = named.map(|(label, count)| format!("{label} {count}")).collect();
                text += &format!("{label}: {}\n", named.join(", "));
            }
        }
        if let Some(json) = json {
            let results = serde_json::json!({"version": VERSION, "accuracy": accuracy, "curve": curve});
            json.write(&format!("{results}\n"))?;
        }
        io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
    }
}

fn line(accuracy: &Accuracy) -> String {
    let [low, high] = accuracy.interval;
    let percent = |part: f64| 100.0 * part;
    format!(
        "{:.1} % are named ({:.1} to {:.1} at 95 %), a guess {:.1} %",
        percent(accuracy.mean),
        percent(low),
        percent(high),
        percent(accuracy.chance)
    )
}

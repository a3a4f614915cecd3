//! `masking`: what masking makes of the upload ratio, and what it costs.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use maybetun::masking::{Allowance, Band, MaskingMode};
use maybetun::settings::MaskingSettings;
use maybetun_lab::defense::Defense;
use maybetun_lab::report::VERSION;
use maybetun_lab::study::{Masked, MaskingOptions, Scenario, masked};

use super::network::Network;
use super::results::Output;

#[derive(Debug, clap::Args)]
pub(super) struct Masking {
    /// What users do: camera, call, browsing, video, download, idle, day; all of them by default.
    #[arg(value_name = "SCENARIO", value_parser = scenario)]
    scenarios: Vec<Scenario>,

    /// The defense beside it, as `table` has it.
    #[arg(long, value_name = "DEFENSE", value_parser = Defense::parse, default_value = "padding/medium")]
    defense: Defense,

    /// How it masks: `adaptive` or a profile.
    #[arg(long, value_name = "MODE", default_value = "adaptive")]
    mode: MaskingMode,

    /// What that may cost.
    #[arg(long, value_name = "BUDGET", default_value_t = Allowance::MASKING)]
    budget: Allowance,

    /// The band of the upload ratio.
    #[arg(long, value_name = "LOW-HIGH%", default_value_t = Band::USUAL)]
    upload_ratio: Band,

    /// Whether wakeups are batched.
    #[arg(long)]
    battery_saver: bool,

    /// Minutes of a session; the day has 24 times as many.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=60))]
    minutes: u64,

    /// Writes the results to this file, too, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// What all draws come from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    #[command(flatten)]
    network: Network,
}

fn scenario(text: &str) -> Result<Scenario, String> {
    let names = || Scenario::ALL.map(Scenario::name).join(", ");
    Scenario::ALL
        .into_iter()
        .find(|scenario| scenario.name() == text)
        .ok_or_else(|| format!("expected one of {}", names()))
}

impl Masking {
    pub(super) fn run(&self) -> anyhow::Result<()> {
        let json = self.json.as_deref().map(Output::open).transpose()?;
        let scenarios = if self.scenarios.is_empty() { &Scenario::ALL[..] } else { &self.scenarios };
        let masking = MaskingSettings {
            mode: Some(self.mode),
            upload_ratio: Some(self.upload_ratio),
            masking_budget: Some(self.budget),
            battery_saver: Some(self.battery_saver),
            ..MaskingSettings::default()
        };
        let options = MaskingOptions {
            defense: self.defense.clone(),
            masking,
            access: self.network.access()?,
            time: Duration::from_secs(60 * self.minutes),
            seed: self.seed,
        };
        let off =
            MaskingOptions { masking: MaskingSettings { mode: Some(MaskingMode::Off), ..masking }, ..options.clone() };
        let bare = MaskingOptions { defense: Defense::None, ..off.clone() };
        let runs = [&bare, &off, &options].map(|options| masked(options, scenarios));
        let mut text = format!(
            "{} minutes each, {}, masking {} within {}, band {}, seed {}.\n\n\
             | session | | in band | median | ratio of all | MB up, down | more than bare | visible | 95 % late | wakeups/s | spent, MB |\n\
             |---|---|---|---|---|---|---|---|---|---|---|\n",
            self.minutes,
            self.defense.name(),
            self.mode,
            self.budget,
            self.upload_ratio,
            self.seed
        );
        for number in 0..scenarios.len() {
            let name = scenarios[number].name();
            let bare_bytes: u64 = runs[0][number].bytes.iter().sum();
            for (run, of) in runs.iter().zip(["bare", "defended", "masked"]) {
                text += &row(name, of, &run[number], bare_bytes);
            }
        }
        if let Some(json) = json {
            let [bare, defended, masked] = &runs;
            let results = serde_json::json!({"version": VERSION, "bare": bare, "defended": defended, "masked": masked});
            json.write(&format!("{results}\n"))?;
        }
        io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
    }
}

fn row(name: &str, of: &str, masked: &Masked, bare: u64) -> String {
    let percent = |part: f64| format!("{:.1} %", 100.0 * part);
    let [up, down] = masked.bytes.map(|bytes| format!("{:.1}", bytes as f64 / 1e6));
    let more = masked.bytes.iter().sum::<u64>() as f64 / bare.max(1) as f64 - 1.0;
    format!(
        "| {name} | {of} | {} of {} | {} | {} | {up}, {down} | {:+.0} % | {} | {:.1} ms | {:.1} | {} |\n",
        percent(masked.in_band),
        masked.windows,
        percent(masked.median),
        percent(masked.ratio),
        100.0 * more,
        percent(masked.visible),
        1_000.0 * masked.late.as_secs_f64(),
        masked.wakeups,
        masked.spent.map(|spent| format!("{:.1}", spent as f64 / 1e6)).join(", ")
    )
}

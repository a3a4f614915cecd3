//! Whether two engines agree: the same loads by both.

use std::fmt;

use super::{Engine, Options, StudyError, loads, times};
use crate::attack::{Accuracy, closed_world};
use crate::defense::Defense;
use crate::report::Times;
use crate::tunnels::client;

/// The same loads by two engines.
#[derive(Debug, Clone, PartialEq)]
pub struct Validation {
    /// The name of the defense.
    pub defense: String,
    /// What each engine makes of it.
    pub measured: [Measured; 2],
    /// How much longer loads take with the second than the same ones with the first, as a share: half of them less, half more.
    pub slower: f64,
}

/// What an engine makes of loads.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How long they take.
    pub times: Times,
    /// Packets of a load, up and down: the mean.
    pub packets: [f64; 2],
    /// Bytes of a load, alike.
    pub bytes: [f64; 2],
    /// How often the observer names the site.
    pub accuracy: Accuracy,
}

/// Has two engines do the same loads with each defense. `told` hears of each when it is there.
///
/// # Errors
/// When there is too little to learn from, or an engine fails.
pub fn validate(
    options: &Options,
    engines: [&Engine; 2],
    defenses: &[Defense],
    mut told: impl FnMut(&Validation),
) -> Result<Vec<Validation>, StudyError> {
    options.check()?;
    let sites = loads::sites(options);
    let mut rows = Vec::new();
    for defense in defenses {
        let mut measured = Vec::new();
        let mut all_times = Vec::new();
        for engine in engines {
            let options = Options { engine: engine.clone(), ..options.clone() };
            let visits = loads::load(&options, &sites, defense, &options.access, options.visits)?;
            let labelled = loads::labelled(&visits, defense)?;
            let mean = |is_up: bool, of: fn(usize) -> f64| {
                let passed = visits.iter().flat_map(|visit| &visit.load.trace);
                let sum: f64 = passed.filter(|one| (one.from == client(0)) == is_up).map(|one| of(one.size)).sum();
                sum / visits.len() as f64
            };
            measured.push(Measured {
                times: times(&visits),
                packets: [true, false].map(|is_up| mean(is_up, |_| 1.0)),
                bytes: [true, false].map(|is_up| mean(is_up, |size| size as f64)),
                accuracy: closed_world(&labelled, &options.attack)?,
            });
            all_times.push(visits.iter().map(|visit| visit.load.time).collect::<Vec<_>>());
        }
        let pairs = all_times[0].iter().zip(&all_times[1]);
        let mut slower: Vec<f64> =
            pairs.filter_map(|(one, other)| Some((*other)?.as_secs_f64() / (*one)?.as_secs_f64() - 1.0)).collect();
        slower.sort_unstable_by(f64::total_cmp);
        let Ok(measured) = <[Measured; 2]>::try_from(measured) else { unreachable!("each engine has measured") };
        let slower = super::at(&slower, 0.5).unwrap_or(f64::NAN);
        let row = Validation { defense: defense.name(), measured, slower };
        told(&row);
        rows.push(row);
    }
    Ok(rows)
}

impl Validation {
    /// Returns the heads of the columns of a table in Markdown.
    pub fn head() -> &'static str {
        "| defense | engine | load time, median | p95 | the same load | packets up | down | kB up | kB down | site named (95 %) |\n\
         |---|---|---|---|---|---|---|---|---|---|\n"
    }
}

/// Two rows of a table in Markdown, and what the second has more in per cent, of accuracy in points.
impl fmt::Display for Validation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = &self.measured;
        for (engine, one) in [("virtual", first), ("real", second)] {
            let is_second = engine == "real";
            let more = |value: f64, base: f64| {
                if is_second { format!(" ({:+.0} %)", 100.0 * (value / base - 1.0)) } else { String::new() }
            };
            let time = |of: fn(&Times) -> Option<f64>| match (of(&one.times), of(&first.times)) {
                (Some(seconds), Some(base)) => format!("{seconds:.2} s{}", more(seconds, base)),
                (Some(seconds), None) => format!("{seconds:.2} s"),
                (None, _) => "never".to_owned(),
            };
            let count = |of: &dyn Fn(&Measured) -> f64| format!("{:.0}{}", of(one), more(of(one), of(first)));
            let [low, high] = one.accuracy.interval.map(|end| 100.0 * end);
            let points = 100.0 * (one.accuracy.mean - first.accuracy.mean);
            writeln!(
                f,
                "| {} | {engine} | {} | {} | {} | {} | {} | {} | {} | {:.1} % ({low:.1}–{high:.1}){} |",
                self.defense,
                time(|times| times.median),
                time(|times| times.p95),
                if is_second { format!("{:+.1} %", 100.0 * self.slower) } else { String::new() },
                count(&|one| one.packets[0]),
                count(&|one| one.packets[1]),
                count(&|one| one.bytes[0] / 1e3),
                count(&|one| one.bytes[1] / 1e3),
                100.0 * one.accuracy.mean,
                if is_second { format!(" ({points:+.1})") } else { String::new() },
            )?;
        }
        Ok(())
    }
}

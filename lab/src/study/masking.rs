//! What masking makes of an hour: the upload ratio that an observer sees, and what that costs.

use std::time::Duration;

use maybetun::masking::{Band, MaskingStatus};
use maybetun::settings::MaskingSettings;
use serde::Serialize;

use super::engine::WAKEUP;
use super::loads::seed_of;
use crate::defense::Defense;
use crate::hosts::Settings;
use crate::on_all_cores;
use crate::tunnels::client;
use crate::workload::{
    Access, MAX_BYTES, Plan, Request, Run, Session, Site, Stream, bulk_down, call, camera, chatter, messaging, video,
};

/// The windows in which the ratio is looked at.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Bytes of a window, both ways, below which there is no ratio to be seen: some twenty datagrams.
pub const LEAST: u64 = 30_000;

/// What a user does in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// A camera that is watched from afar, at 2 Mbit/s up.
    Camera,
    /// A call with pictures: 1.1 Mbit/s each way, and the voice.
    Call,
    /// Pages, each read for 5 to 60 s.
    Browsing,
    /// A video in segments, at 4 Mbit/s.
    Video,
    /// Files that come one behind another.
    Download,
    /// Such files, and a call beside them.
    Busy,
    /// A phone's own chatter.
    Idle,
    /// A phone's day: chatter, messages, pages, a video, a call. It lasts 24 times as long as the others.
    Day,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::Camera, Self::Call, Self::Browsing, Self::Video, Self::Download, Self::Busy, Self::Idle, Self::Day];

    /// Returns its name: a lower-case word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Camera => "camera",
            Self::Call => "call",
            Self::Browsing => "browsing",
            Self::Video => "video",
            Self::Download => "download",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Day => "day",
        }
    }

    /// Returns what is done one after another, each with the time for which nothing follows; in all about `time`, or 24 times that.
    fn plans(self, time: Duration, seed: u64) -> Vec<(Plan, Duration)> {
        let whole = |plan| vec![(plan, Duration::ZERO)];
        match self {
            Self::Camera => whole(camera(time, seed)),
            Self::Call => whole(video_call(time)),
            Self::Browsing => pages(time, seed),
            Self::Video => whole(video(time, 4_000_000, seed)),
            Self::Download => (0..10_000).map(|_| (bulk_down(MAX_BYTES), Duration::ZERO)).collect(),
            Self::Busy => {
                let file = |number: usize| Request {
                    after: number.checked_sub(1).into_iter().collect(),
                    up: 300,
                    down: MAX_BYTES,
                    ..Request::default()
                };
                let files = Plan::new((0..1_000).map(file).collect(), vec![]).expect("files one behind another");
                whole(call(time).with(&files, Duration::ZERO).expect("files and a stream"))
            }
            Self::Idle => whole(chatter(time, seed)),
            Self::Day => {
                let part = |of: u32| time / of;
                let mut day = Vec::new();
                for hour in 0..24u64 {
                    let seed = seed.wrapping_add(hour);
                    match hour {
                        8 | 12 | 20 => day.extend(pages(part(3), seed)),
                        9 | 17 => day.push((messaging(part(2), seed), Duration::ZERO)),
                        10 => day.push((video_call(part(6)), Duration::ZERO)),
                        21 => day.push((video(part(2), 4_000_000, seed), Duration::ZERO)),
                        _ => {}
                    }
                    day.push((chatter(part(2), seed), Duration::ZERO));
                }
                day
            }
        }
    }
}

fn pages(time: Duration, seed: u64) -> Vec<(Plan, Duration)> {
    // A page and its reading take half a minute.
    let count = time.as_secs().div_ceil(30);
    let page = |number: u64| {
        let draw = seed.wrapping_mul(1_000).wrapping_add(number);
        (Site::generate(draw).visit(number), Duration::from_secs(5 + draw.wrapping_mul(0x9e37_79b9) % 56))
    };
    (0..count).map(page).collect()
}

fn video_call(time: Duration) -> Plan {
    let every = Duration::from_millis(8);
    let count = (time.as_millis() / every.as_millis()).min(10_000_000) as u32;
    let pictures = Stream { start: Duration::ZERO, every, count, up: 1_100, down: 1_100 };
    let pictures = Plan::new(vec![], vec![pictures]).expect("a stream within its ranges");
    call(time).with(&pictures, Duration::ZERO).expect("two streams")
}

/// What came of a session.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Masked {
    /// What the user did.
    pub scenario: &'static str,
    /// Windows in which there was a ratio to be seen.
    pub windows: u32,
    /// The part of them in whose band it was.
    pub in_band: f64,
    /// Half of the windows had no higher ratio.
    pub median: f64,
    /// Outer bytes up over outer bytes down of the whole.
    pub ratio: f64,
    /// Outer bytes, up and down.
    pub bytes: [u64; 2],
    /// The part of all windows that the client's status called visible.
    pub visible: f64,
    /// Bytes of masking's padding that the client and the relay have sent.
    pub spent: [u64; 2],
    /// How long the plans took in all that end by themselves, without what followed them.
    pub took: Duration,
    /// The most that 95 of 100 datagrams of a stream were late, up and down together.
    pub late: Duration,
    /// How often the client's tunnel was woken by a deadline of its own in a second, on average.
    pub wakeups: f64,
    /// Bytes of answers that came.
    pub received: u64,
}

/// What is compared.
#[derive(Debug, Clone)]
pub struct MaskingOptions {
    /// The defense beside which masking is.
    pub defense: Defense,
    /// What the client asks for.
    pub masking: MaskingSettings,
    /// The network.
    pub access: Access,
    /// How long a session is; the day is 24 times as long.
    pub time: Duration,
    /// What all draws come from.
    pub seed: u64,
}

/// Runs sessions, each with a tunnel of its own, in virtual time.
pub fn masked(options: &MaskingOptions, scenarios: &[Scenario]) -> Vec<Masked> {
    on_all_cores(scenarios.len(), |number| session(options, scenarios[number], number))
}

fn session(options: &MaskingOptions, scenario: Scenario, number: usize) -> Masked {
    let MaskingOptions { defense, masking, access, time, seed } = options;
    let band = masking.upload_ratio.unwrap_or(Band::USUAL);
    let tcp = Settings { wakeup: WAKEUP, ..Settings::default() };
    let both = defense.clone().masked(*masking).both();
    let whole = if scenario == Scenario::Day { *time * 24 } else { *time };
    let mut tally = Tally::default();
    let run = Run { tcp, defense: both, longest: whole, ..Run::new(access, None, seed_of(*seed, number)) };
    let mut session = Session::new(&run);
    for (plan, after) in scenario.plans(*time, *seed) {
        let left = whole.saturating_sub(tally.lasted);
        if left.is_zero() {
            break;
        }
        session.set_times(left, after.min(left));
        let load = session.load_seen(plan, WINDOW, &mut |now, tunnels| {
            tally.see(tunnels.map(|tunnel| tunnel.masking_status(now)));
        });
        tally.add(&load, after);
    }
    tally.into_masked(scenario, band)
}

#[derive(Debug, Default)]
struct Tally {
    lasted: Duration,
    took: Duration,
    /// Bytes of each window, up and down.
    windows: Vec<[u64; 2]>,
    seen: u32,
    visible: u32,
    spent: [u64; 2],
    late: Vec<Duration>,
    wakeups: u64,
    received: u64,
}

impl Tally {
    fn see(&mut self, status: [Option<MaskingStatus>; 2]) {
        self.seen += 1;
        self.visible += u32::from(status.iter().flatten().any(|status| status.is_visible));
        self.spent = status.map(|status| status.map_or(0, |status| status.spent));
    }

    fn add(&mut self, load: &crate::workload::Load, after: Duration) {
        for passed in &load.trace {
            let window = ((self.lasted + passed.at).as_nanos() / WINDOW.as_nanos()) as usize;
            if self.windows.len() <= window {
                self.windows.resize(window + 1, [0; 2]);
            }
            self.windows[window][usize::from(passed.from != client(0))] += passed.size as u64;
        }
        self.lasted += load.lasted;
        self.took += load.time.unwrap_or(load.lasted.saturating_sub(after));
        self.late.extend(load.late.iter().flatten());
        self.wakeups += load.effort.wakeups;
        self.received += load.received;
    }

    fn into_masked(mut self, scenario: Scenario, band: Band) -> Masked {
        let ratios = self.windows.iter().filter(|[up, down]| up + down >= LEAST);
        let mut ratios: Vec<f64> = ratios.map(|[up, down]| *up as f64 / (*down).max(1) as f64).collect();
        ratios.sort_by(f64::total_cmp);
        self.late.sort();
        let bytes = [0, 1].map(|way| self.windows.iter().map(|window| window[way]).sum::<u64>());
        let in_band = ratios.iter().filter(|ratio| band.contains(**ratio)).count();
        let part = |of: usize, all: usize| if all > 0 { of as f64 / all as f64 } else { 1.0 };
        Masked {
            scenario: scenario.name(),
            windows: ratios.len() as u32,
            in_band: part(in_band, ratios.len()),
            median: ratios.get(ratios.len() / 2).copied().unwrap_or_default(),
            ratio: bytes[0] as f64 / bytes[1].max(1) as f64,
            bytes,
            visible: f64::from(self.visible) / f64::from(self.seen.max(1)),
            spent: self.spent,
            took: self.took,
            late: self.late.get(self.late.len() * 95 / 100).copied().unwrap_or_default(),
            wakeups: self.wakeups as f64 / self.lasted.as_secs_f64().max(1.0),
            received: self.received,
        }
    }
}

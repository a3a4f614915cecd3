//! What an observer of the client counts.

use std::time::{Duration, Instant};

use maybenot::TriggerEvent;
use maybenot_simulator::SimEvent;

/// Which way a packet goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Up,
    Down,
}

/// One run of a defense under a load, and the silence after it.
pub(crate) struct Run {
    up: Packets,
    down: Packets,
    /// When the last normal packet of either direction came or left.
    end: Option<Instant>,
    /// Whether the simulator stopped before the end of the silence.
    pub(crate) is_cut: bool,
}

/// When packets left or came.
#[derive(Default)]
struct Packets {
    normal: Vec<Instant>,
    padding: Vec<Instant>,
}

/// Padding after the last normal packet.
#[derive(Default)]
pub(crate) struct After {
    pub(crate) packets: f64,
    /// Most in a second.
    pub(crate) peak: f64,
    /// From the last normal packet to the last of it.
    pub(crate) seconds: f64,
    /// Packets of it that come a minute or later after the last normal packet.
    pub(crate) late: f64,
}

impl Run {
    pub(crate) fn new<'a>(events: impl Iterator<Item = &'a SimEvent>, is_cut: bool) -> Self {
        let mut run = Self { up: Packets::default(), down: Packets::default(), end: None, is_cut };
        for event in events {
            let packets = if event.event == TriggerEvent::TunnelSent {
                &mut run.up
            } else {
                assert!(event.event == TriggerEvent::TunnelRecv, "{} is not network activity", event.event);
                &mut run.down
            };
            if event.contains_padding {
                packets.padding.push(event.time);
            } else {
                packets.normal.push(event.time);
                run.end = Some(event.time);
            }
        }
        run
    }

    fn packets(&self, direction: Direction) -> &Packets {
        match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    /// Returns the most padding packets in any span of so many milliseconds.
    pub(crate) fn peak(&self, direction: Direction, milliseconds: u64) -> f64 {
        peak(&self.packets(direction).padding, Duration::from_millis(milliseconds))
    }

    /// Returns the share of padding among the packets of the load, and of the silence after it.
    pub(crate) fn share(&self, direction: Direction, with_silence: bool) -> f64 {
        let Packets { normal, padding } = self.packets(direction);
        let counts = |at: &&Instant| with_silence || Some(**at) <= self.end;
        let padding = padding.iter().filter(counts).count();
        padding as f64 / (padding + normal.len()).max(1) as f64
    }

    pub(crate) fn after(&self, direction: Direction) -> After {
        let Some(end) = self.end else { return After::default() };
        let after = self.packets(direction).padding.iter().copied().filter(|at| *at > end).collect::<Vec<_>>();
        After {
            packets: after.len() as f64,
            peak: peak(&after, Duration::from_secs(1)),
            seconds: after.last().map_or(0.0, |last| (*last - end).as_secs_f64()),
            late: after.iter().filter(|at| **at - end >= Duration::from_secs(60)).count() as f64,
        }
    }
}

/// Returns the most of these in any span this long.
fn peak(times: &[Instant], span: Duration) -> f64 {
    let mut first = 0;
    let counts = times.iter().enumerate().map(|(index, at)| {
        while *at - times[first] >= span {
            first += 1;
        }
        index + 1 - first
    });
    counts.max().unwrap_or(0) as f64
}

/// Returns the cell of a table: the middle, what one in a hundred exceeds, the most.
pub(crate) fn percentiles(mut values: Vec<f64>) -> String {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get((values.len() * part / 100).min(values.len().saturating_sub(1))).copied();
    let [middle, high, most] = [50, 99, 100].map(|part| at(part).unwrap_or(0.0));
    format!("{middle:.0} / {high:.0} / {most:.0}")
}

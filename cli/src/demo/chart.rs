//! The plots, as SVG that takes its colours from the page around it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use maybetun_lab::observer::Packet;
use maybetun_lab::plot::{
    BOTTOM, LEFT, MIDDLE, RIGHT, Scale, TOP, axis_line, close, column_axis, grid_row, label, open, ticks,
};
use maybetun_lab::sighting::{Direction, Kind};

/// The largest UDP payload that Ethernet carries over IPv4, rounded up: the end of every size axis, in bytes.
const LARGEST: f64 = 1_500.0;

/// Width of a bar of the histogram, in bytes.
const BIN: u32 = 32;

/// Every packet as a stroke: its time across, up to `end_ms`, its size up (upload) or down (download).
pub(super) fn timeline(packets: &[Packet], end_ms: f64) -> String {
    let time = Scale::new(0.0, end_ms, LEFT, RIGHT);
    let size = |bytes: f64| (bytes.min(LARGEST) / LARGEST) * (BOTTOM - TOP) / 2.0;
    let mut svg = open("Packet timeline: each packet's size over time, upload above the axis, download below");
    for bytes in [500.0, 1_000.0, 1_500.0] {
        for y in [MIDDLE - size(bytes), MIDDLE + size(bytes)] {
            grid_row(&mut svg, y, &format!("{bytes:.0}"));
        }
    }
    grid_row(&mut svg, MIDDLE, "0");
    time_axis(&mut svg, &time);
    let mut strokes = BTreeMap::<&str, String>::new();
    for packet in packets {
        let height = size(f64::from(packet.datagram.bytes)).max(1.0);
        let (class, to) = match (packet.datagram.message, packet.datagram.direction) {
            (Kind::Initiation | Kind::Response | Kind::Cookie, Direction::Upload) => ("key", MIDDLE - height),
            (Kind::Initiation | Kind::Response | Kind::Cookie, Direction::Download) => ("key", MIDDLE + height),
            (Kind::Data | Kind::Keepalive | Kind::Unknown, Direction::Upload) => ("up", MIDDLE - height),
            (Kind::Data | Kind::Keepalive | Kind::Unknown, Direction::Download) => ("down", MIDDLE + height),
        };
        let x = time.at(milliseconds(packets, packet));
        let _ = write!(strokes.entry(class).or_default(), "M{x:.1} {MIDDLE}V{to:.1}");
    }
    for (class, path) in ["up", "down", "key"].into_iter().filter_map(|class| strokes.get_key_value(class)) {
        let _ = write!(svg, "<path class=\"stroke {class}\" d=\"{path}\"/>");
    }
    axis_line(&mut svg, MIDDLE);
    close(svg, "bytes")
}

/// How many packets of which size there were, on a logarithmic axis: upload above, download below.
pub(super) fn histogram(packets: &[Packet]) -> String {
    let mut bins = BTreeMap::<(Direction, u32), u32>::new();
    for Packet { datagram, .. } in packets {
        *bins.entry((datagram.direction, datagram.bytes.min(LARGEST as u32 - 1) / BIN)).or_default() += 1;
    }
    let most = f64::from(bins.values().copied().max().unwrap_or(1)).max(10.0);
    // Half a packet is the foot of the axis, so that one packet is seen.
    let size = |count: f64| (count / 0.5).log10() / (most / 0.5).log10() * (BOTTOM - TOP) / 2.0;
    let bytes = Scale::new(0.0, LARGEST, LEFT, RIGHT);
    let mut svg = open("Size histogram: packets of each size, upload above the axis, download below");
    for power in 0..6 {
        let count = 10f64.powi(power);
        if count <= most {
            grid_row(&mut svg, MIDDLE - size(count), &format!("{count:.0}"));
            grid_row(&mut svg, MIDDLE + size(count), &format!("{count:.0}"));
        }
    }
    column_axis(&mut svg, &bytes, &ticks(LARGEST, 16), "bytes of UDP payload");
    for ((direction, bin), count) in bins {
        let height = size(f64::from(count));
        let (class, name, y) = match direction {
            Direction::Upload => ("up", "upload", MIDDLE - height),
            Direction::Download => ("down", "download", MIDDLE),
        };
        let (x, end) = (bytes.at(f64::from(bin * BIN)) + 1.0, bytes.at(f64::from((bin + 1) * BIN)).min(RIGHT) - 1.0);
        let _ = write!(
            svg,
            "<rect class=\"bar {class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"1.5\">\
             <title>{name}, {} to {} bytes: {count}</title></rect>",
            end - x,
            bin * BIN,
            (bin + 1) * BIN - 1,
        );
    }
    axis_line(&mut svg, MIDDLE);
    close(svg, "packets")
}

/// The bytes that have passed by each moment up to `end_ms`, one line for each direction.
pub(super) fn cumulative(packets: &[Packet], end_ms: f64) -> String {
    let time = Scale::new(0.0, end_ms, LEFT, RIGHT);
    let total = |direction| -> f64 {
        packets.iter().filter(|p| p.datagram.direction == direction).map(|p| f64::from(p.datagram.bytes)).sum()
    };
    let most = (total(Direction::Upload).max(total(Direction::Download)) / 1_000.0).max(1.0);
    let kilobytes = Scale::new(0.0, most * 1.06, BOTTOM, TOP);
    let mut svg = open("Cumulative bytes over time, one line for each direction");
    for tick in ticks(most, 6) {
        grid_row(&mut svg, kilobytes.at(tick), &label(tick));
    }
    time_axis(&mut svg, &time);
    for (direction, class) in [(Direction::Download, "down"), (Direction::Upload, "up")] {
        let mut line = format!("M{LEFT} {BOTTOM}");
        let mut bytes = 0.0;
        for packet in packets.iter().filter(|packet| packet.datagram.direction == direction) {
            bytes += f64::from(packet.datagram.bytes);
            let (x, y) = (time.at(milliseconds(packets, packet)), kilobytes.at(bytes / 1_000.0));
            let _ = write!(line, "H{x:.1}V{y:.1}");
        }
        let _ = write!(line, "H{RIGHT}");
        let _ = write!(
            svg,
            "<path class=\"area {class}\" d=\"{line}V{BOTTOM}Z\"/><path class=\"line {class}\" d=\"{line}\"/>"
        );
    }
    axis_line(&mut svg, BOTTOM);
    close(svg, "kB")
}

/// Milliseconds from the first packet to the last, never zero.
pub(super) fn duration_ms(packets: &[Packet]) -> f64 {
    packets.last().map_or(1.0, |last| milliseconds(packets, last)).max(1.0)
}

/// Milliseconds from the first packet to `packet`.
fn milliseconds(packets: &[Packet], packet: &Packet) -> f64 {
    let start = packets.first().map_or(0, |first| first.at_us);
    packet.at_us.saturating_sub(start) as f64 / 1_000.0
}

fn time_axis(svg: &mut String, time: &Scale) {
    column_axis(svg, time, &ticks(time.last, 12), "milliseconds since the first packet");
}

#[cfg(test)]
mod tests {
    use super::super::run::tests::example;
    use super::*;

    #[test]
    fn every_packet_is_a_stroke_on_its_side() {
        let packets = example().observation.packets;
        let svg = timeline(&packets, duration_ms(&packets));
        let strokes = |class: &str| {
            let (_, path) = svg.split_once(&format!("class=\"stroke {class}\" d=\"")).unwrap();
            path.split('"').next().unwrap().matches('M').count()
        };
        assert_eq!((strokes("up"), strokes("down"), strokes("key")), (1, 1, 2));
    }

    #[test]
    fn the_histogram_tells_each_bars_count_and_sizes() {
        let svg = histogram(&example().observation.packets);
        assert!(svg.contains("<title>download, 1440 to 1471 bytes: 1</title>"), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 4);
    }

    #[test]
    fn lines_end_at_the_directions_totals() {
        let packets = example().observation.packets;
        let svg = cumulative(&packets, duration_ms(&packets));
        assert_eq!(svg.matches("class=\"line").count(), 2);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn nothing_seen_and_giants_still_give_finite_plots() {
        let mut giant = example().observation.packets;
        giant[0].datagram.bytes = 65_507;
        for packets in [&[][..], &giant[..], &giant[..1]] {
            let end = duration_ms(packets);
            for svg in [timeline(packets, end), histogram(packets), cumulative(packets, end)] {
                assert!(svg.ends_with("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            }
        }
    }
}

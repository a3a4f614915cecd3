use smoltcp::wire::{Ipv4Packet, TcpPacket};

use super::*;

/// Returns what the server acknowledges, and when.
fn acknowledgements(talk: &Talk) -> Vec<&Seen> {
    talk.network.tap.seen.iter().filter(|seen| !seen.is_up && !seen.is_first).collect()
}

#[test]
fn each_segment_is_acknowledged_at_first_then_each_second() {
    let mut talk = Talk::new(&half(20 * MS), &segments(110), &[], nothing());
    talk.heard();
    talk.network.run_for(10 * MS);
    let acks: Vec<_> = acknowledgements(&talk).iter().map(|seen| seen.ack / FULL).filter(|ack| *ack > 0).collect();
    assert_eq!(acks[..16], (1..=16).collect::<Vec<_>>());
    assert_eq!(acks[16..][..20], (9..29).map(|pair| pair * 2).collect::<Vec<_>>());
}

#[test]
fn what_has_no_second_is_acknowledged_after_a_while() {
    let says: Vec<_> = (0..20).map(|turn| (100 * MS * turn, 100)).collect();
    let mut talk = Talk::new(&half(20 * MS), &says, &[], nothing());
    talk.finish();
    let delay = |turn: usize| {
        let of = |seen: &&&Seen| seen.ack == (turn + 1) * 100;
        let acks = acknowledgements(&talk);
        acks.iter().find(of).unwrap().at - talk.data()[turn].at
    };
    assert_eq!(delay(3), 10 * MS);
    assert_eq!(delay(17), 50 * MS);
}

#[test]
fn gaps_are_told_at_once_the_latest_first() {
    let mut talk = Talk::new(&half(20 * MS), &segments(10), &[], once(&[1, 3, 5]));
    talk.heard();
    let told: Vec<_> = acknowledgements(&talk)
        .iter()
        .filter(|seen| !seen.blocks.is_empty())
        .map(|seen| seen.blocks.iter().map(|(from, to)| (from / FULL, to / FULL)).collect::<Vec<_>>())
        .collect();
    assert_eq!(told[0], [(2, 3)]);
    assert_eq!(told[1], [(4, 5), (2, 3)]);
    assert_eq!(told[2], [(6, 7), (4, 5), (2, 3)]);
    assert_eq!(told[5], [(6, 10), (4, 5), (2, 3)]);
}

#[test]
fn what_follows_a_gap_is_told_three_times_at_once_and_then_each_millisecond() {
    // A segment each 0.1 ms or so, long after a conversation's first acknowledgements.
    let link = Link { rate: Some(12_500_000), ..half(20 * MS) };
    let mut talk = Talk::new(&link, &segments(400), &[], once(&[200]));
    talk.heard();
    let acks = acknowledgements(&talk);
    let told: Vec<_> = acks.iter().filter(|seen| seen.ack == 200 * FULL && !seen.blocks.is_empty()).collect();
    let gaps: Vec<_> = told.windows(2).map(|pair| pair[1].at - pair[0].at).collect();
    // What was under way when it was lost: later ones come when the peer has room again.
    assert!(gaps.len() >= 12 && gaps[..2].iter().all(|gap| *gap < MS / 5), "{gaps:?}");
    assert!(gaps[2..12].iter().all(|gap| *gap >= MS && *gap < 2 * MS), "{gaps:?}");
}

#[test]
fn what_arrives_twice_is_told_once() {
    let mut is_first = true;
    let decide = move |seen: &Seen| {
        let is_it = seen.is_up && seen.from == 4 * FULL && std::mem::take(&mut is_first);
        if is_it { Fate::Repeat } else { Fate::Deliver }
    };
    let mut talk = Talk::new(&half(20 * MS), &segments(10), &[], Box::new(decide));
    talk.heard();
    let told: Vec<_> = acknowledgements(&talk).into_iter().filter(|seen| !seen.blocks.is_empty()).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].blocks, [(4 * FULL, 5 * FULL)]);
    assert!(told[0].ack >= 5 * FULL);
}

#[test]
fn the_window_is_64_kib_at_first_and_grows_with_what_is_read() {
    let mut talk = Talk::new(&half(50 * MS), &segments(3_000), &[], nothing());
    talk.heard();
    let shift = 7;
    let windows: Vec<_> = acknowledgements(&talk)
        .iter()
        .filter(|seen| seen.ack > 0)
        .map(|seen| usize::from(seen.window) << shift)
        .collect();
    assert!((60_000..=65_536).contains(&windows[0]), "{}", windows[0]);
    assert!(*windows.last().unwrap() > 1_000_000, "{:?}", windows.last());
    assert!(windows.windows(2).all(|pair| pair[1] + (1 << shift) >= pair[0] || pair[1] > 60_000));
}

#[test]
fn full_segments_have_a_time_stamp() {
    let mut talk = Talk::new(&half(20 * MS), &segments(20), &[], nothing());
    talk.heard();
    assert!(talk.data().iter().all(|seen| seen.size == FULL));
}

#[test]
fn who_does_not_read_is_asked_ever_less_often_and_gets_all_in_the_end() {
    let settings = Settings { receive_buffer: 20_000, ..Settings::default() };
    // What says that there is room again is lost, too.
    let decide = |seen: &Seen| lose(!seen.is_up && (10_000 * MS..10_100 * MS).contains(&seen.at));
    let mut talk = Talk::with(&settings, &half(20 * MS), &[(Duration::ZERO, 100_000)], &[], Box::new(decide));
    let server = talk.server;
    talk.network.act(server, |host, _, _| host.application.deaf = 10 * SECOND);
    let took = talk.finish();
    assert!((10 * SECOND..30 * SECOND).contains(&took), "{took:?}");
    let asked: Vec<_> =
        talk.data().iter().map(|seen| seen.at).filter(|at| (SECOND..10 * SECOND).contains(at)).collect();
    assert!((2..8).contains(&asked.len()), "{asked:?}");
}

#[test]
fn every_segment_has_its_sum() {
    let mut talk = Talk::new(&half(20 * MS), &segments(40), &segments(40), once(&[5, 39]));
    talk.network.tap.kept = Some(Vec::new());
    talk.finish();
    for packet in talk.network.tap.kept.take().unwrap() {
        let ip = Ipv4Packet::new_checked(&packet[..]).unwrap();
        let tcp = TcpPacket::new_checked(ip.payload()).unwrap();
        assert!(ip.verify_checksum() && tcp.verify_checksum(&ip.src_addr().into(), &ip.dst_addr().into()), "{tcp}");
    }
}

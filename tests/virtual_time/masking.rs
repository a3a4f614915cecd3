//! Tunnels that mask: who does what, what they tell each other, and what it keeps from leaving.

use std::time::Duration;

use maybetun::defense::Event as MachineEvent;
use maybetun::masking::{Allowance, MaskingMode, MaskingStatus};
use maybetun::settings::{
    DefenseChange, DefenseSettings, EphemeralSettings, MaskingSettings, NegotiationPolicy, Protection, Role,
};
use maybetun_lab::tunnels::{TwoEnds, number, packet};
use maybetun_machines::{Strength, Tier};

/// One size for all: the default MTU and what sealing adds.
const SIZE: usize = 1_452;

const CLIENT: usize = 0;
const RELAY: usize = 1;
const MS: Duration = Duration::from_millis(1);

fn adaptive() -> MaskingSettings {
    MaskingSettings { mode: Some(MaskingMode::Adaptive), ..MaskingSettings::default() }
}

fn settings(tier: Tier, masking: MaskingSettings) -> EphemeralSettings {
    let strength = Strength::High;
    EphemeralSettings {
        negotiation: NegotiationPolicy::Prefer,
        tier,
        strength,
        masking,
        ..EphemeralSettings::default()
    }
}

/// Both sides, told to agree; the client calls.
fn both(tier: Tier, masking: [MaskingSettings; 2]) -> TwoEnds {
    let mut network = TwoEnds::new();
    for (side, masking) in masking.into_iter().enumerate() {
        network.agree(side, &settings(tier, masking));
    }
    network.send(CLIENT, &packet(CLIENT, 0, 100));
    network.run_for(Duration::from_secs(2));
    network
}

fn statuses(network: &TwoEnds) -> [Option<MaskingStatus>; 2] {
    network.tunnels.each_ref().map(|tunnel| tunnel.masking_status(network.instant()))
}

fn is_protected(network: &TwoEnds) -> bool {
    network.tunnels.iter().all(|tunnel| tunnel.protection() == Protection::Protected)
}

/// The datagrams that each side has sent since the first `from`.
fn sent(network: &TwoEnds, from: usize) -> [usize; 2] {
    [CLIENT, RELAY].map(|side| network.seen[from..].iter().filter(|sighting| sighting.from == side).count())
}

#[test]
fn a_client_has_its_relay_do_its_part_and_one_that_will_not_leaves_it_alone() {
    let unsaid = MaskingSettings::default();
    let off = MaskingSettings { mode: Some(MaskingMode::Off), ..unsaid };
    for (of_relay, is_mutual) in [(unsaid, true), (adaptive(), true), (off, false)] {
        let network = both(Tier::Size, [adaptive(), of_relay]);
        assert!(is_protected(&network));
        let [client, relay] = statuses(&network);
        assert_eq!(client.map(|status| status.is_mutual), Some(is_mutual));
        assert_eq!(relay.is_some(), is_mutual);
    }
    let network = both(Tier::Size, [unsaid; 2]);
    assert_eq!(statuses(&network), [None, None]);
    let alone = both(Tier::Size, [unsaid, adaptive()]);
    assert_eq!(statuses(&alone)[RELAY].map(|status| status.is_mutual), Some(false), "the client asks for nothing");
}

#[test]
fn what_the_user_changes_takes_effect_at_both_ends_within_a_second_and_disturbs_nothing() {
    let mut network = both(Tier::Padding, [adaptive(), MaskingSettings::default()]);
    let allowed = |network: &TwoEnds| statuses(network).map(|status| status.and_then(|status| status.allowed));
    assert_eq!(allowed(&network), [Some(20_000_000), Some(180_000_000)]);
    let sessions = network.initiations().len();
    let metered = MaskingSettings { metered: Some(true), ..adaptive() };
    assert!(network.agree(CLIENT, &settings(Tier::Padding, metered)));
    assert_eq!(allowed(&network)[CLIENT], Some(5_000_000));
    network.run_for(Duration::from_secs(1));
    assert_eq!(allowed(&network), [Some(5_000_000), Some(45_000_000)]);
    assert!(is_protected(&network) && network.initiations().len() == sessions);
    // The same again is nothing.
    assert!(!network.agree(CLIENT, &settings(Tier::Padding, metered)));
    assert!(network.agree(CLIENT, &settings(Tier::Padding, MaskingSettings::default())));
    network.run_for(Duration::from_secs(1));
    assert_eq!(statuses(&network), [None, None]);
}

#[test]
fn what_changes_while_the_ends_agree_is_agreed_on_next() {
    let mut network = both(Tier::Size, [adaptive(), MaskingSettings::default()]);
    for step in 0..20u64 {
        let budget = Allowance { per_day: Some(1_000_000 * (step + 1)), ..Allowance::NONE };
        network.agree(CLIENT, &settings(Tier::Size, MaskingSettings { masking_budget: Some(budget), ..adaptive() }));
        network.run_for(37 * MS);
    }
    network.run_for(Duration::from_secs(3));
    assert_eq!(statuses(&network)[RELAY].and_then(|status| status.allowed), Some(18_000_000));
}

#[test]
fn the_operator_allows_no_more_than_he_said() {
    let own = Allowance { per_day: Some(1_000_000), ..Allowance::NONE };
    let operator = MaskingSettings { masking_budget: Some(own), ..MaskingSettings::default() };
    let mut network = both(Tier::Size, [adaptive(), operator]);
    assert_eq!(statuses(&network)[RELAY].and_then(|status| status.allowed), Some(900_000));
    // Nor does he later, when he says another.
    let less = Allowance { per_day: Some(100_000), ..Allowance::NONE };
    let operator = MaskingSettings { masking_budget: Some(less), ..MaskingSettings::default() };
    assert!(network.agree(RELAY, &settings(Tier::Size, operator)));
    assert_eq!(statuses(&network)[RELAY].and_then(|status| status.allowed), Some(90_000));
    let off = MaskingSettings { mode: Some(MaskingMode::Off), ..MaskingSettings::default() };
    assert!(network.agree(RELAY, &settings(Tier::Size, off)));
    network.run_for(Duration::from_secs(3));
    let [client, relay] = statuses(&network);
    assert_eq!((client.map(|status| status.is_mutual), relay), (Some(false), None));
    assert!(network.agree(RELAY, &settings(Tier::Size, MaskingSettings::default())));
    // A client follows its relay's word once in ten seconds, with the next traffic.
    network.run_for(Duration::from_secs(11));
    network.send(CLIENT, &packet(CLIENT, 0, 100));
    network.run_for(Duration::from_secs(2));
    assert_eq!(statuses(&network).map(|status| status.map(|status| status.is_mutual)), [Some(true); 2]);
}

#[test]
fn who_switches_it_off_and_on_again_spends_no_more() {
    let budget = Allowance { per_day: Some(1_000_000), ..Allowance::NONE };
    let masking = MaskingSettings { masking_budget: Some(budget), ..adaptive() };
    let mut network = both(Tier::Size, [masking, MaskingSettings::default()]);
    for round in 0..6 {
        let masking = if round % 2 == 0 { masking } else { MaskingSettings::default() };
        network.agree(CLIENT, &settings(Tier::Size, masking));
        for _ in 0..500 {
            network.send(CLIENT, &packet(CLIENT, 0, 1_000));
            network.run_for(20 * MS);
        }
    }
    let by_cause = network.tunnels[RELAY].padding_by_cause(network.instant());
    let statistics = network.tunnels[RELAY].defense_statistics(network.instant()).unwrap();
    let (asked, refused) = (by_cause[1].1, statistics.padding_dropped.over_masking_budget);
    assert!(refused > 0 && (asked - refused) * 1_480 <= 900_000, "{by_cause:?}, {refused}");
}

#[test]
fn padding_that_is_kept_from_leaving_is_told_to_machines_as_sent_and_counted() {
    let mut network = both(Tier::Padding, [adaptive(), MaskingSettings::default()]);
    network.tunnels[CLIENT].take_record();
    let suppressed = |network: &TwoEnds| {
        let statistics = network.tunnels[CLIENT].defense_statistics(network.instant()).unwrap();
        statistics.padding_dropped.suppressed
    };
    let before = suppressed(&network);
    let from = network.seen.len();
    // The user sends: machines answer with padding, of which none may leave.
    for _ in 0..500 {
        network.send(CLIENT, &packet(CLIENT, 0, 1_400));
        network.run_for(20 * MS);
    }
    let suppressed = suppressed(&network) - before;
    assert!(suppressed > 50, "{suppressed}");
    let record = network.tunnels[CLIENT].take_record();
    let count = |is: fn(&MachineEvent) -> bool| record.iter().filter(|(event, _)| is(event)).count() as u64;
    let padding = count(|event| matches!(event, MachineEvent::PaddingSent { .. }));
    assert!(padding >= suppressed, "{padding} of {suppressed}");
    let left = count(|event| matches!(event, MachineEvent::TunnelSent));
    assert_eq!(left, sent(&network, from)[CLIENT] as u64, "none is told of that did not leave");
    assert!(network.seen.iter().all(|sighting| sighting.kind < 4 || sighting.length == SIZE));
}

#[test]
fn a_relay_adds_the_download_that_an_upload_lacks() {
    let budget = Allowance { per_second: Some(5_000_000), ..Allowance::NONE };
    let masking = MaskingSettings { masking_budget: Some(budget), ..adaptive() };
    let operator = MaskingSettings { masking_budget: Some(budget), ..MaskingSettings::default() };
    let mut network = both(Tier::Size, [masking, operator]);
    let mut from = network.seen.len();
    for second in 0..30 {
        if second == 5 {
            from = network.seen.len();
        }
        for _ in 0..50 {
            network.send(CLIENT, &packet(CLIENT, 0, 1_000));
            network.run_for(20 * MS);
        }
    }
    let [up, down] = sent(&network, from);
    let ratio = up as f64 / down as f64;
    assert!((0.03..=0.08).contains(&ratio), "{up} up, {down} down");
    let status = statuses(&network)[CLIENT].unwrap();
    assert!(!status.is_visible, "{status:?}");
    let by_cause = network.tunnels[RELAY].padding_by_cause(network.instant());
    assert!(by_cause.iter().any(|(cause, padding)| *cause == "masking" && *padding > 10_000), "{by_cause:?}");
}

/// The flags of TCP that begin a connection, and that go with all else.
const SYN: u8 = 2;
const ACK: u8 = 16;

/// Builds a packet of a connection between the sides, which carries `payload` bytes.
fn tcp(from: usize, flags: u8, payload: usize) -> Vec<u8> {
    let mut packet = packet(from, 0, 40 + payload);
    packet[9] = 6;
    let ports = if from == CLIENT { [1_000u16, 443] } else { [443, 1_000] };
    packet[20..24].copy_from_slice(&[ports[0].to_be_bytes(), ports[1].to_be_bytes()].concat());
    packet[33] = flags;
    packet
}

/// Has a file come as far as a tunnel sees it: a call and its answer, and then data and an acknowledgement for every second of it.
/// Returns the datagrams of each side, and how long the last acknowledgements waited.
fn download(network: &mut TwoEnds, packets: usize) -> [usize; 2] {
    network.send(CLIENT, &tcp(CLIENT, SYN, 0));
    network.run_for(60 * MS);
    network.send(RELAY, &tcp(RELAY, SYN | ACK, 0));
    network.run_for(60 * MS);
    let from = network.seen.len();
    for number in 0..packets {
        network.send(RELAY, &tcp(RELAY, ACK, 1_300));
        network.run_for(MS);
        if number % 2 == 1 {
            network.send(CLIENT, &tcp(CLIENT, ACK, 0));
        }
    }
    network.run_for(100 * MS);
    sent(network, from)
}

#[test]
fn acknowledgements_of_a_download_share_datagrams_where_the_tunnel_masks() {
    for (masking, most) in [(MaskingSettings::default(), 1_100), (adaptive(), 170)] {
        let mut network = both(Tier::Size, [masking, MaskingSettings::default()]);
        let (before, all) = (network.delivered[RELAY].len(), 2_000);
        let [up, down] = download(&mut network, all);
        assert_eq!(network.delivered[RELAY].len() - before, all / 2 + 1, "each arrives");
        assert!(up <= most && up >= most / 2, "{up} up, {down} down");
        assert!(down < all + all / 10, "{down} down");
    }
}

#[test]
fn packets_arrive_in_order_whatever_waits_for_what() {
    let mut network = both(Tier::Size, [adaptive(), MaskingSettings::default()]);
    download(&mut network, 200);
    let before = network.delivered[RELAY].len();
    for count in 0..300 {
        network.send(RELAY, &packet(RELAY, count, 1_300));
        network.send(CLIENT, &packet(CLIENT, count, if count % 7 == 0 { 1_200 } else { 60 }));
        network.run_for(2 * MS);
    }
    network.run_for(100 * MS);
    let numbers: Vec<_> = network.delivered[RELAY][before..].iter().map(|packet| number(packet)).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<u32>>());
}

/// Has both ends run Tamaraw and mask, and the user send a packet now and then; returns how many datagrams of the client's left within
/// 100 µs of a packet, of how many, and the longest that a packet took.
fn slotted(masking: MaskingSettings) -> (usize, usize, Duration) {
    let tamaraw = maybetun_machines::find("tamaraw").unwrap();
    let mut network = TwoEnds::connected();
    for (side, role) in [Role::Client, Role::Relay].into_iter().enumerate() {
        let change = DefenseChange::On(DefenseSettings::of(tamaraw, role).masked(masking));
        network.act(side, |tunnel, now, out| tunnel.set_defense(change, role, [side as u8; 32], now, out).unwrap());
    }
    let (from, mut at_once, mut longest) = (network.seen.len(), 0, Duration::ZERO);
    for count in 0..200u64 {
        let arrived = network.delivered[RELAY].len();
        let at = network.now();
        network.send(CLIENT, &packet(CLIENT, 0, 1_000));
        at_once += usize::from(network.seen.iter().rev().any(|seen| seen.from == CLIENT && seen.at == at));
        let until = at + Duration::from_micros(40_000 + 137 * count);
        while network.now() < until {
            network.run_for(MS);
            if network.delivered[RELAY].len() > arrived && longest < network.now() - at {
                longest = longest.max(if network.delivered[RELAY].len() == arrived + 1 {
                    network.now() - at
                } else {
                    longest
                });
                break;
            }
        }
        network.run_until(until);
    }
    (at_once, sent(&network, from)[CLIENT], longest)
}

#[test]
fn slots_of_blocking_stay_slots_where_the_tunnel_masks() {
    let (at_once, sent, _) = slotted(adaptive());
    assert!(at_once < 20 && sent > 200, "{at_once} of {sent} left as the user's packets came");
}

#[test]
fn masking_waits_behind_no_gate() {
    let budget = MaskingSettings { masking_budget: Some(Allowance::NONE), ..adaptive() };
    let mut network = both(Tier::Blocking, [budget, budget]);
    let mut gated = 0;
    for _ in 0..2_000 {
        network.send(CLIENT, &packet(CLIENT, 0, 1_000));
        network.run_for(5 * MS);
        let now = network.instant();
        gated = network.tunnels[RELAY].defense_statistics(now).unwrap().padding_dropped.gated;
    }
    let by_cause = network.tunnels[RELAY].padding_by_cause(network.instant());
    assert!(by_cause[1].1 > gated, "{by_cause:?}, {gated}");
    network.run_for(Duration::from_secs(5));
    assert_eq!(network.delivered[RELAY].len(), 2_001);
}

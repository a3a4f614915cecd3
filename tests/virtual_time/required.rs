//! A defense that is required: no packet of the user's leaves without the peer's word, and none waits once it is given.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use maybetun::defense::Plan;
use maybetun::negotiation::Reason;
use maybetun::settings::{Cause, EphemeralSettings, NegotiationPolicy, Protection};
use maybetun::tunnel::{DatagramBatch, Event};
use maybetun_lab::tunnels::{Fate, TwoEnds, address, number, packet, renew};
use maybetun_machines::Tier;

use crate::machines::{Step, script, slots};
use crate::sealed::Ledger;

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn settings(negotiation: NegotiationPolicy, tier: Tier) -> EphemeralSettings {
    EphemeralSettings { negotiation, tier, ..EphemeralSettings::default() }
}

/// Two ends that have agreed.
fn agreed(negotiation: NegotiationPolicy, tier: Tier) -> TwoEnds {
    let mut network = TwoEnds::new();
    for side in [0, 1] {
        network.agree(side, &settings(negotiation, tier));
    }
    network.send(0, &packet(0, 0, 1_000));
    network.run_for(seconds(2));
    assert_eq!([0, 1].map(|side| network.tunnels[side].protection()), [Protection::Protected; 2]);
    network
}

/// Exchanges 20 pings, and returns how many bytes of datagrams the relay sent meanwhile.
fn bytes_for_pings(network: &mut TwoEnds) -> usize {
    network.seen.clear();
    for count in 0..20 {
        network.send(0, &packet(0, count, 84));
        network.send(1, &packet(1, count, 84));
        network.run_for(seconds(1));
    }
    network.seen.iter().filter(|seen| seen.from == 1).map(|seen| seen.length).sum()
}

/// Has a side run machines that block bypassably for ever and fill slots, as constant rate does.
fn run_slots(network: &mut TwoEnds, side: usize, interval: Duration) {
    let now = network.instant();
    let block = script(&[Step::block(seconds(1_000_000)).bypassable().replacing()]);
    network.tunnels[side].run_machines(&Plan::new(vec![block, slots(interval)]).unwrap(), [1; 32], now);
    network.send(side, &packet(side, 0, 1_000));
    network.run_for(Duration::from_millis(100));
}

#[test]
fn no_slot_pulls_a_packet_out_to_a_peer_that_has_become_plain() {
    let mut network = agreed(NegotiationPolicy::Require, Tier::Blocking);
    run_slots(&mut network, 0, Duration::from_millis(10));
    network.restart(1);
    network.tunnels[1].set_endpoint(Some(address(0)));
    network.delivered[1].clear();
    for count in 0..200 {
        network.send(0, &packet(0, count, 1_000));
        network.run_for(seconds(1));
    }
    assert!(network.tunnels[1].has_session(), "there was a session that packets could have left in");
    assert!(network.delivered[1].is_empty(), "{} packets came out", network.delivered[1].len());
}

#[test]
fn no_packet_leaves_in_a_new_session_before_the_peer_has_confirmed_it() {
    for side in [0, 1] {
        let mut network = agreed(NegotiationPolicy::Require, Tier::Padding);
        let peer = 1 - side;
        network.restart(peer);
        network.tunnels[peer].set_endpoint(Some(address(side)));
        network.delivered[peer].clear();
        for count in 0..400 {
            network.send(side, &packet(side, count, 1_000));
            if count % 10 == 0 {
                network.send(peer, &packet(peer, count, 1_000));
            }
            network.run_for(seconds(1));
        }
        assert!(network.tunnels[peer].last_handshake().is_some(), "side {side}");
        assert!(network.delivered[peer].is_empty(), "side {side}: {} packets came out", network.delivered[peer].len());
        let told = network.events[side].iter().rfind(|event| matches!(event, Event::Protection(_)));
        assert!(matches!(told, Some(Event::Protection(Protection::NotProtected(_)))), "{told:?}");
    }
}

#[test]
fn a_late_word_of_the_last_session_confirms_nothing_in_the_next() {
    // The relay's word is held back by the network until the relay has become plain, and there is a new session.
    let mut network = agreed(NegotiationPolicy::Require, Tier::Size);
    let mut out = DatagramBatch::new();
    let now = network.instant();
    renew(&mut network.tunnels[1], now, &mut out).unwrap();
    let before = network.raw.len();
    // Datagrams of the relay's, kept from the client: a new session of both makes it say what it runs.
    network.fate = Box::new(|from| if from == 1 { Fate::Lose } else { Fate::Deliver });
    network.run_for(seconds(60));
    let late: Vec<_> =
        network.raw[before..].iter().filter(|(from, _)| *from == 1).map(|(_, raw)| raw.clone()).collect();
    network.restart(1);
    network.tunnels[1].set_endpoint(Some(address(0)));
    network.fate = Box::new(|_| Fate::Deliver);
    network.delivered[1].clear();
    let is_new = |network: &TwoEnds| network.tunnels[1].last_handshake().is_some();
    for count in 0..60 {
        network.send(0, &packet(0, count, 1_000));
        network.run_for(seconds(1));
        if is_new(&network) {
            late.iter().for_each(|datagram| network.deliver_from(0, datagram, 2));
        }
    }
    assert!(is_new(&network) && network.delivered[1].is_empty(), "{} packets came out", network.delivered[1].len());
}

/// Whatever is sent leaves at once, and whatever the network does not lose comes out.
fn call_over_rekeys(policy: NegotiationPolicy, tier: Tier) {
    const FRAME: Duration = Duration::from_millis(20);
    let ledger = Ledger::open();
    let mut network = TwoEnds::new();
    let fates = Rc::new(RefCell::new(Vec::new()));
    for side in [0, 1] {
        let settings = EphemeralSettings { bundling: false, ..settings(policy, tier) };
        network.agree(side, &settings);
    }
    network.send(0, &packet(0, 0, 1_000));
    network.run_for(seconds(2));
    let (mut state, kept) = (1_u32, Rc::clone(&fates));
    network.fate = Box::new(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let fate = if state >> 24 < 13 { Fate::Lose } else { Fate::Deliver };
        kept.borrow_mut().push(fate);
        fate
    });
    network.raw.clear();
    network.delivered = [Vec::new(), Vec::new()];
    let handshakes = network.tunnels[0].statistics().handshakes;
    let (mut frames, mut waiting) = (0, [Duration::ZERO; 2]);
    while network.tunnels[0].statistics().handshakes < handshakes + 10 {
        for side in [0, 1] {
            network.send(side, &packet(side, frames, 200));
            waiting[side] = if network.tunnels[side].queued() > 0 { waiting[side] + FRAME } else { Duration::ZERO };
            assert!(waiting[side] <= Duration::from_millis(50), "side {side} waits, {policy}, {tier:?}");
        }
        frames += 1;
        network.run_for(FRAME);
    }
    network.run_for(seconds(1));
    let arrived = |from: usize| {
        let fates = fates.borrow();
        let sent = network.raw.iter().zip(&*fates).filter(|((side, raw), _)| *side == from && ledger.has_packets(raw));
        let (lost, came): (Vec<_>, Vec<_>) = sent.partition(|(_, fate)| **fate == Fate::Lose);
        assert_eq!(lost.len() + came.len(), frames as usize, "every packet left, {policy}, {tier:?}");
        came.len()
    };
    assert!(frames > 50_000);
    for side in [0, 1] {
        assert_eq!(network.delivered[side].len(), arrived(1 - side), "side {side}, {policy}, {tier:?}");
    }
}

#[test]
fn a_call_has_no_gap_at_a_rekey_where_a_defense_is_required() {
    call_over_rekeys(NegotiationPolicy::Require, Tier::Size);
}

#[test]
fn a_call_has_no_gap_at_a_rekey_where_a_defense_is_preferred() {
    call_over_rekeys(NegotiationPolicy::Prefer, Tier::Padding);
}

#[test]
fn what_the_ends_have_to_say_rides_in_the_slots_of_blocking_without_an_end() {
    for side in [0, 1] {
        let mut network = agreed(NegotiationPolicy::Prefer, Tier::Size);
        run_slots(&mut network, side, Duration::from_millis(10));
        let epoch =
            |network: &TwoEnds| network.tunnels[0].negotiation_status(network.instant()).unwrap().epoch.unwrap();
        let (before, mut out) = (epoch(&network).fingerprint, DatagramBatch::new());
        let now = network.instant();
        let _ = renew(&mut network.tunnels[0], now, &mut out);
        network.inject(0, &out);
        network.run_for(seconds(5));
        assert_ne!(epoch(&network).fingerprint, before, "side {side} starved");
    }
}

#[test]
fn a_slot_that_carries_what_the_ends_say_looks_like_any_other() {
    let mut network = agreed(NegotiationPolicy::Prefer, Tier::Size);
    run_slots(&mut network, 0, Duration::from_millis(10));
    network.seen.clear();
    let (now, mut out) = (network.instant(), DatagramBatch::new());
    let _ = renew(&mut network.tunnels[0], now, &mut out);
    network.inject(0, &out);
    // Until the next epoch's machines take the place of those.
    network.run_for(Duration::from_millis(60));
    let times: Vec<_> = network.seen.iter().filter(|seen| seen.from == 0).map(|seen| seen.at).collect();
    assert!(
        times.len() >= 5 && times.windows(2).all(|pair| pair[1] - pair[0] == Duration::from_millis(10)),
        "{times:?}"
    );
}

#[test]
fn a_relay_whose_client_wants_no_defense_stops_until_it_wants_one_again() {
    let mut network = agreed(NegotiationPolicy::Prefer, Tier::Padding);
    network.stop_defense(0);
    network.run_for(seconds(1));
    let refused = Protection::NotProtected(Cause::Refused(Reason::Requested));
    assert_eq!(network.tunnels[1].protection(), refused);
    let from_relay = bytes_for_pings(&mut network);
    assert!(from_relay < 20 * 150 + 2_000, "{from_relay} bytes for 20 pings");
    network.agree(0, &settings(NegotiationPolicy::Prefer, Tier::Padding));
    network.send(0, &packet(0, 1, 84));
    network.run_for(seconds(3));
    assert_eq!([0, 1].map(|side| network.tunnels[side].protection()), [Protection::Protected; 2]);
    network.seen.clear();
    network.send(1, &packet(1, 99, 84));
    assert!(network.seen.iter().all(|seen| seen.length == 1_452), "packets have the one size again");
    assert_eq!(network.delivered[0].last().map(|packet| number(packet)), Some(19));
}

#[test]
fn what_waits_for_a_client_that_never_agrees_is_given_up_after_90_seconds() {
    let mut network = TwoEnds::new();
    network.agree(1, &settings(NegotiationPolicy::Require, Tier::Padding));
    let dropped = |network: &TwoEnds| network.tunnels[1].statistics().dropped.unprotected;
    for second in 0..400_u64 {
        // The client keeps its session, and never says anything of a defense.
        if second % 10 == 0 {
            network.send(0, &packet(0, 0, 100));
            network.run_for(Duration::from_millis(100));
        }
        network.send(1, &packet(1, 0, 100));
        network.run_until(seconds(second + 1));
        let waited = second.saturating_sub(90);
        assert!((waited..=waited + 2).contains(&dropped(&network)), "{} after {second} s", dropped(&network));
    }
    assert!(network.tunnels[1].has_session() && network.delivered[0].is_empty());
    network.run_for(seconds(91));
    assert_eq!((network.tunnels[1].queued(), dropped(&network)), (0, 400), "nothing waits for ever");
    assert_eq!(network.tunnels[1].statistics().dropped.no_session, 0);
}

#[test]
fn it_is_said_when_nothing_leaves_and_when_that_ends() {
    let mut network = agreed(NegotiationPolicy::Require, Tier::Size);
    network.events[0].clear();
    network.restart(1);
    network.tunnels[1].set_endpoint(Some(address(0)));
    for count in 0..200 {
        network.send(0, &packet(0, count, 100));
        network.run_for(seconds(1));
    }
    network.agree(1, &settings(NegotiationPolicy::Require, Tier::Size));
    for count in 0..700 {
        network.send(0, &packet(0, count, 100));
        network.run_for(seconds(1));
    }
    let told: Vec<_> = network.events[0]
        .iter()
        .filter_map(|event| if let Event::Protection(protection) = event { Some(*protection) } else { None })
        .collect();
    assert!(told.contains(&Protection::NotProtected(Cause::Refused(Reason::Unanswered))), "{told:?}");
    assert_eq!(told.last(), Some(&Protection::Protected), "{told:?}");
}

#[test]
fn ends_that_call_each_other_at_once_agree_and_lose_nothing() {
    for policy in [NegotiationPolicy::Require, NegotiationPolicy::Prefer] {
        let mut network = TwoEnds::new();
        for side in [0, 1] {
            network.agree(side, &settings(policy, Tier::Size));
        }
        let mut sent = 0;
        for count in 0..1_000 {
            for side in [0, 1] {
                network.send(side, &packet(side, count, 1_000));
            }
            sent += 1;
            network.run_for(seconds(1));
            if count > 10 {
                let protections = [0, 1].map(|side| network.tunnels[side].protection());
                assert_eq!(protections, [Protection::Protected; 2], "{policy}, after {count} s");
            }
        }
        assert!(network.tunnels[0].statistics().handshakes > 10);
        assert_eq!([0, 1].map(|side| network.delivered[side].len()), [sent; 2], "{policy}");
    }
}

#[test]
fn who_is_told_to_agree_anew_waits_for_a_new_word() {
    for before in [NegotiationPolicy::Prefer, NegotiationPolicy::Require] {
        for side in [0, 1] {
            let ledger = Ledger::open();
            // Where the same was agreed on, it would go on undisturbed.
            let mut network = agreed(before, Tier::Padding);
            // The peer does not answer.
            network.fate = Box::new(|_| Fate::Lose);
            network.raw.clear();
            network.agree(side, &settings(NegotiationPolicy::Require, Tier::Blocking));
            for count in 0..10 {
                network.send(side, &packet(side, count, 1_000));
                network.run_for(seconds(1));
            }
            let left = network.raw.iter().filter(|(from, raw)| *from == side && ledger.has_packets(raw)).count();
            assert_eq!(left, 0, "side {side}");
        }
    }
}

#[test]
fn who_comes_back_from_a_defense_of_his_own_waits_for_a_new_word() {
    let ledger = Ledger::open();
    let mut network = agreed(NegotiationPolicy::Prefer, Tier::Size);
    network.start(0, &Plan::default(), [1; 32]);
    network.stop_defense(1);
    network.run_for(seconds(1));
    network.raw.clear();
    network.agree(0, &settings(NegotiationPolicy::Require, Tier::Size));
    network.send(0, &packet(0, 1, 1_000));
    network.run_for(seconds(1));
    let left = network.raw.iter().filter(|(from, raw)| *from == 0 && ledger.has_packets(raw)).count();
    assert_eq!(left, 0);
}

#[test]
fn a_client_that_wants_none_before_it_was_ready_is_heard() {
    let mut network = TwoEnds::new();
    for side in [0, 1] {
        network.agree(side, &settings(NegotiationPolicy::Prefer, Tier::Padding));
    }
    network.send(0, &packet(0, 0, 1_000));
    // The relay's answers get lost; its handshake does not.
    network.run_for(Duration::from_millis(21));
    network.fate = Box::new(|from| if from == 1 { Fate::Lose } else { Fate::Deliver });
    network.run_for(seconds(5));
    network.fate = Box::new(|_| Fate::Deliver);
    network.stop_defense(0);
    network.run_for(seconds(1));
    let from_relay = bytes_for_pings(&mut network);
    assert!(from_relay < 20 * 150 + 2_000, "{from_relay} bytes for 20 pings, {:?}", network.tunnels[1].protection());
}

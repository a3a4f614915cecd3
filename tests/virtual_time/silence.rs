//! Padding to a peer that has fallen silent ends, and goes on when the peer is heard from.

use std::time::Duration;

use maybetun::defense::Plan;
use maybetun::settings::{EphemeralSettings, NegotiationPolicy};
use maybetun::tunnel::MAX_SILENCE;
use maybetun_machines::Tier;

use crate::machines::metronome;
use crate::network::{DELAY, Fate, Network, packet};

const INTERVAL: Duration = Duration::from_millis(50);

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// How the ends came by what they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agreed {
    /// One of them runs something; the other does not know of it.
    Not,
    By(NegotiationPolicy),
}

const ALL: [Agreed; 3] = [Agreed::Not, Agreed::By(NegotiationPolicy::Prefer), Agreed::By(NegotiationPolicy::Require)];

/// Two ends of which `side` pads every [`INTERVAL`].
fn padding_from(side: usize, agreed: Agreed) -> Network {
    let mut network = Network::connected();
    if let Agreed::By(negotiation) = agreed {
        // What is agreed on pads nothing: the machine below does.
        let settings = EphemeralSettings { negotiation, tier: Tier::Size, ..EphemeralSettings::default() };
        for side in [0, 1] {
            network.agree(side, &settings);
        }
        network.send(0, &packet(0, 0, 1_000));
        network.run_for(seconds(2));
    }
    let (now, plan) = (network.instant(), Plan::new(vec![metronome(INTERVAL)]));
    match agreed {
        Agreed::Not => network.tunnels[side].start_defense(&plan, [1; 32], now).unwrap(),
        Agreed::By(_) => network.tunnels[side].run_machines(&plan, [1; 32], now).unwrap(),
    }
    network.send(side, &packet(side, 0, 1_000));
    network.run_for(seconds(1));
    network
}

/// Returns when datagrams of data left `side` since `from`.
fn sent(network: &Network, side: usize, from: Duration) -> Vec<Duration> {
    let is_data = network.seen.iter().filter(|seen| seen.from == side && seen.kind == 4 && seen.at >= from);
    is_data.map(|seen| seen.at).collect()
}

#[test]
fn nothing_is_padded_to_a_peer_that_was_not_heard_for_twenty_seconds_until_it_is() {
    for (side, agreed) in [0, 1].into_iter().flat_map(|side| ALL.map(|agreed| (side, agreed))) {
        let mut network = padding_from(side, agreed);
        let silent = network.now();
        network.fate = Box::new(move |from| if from == side { Fate::Deliver } else { Fate::Lose });
        network.run_for(seconds(60));
        let times = sent(&network, side, silent);
        let (first, last) = (*times.first().unwrap(), *times.last().unwrap());
        assert!(last <= silent + DELAY + MAX_SILENCE, "{:?} after, side {side}, {agreed:?}", last - silent);
        assert!(last >= first + seconds(9), "it stops no sooner: {:?}, side {side}, {agreed:?}", last - first);
        let drops = network.tunnels[side].defense_statistics(network.instant()).unwrap().padding_dropped;
        // Between ends that agreed it waits for the session that is asked for, as packets do.
        assert_eq!(drops.silent > 700, agreed == Agreed::Not, "{drops:?}, side {side}, {agreed:?}");
        assert_eq!(network.tunnels[side].has_session(), agreed == Agreed::Not, "side {side}, {agreed:?}");

        network.fate = Box::new(|_| Fate::Deliver);
        let again = network.now();
        network.send(1 - side, &packet(1 - side, 0, 1_000));
        network.run_for(seconds(8));
        let times = sent(&network, side, again);
        assert!(times.len() > 20, "{} datagrams, side {side}, {agreed:?}", times.len());
    }
}

#[test]
fn an_end_that_only_answers_is_not_taken_for_one_that_is_gone() {
    for (side, agreed) in [0, 1].into_iter().flat_map(|side| ALL.map(|agreed| (side, agreed))) {
        let mut network = padding_from(side, agreed);
        let from = network.now();
        // Nobody sends a packet of the user's.
        network.run_for(seconds(100));
        let times = sent(&network, side, from);
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= 2 * INTERVAL, "a gap of {longest:?}, side {side}, {agreed:?}");
        assert!(*times.last().unwrap() >= from + seconds(99), "side {side}, {agreed:?}");
    }
}

//! Masking in real time: what an observer of the wire sees of users, and what is changed while a tunnel runs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{End, Finished, Setup, alone, defense, eventually, maybetun_program, shown_peer};
use maybetun_lab::defense::Defense;
use maybetun_lab::real::{Run, session};
use maybetun_lab::tunnels::client;
use maybetun_lab::workload::{Access, Load, MAX_BYTES, Plan, Site, bulk_down, video};

/// How long each user is looked at.
const TIME: Duration = Duration::from_secs(60);

/// How long what was changed may take to be seen.
const PATIENCE: Duration = Duration::from_secs(30);

/// The outer size of every packet of a defense with one size: the tunnel's MTU, WireGuard's 32 bytes, and the headers of UDP and IPv4.
const ONE_SIZE: usize = 1_420 + 32 + 28;

/// Has a user do his plans, each followed by a time for which he does nothing, through the program at both ends; returns what the
/// observer has of it.
fn observed(plans: impl IntoIterator<Item = Plan> + Send, after: Duration) -> Vec<Load> {
    let access = Access { down: 20_000_000, up: 5_000_000, ..Access::default() };
    let (program, defense) = (maybetun_program(), Defense::parse("padding/medium+adaptive").unwrap());
    let (program, access, defense) = (Path::new(&program), &access, &defense);
    let run = Run { program, access, defense, seed: 1, longest: TIME, after };
    let loads = session(&run, |session| {
        let (mut loads, mut lasted) = (Vec::new(), Duration::ZERO);
        for plan in plans {
            if lasted >= TIME {
                break;
            }
            let load = session.load(plan)?;
            lasted += load.lasted;
            loads.push(load);
        }
        Ok(loads)
    });
    loads.unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn the_ratio_of_pages_a_video_and_a_download_is_that_of_an_ordinary_client() {
    let _heavy = alone();
    let all: Vec<_> = std::thread::scope(|scope| {
        let pages = || observed((0..12).map(|number| Site::generate(number).visit(1)), Duration::from_secs(5));
        let running = [
            ("pages", scope.spawn(pages)),
            ("video", scope.spawn(|| observed([video(TIME, 4_000_000, 1)], Duration::ZERO))),
            ("download", scope.spawn(|| observed([bulk_down(MAX_BYTES)], Duration::ZERO))),
        ];
        running.into_iter().map(|(name, running)| (name, running.join().unwrap())).collect()
    });
    for (name, loads) in all {
        let bytes = |is_up: bool| -> usize {
            let passed = loads.iter().flat_map(|load| &load.trace);
            passed.filter(|passed| (passed.from == client(0)) == is_up).map(|passed| passed.size).sum()
        };
        let (up, down) = (bytes(true), bytes(false));
        let ratio = up as f64 / down as f64;
        assert!((0.03..=0.08).contains(&ratio), "{name}: {up} up, {down} down");
        // Handshake messages differ: WireGuard fixes them.
        let sizes = loads.iter().flat_map(|load| &load.trace).map(|passed| passed.size);
        let sizes: BTreeSet<_> = sizes.filter(|size| *size > 148 + 28).collect();
        assert_eq!(sizes, BTreeSet::from([ONE_SIZE]), "{name}");
        assert!(loads.iter().all(|load| load.received > 0), "{name}");
    }
}

/// Runs `maybetun masking` for an end's interface.
fn masking(end: &End, line: &str) -> Finished {
    let line = format!("{} masking {} {line}", maybetun_program().display(), end.daemon.interface());
    end.host.run(&line)
}

#[test]
fn masking_is_changed_while_the_tunnel_runs_and_the_relay_hears_of_it() {
    let pair = Setup::between(Maybetun, Maybetun).start();
    let refused = masking(&pair.client, "adaptive").failure();
    assert!(refused.contains("defense"), "{refused}");
    for end in [&pair.relay, &pair.client] {
        defense(end, "on ephemeral --tier size").success();
    }
    pair.client.host.reaches(&pair.relay.v4());
    eventually("both agree", PATIENCE, || shown_peer(&pair.client)["protection"] == "protected");
    assert!(shown_peer(&pair.client)["masking"].is_null());

    masking(&pair.client, "adaptive --budget 100MB/d").success();
    let relay = || shown_peer(&pair.relay)["masking"].take();
    eventually("the relay does its part", PATIENCE, || relay()["mutual"] == true);
    assert_eq!(relay()["allowed"], 90_000_000);
    let handshakes = shown_peer(&pair.client)["last_handshake"].clone();

    let begun = Instant::now();
    masking(&pair.client, "--metered on").success();
    eventually("a metered network has a quarter of it", PATIENCE, || relay()["allowed"] == 22_500_000);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(shown_peer(&pair.client)["last_handshake"], handshakes, "the session goes on");
    let shown = masking(&pair.client, "").success();
    assert!(shown.contains("adaptive"), "{shown}");

    masking(&pair.relay, "off").success();
    eventually("the client does its part alone", PATIENCE, || shown_peer(&pair.client)["masking"]["mutual"] == false);
    assert!(relay().is_null());
    pair.client.host.reaches(&pair.relay.v4());
    masking(&pair.client, "off").success();
    assert!(shown_peer(&pair.client)["masking"].is_null());
}

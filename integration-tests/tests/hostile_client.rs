//! A client that holds a valid key and lies in one thing: the relay lives, and its other client hardly notices.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::lies::{FORGED, LIES};
use maybetun_integration_tests::{
    Capture, Config, End, Host, Keys, MEGABYTE, Network, PeerConfig, Stage, Stream, Wire, every_lie,
};

/// Lines that the relay may log for one lie, however often it is told.
const LINES: usize = 20;

/// How often an honest client pings while a lie is told, and how many replies must come in time.
const PINGS: usize = 30;
const PROMPT: usize = 28;

/// Tells one lie again and again while an honest client pings; afterwards that client transfers both ways.
fn one_lie(name: &str) {
    /// Times that it is told, and the pause between: some seconds in all.
    const TOLD: usize = 100;
    const PAUSE: Duration = Duration::from_millis(30);

    let lie = *LIES.iter().find(|lie| lie.name == name).unwrap();
    let (host, client_host) = (Host::new(), Host::new());
    let _wire = Wire::between(&client_host, &host, Network::First, 1_500);
    let keys = Keys::new();
    let honest = PeerConfig {
        public_key: keys.public.clone(),
        preshared_key: None,
        endpoint: None,
        allowed_ips: format!("{}/32", Stage::HONEST),
    };
    let stage = Stage::start(host, vec![honest], 1);
    let peer = PeerConfig {
        public_key: stage.relay.public_key.clone(),
        preshared_key: None,
        endpoint: Some(Stage::endpoint()),
        allowed_ips: "10.9.0.0/16".to_owned(),
    };
    let config = Config { private_key: keys.private, listen_port: 0, peers: vec![peer] };
    let client = End::start(client_host, Maybetun, config, keys.public, 1, 1_420);
    client.host.reaches(&stage.relay.v4());

    let capture = Capture::start_delivered(&stage.relay.host, stage.relay.daemon.interface());
    let (mut liar, lines) = (stage.liar(0), stage.logged().len());
    let replies = thread::scope(|scope| {
        let told = scope.spawn(|| {
            for _ in 0..TOLD {
                liar.tell(lie);
                thread::sleep(PAUSE);
            }
        });
        let replies = prompt_replies(&client.host, &stage.relay.v4());
        told.join().unwrap();
        replies
    });
    let delivered = capture.packets(0);

    client.host.reaches(&stage.relay.v4());
    let up = Stream::start(&client.host, &stage.relay.host, stage.relay.inner(5000));
    let down = Stream::start(&stage.relay.host, &client.host, client.inner(5000));
    up.advance(MEGABYTE);
    down.advance(MEGABYTE);
    up.finish();
    down.finish();
    assert!(replies >= PROMPT, "only {replies} of {PINGS} pings were answered in time meanwhile");
    let log = stage.logged();
    assert!(log.len() - lines <= LINES, "{log:#?}");
    assert!(!delivered.is_empty(), "the honest client's pings at least");
    delivered.iter().for_each(|packet| assert_allowed(packet));
}

/// Pings `address` while a lie is told, and returns how many replies came before they were worth nothing: a bound on what
/// stands still, not on how fast the machine is.
fn prompt_replies(host: &Host, address: &str) -> usize {
    const WORTHLESS: f64 = 500.0;
    let told = host.run(&format!("ping -n -c {PINGS} -i 0.1 -W 1 {address}")).stdout;
    let milliseconds = |line: &str| line.split_once("time=")?.1.split(' ').next()?.parse::<f64>().ok();
    told.lines().filter_map(milliseconds).filter(|&time| time < WORTHLESS).count()
}

/// Checks that the relay's host was given nothing but whole packets from the addresses of its clients.
#[track_caller]
fn assert_allowed(packet: &[u8]) {
    assert_eq!(packet[0] >> 4, 4, "{packet:02x?}");
    let head = &packet[..packet.len().min(60)];
    let source = Ipv4Addr::from(*packet[12..].first_chunk::<4>().unwrap());
    assert!([Stage::HONEST, Stage::inner(0)].contains(&source), "a packet from {source}: {head:02x?}");
    assert_eq!(usize::from(u16::from_be_bytes([packet[2], packet[3]])), packet.len(), "{head:02x?}");
    assert!(!packet.ends_with(&FORGED), "{head:02x?}");
}

macro_rules! tests {
    ($($lie:ident),+ $(,)?) => {
        $(
            #[test]
            fn $lie() {
                one_lie(stringify!($lie));
            }
        )+
    };
}

every_lie!(tests);

//! Settings that change at either end while a tunnel is used: nothing is lost by it.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use maybetun_integration_tests::Implementation::Maybetun;
use maybetun_integration_tests::{Background, End, Host, Pair, Setup, Stream, alone, defense, eventually, shown_peer};

const CHANGES: u32 = 100;

/// What an end may be told.
const SETTINGS: [&str; 10] = [
    "on ephemeral",
    "on ephemeral --tier size",
    "on ephemeral --tier blocking --strength low",
    "on ephemeral --strength high",
    "on ephemeral --bundling off",
    "on ephemeral --negotiation off",
    "on ephemeral --max-padding-rate 100000",
    "on front",
    "off",
    "on ephemeral --tier size --bundling on",
];

const PATIENCE: Duration = Duration::from_secs(120);

/// How long a test waits for the next number of a sequence.
const QUIET: Duration = Duration::from_secs(10);

/// Tells an end or the other to run something else, and again, with a word between.
fn change(pair: &Pair, mut between: impl FnMut()) {
    let mut state = 1_u32;
    let mut below = |bound: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as usize % bound
    };
    for _ in 0..CHANGES {
        let end = [&pair.client, &pair.relay][below(2)];
        defense(end, SETTINGS[below(SETTINGS.len())]).success();
        between();
    }
    for end in [&pair.relay, &pair.client] {
        defense(end, "on ephemeral").success();
    }
}

#[track_caller]
fn assert_agreed(pair: &Pair) {
    let shown = |end: &End| {
        let peer = shown_peer(end);
        (peer["protection"] == "protected").then(|| peer["negotiation"]["epoch"]["fingerprint"].clone())
    };
    eventually("both ends agree", PATIENCE, || {
        let client = shown(&pair.client);
        client.is_some() && client == shown(&pair.relay)
    });
}

/// Numbered datagrams, some milliseconds apart.
struct Sequence {
    stop: Arc<AtomicBool>,
    sender: Background<u32>,
    receiver: Background<Vec<u32>>,
}

impl Sequence {
    fn start(from: &Host, to: &Host, address: SocketAddr) -> Self {
        let socket = to.inside(|| UdpSocket::bind(address)).unwrap();
        let receiver = to.spawn(move || receive(&socket));
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let sender = from.spawn(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(address).unwrap();
            let mut count = 0_u32;
            while !told.load(Ordering::Relaxed) {
                // Some of them come to the tunnel together, and may share a datagram.
                for _ in 0..16 {
                    socket.send(&count.to_be_bytes()).unwrap();
                    count += 1;
                }
                thread::sleep(Duration::from_millis(20));
            }
            count
        });
        Self { stop, sender, receiver }
    }

    /// Ends the sequence, and checks that every number arrived, in order.
    #[track_caller]
    fn finish(self) {
        self.stop.store(true, Ordering::Relaxed);
        let (sent, received) = (self.sender.finish(), self.receiver.finish());
        let missing: Vec<u32> = (0..sent).filter(|number| received.binary_search(number).is_err()).collect();
        assert!(missing.is_empty(), "of {sent} are missing {missing:?}");
        assert_eq!(received.len(), sent as usize);
    }
}

/// Takes numbers until no more come.
fn receive(socket: &UdpSocket) -> Vec<u32> {
    socket.set_read_timeout(Some(QUIET)).unwrap();
    let (mut numbers, mut buffer) = (Vec::new(), [0; 4]);
    while socket.recv(&mut buffer).is_ok() {
        numbers.push(u32::from_be_bytes(buffer));
    }
    assert!(numbers.is_sorted(), "the order is kept");
    numbers
}

#[test]
fn transfers_survive_a_hundred_changes_at_either_end() {
    let _heavy = alone();
    let pair = Setup::between(Maybetun, Maybetun).start();
    let up = Stream::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Stream::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    change(&pair, || {
        up.advance(20_000);
        down.advance(20_000);
    });
    up.finish();
    down.finish();
    assert_agreed(&pair);
}

#[test]
fn a_sequence_of_datagrams_survives_a_hundred_changes_at_either_end_without_a_gap() {
    let _heavy = alone();
    let pair = Setup::between(Maybetun, Maybetun).start();
    pair.client.host.reaches(&pair.relay.v4());
    let up = Sequence::start(&pair.client.host, &pair.relay.host, pair.relay.inner(5000));
    let down = Sequence::start(&pair.relay.host, &pair.client.host, pair.client.inner(5000));
    change(&pair, || thread::sleep(Duration::from_millis(100)));
    assert_agreed(&pair);
    up.finish();
    down.finish();
}

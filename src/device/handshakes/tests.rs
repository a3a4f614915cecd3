use super::*;
use crate::keys::PrivateKey;
use crate::tunnel::{DatagramBatch, Endpoint, Tunnel, TunnelConfig};

/// A handshake initiation with a valid first MAC, from someone whom the device does not know.
pub(in crate::device) fn initiation(to: PublicKey) -> Vec<u8> {
    initiations(to, |tunnel, out| tunnel.start_handshake(Instant::now(), out))
}

/// The last message that a stranger sends in `act`.
fn initiations(to: PublicKey, act: impl FnOnce(&mut Tunnel, &mut DatagramBatch)) -> Vec<u8> {
    let mut tunnel = Tunnel::new(TunnelConfig::new(&PrivateKey::generate_from_os(), to, [1; 32]));
    tunnel.set_endpoint(Some(Endpoint::from(SocketAddr::from(([192, 0, 2, 1], 1)))));
    let mut out = DatagramBatch::new();
    act(&mut tunnel, &mut out);
    out.iter().last().unwrap().to_vec()
}

/// The guard of a device, its clock, and what is sent to it.
struct Guarded {
    limiter: HandshakeLimiter,
    own: PublicKey,
    peers: usize,
    message: Vec<u8>,
    start: Instant,
}

/// What becomes of a message, for comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Cookie,
    Invalid,
    TooMany,
}

impl Guarded {
    fn new(rate: Option<u64>, peers: usize) -> Self {
        let (own, start) = (PrivateKey::generate_from_os().public_key(), Instant::now());
        let limiter = HandshakeLimiter::new(own, rate, start);
        Self { limiter, own, peers, message: initiation(own), start }
    }

    fn judge(&self, message: &[u8], from: impl Into<IpAddr>, at: Duration) -> (Fate, [u8; COOKIE_REPLY]) {
        let (mut reply, from) = ([0; COOKIE_REPLY], SocketAddr::new(from.into(), 9));
        let fate = match self.limiter.judge(message, from, self.peers, self.start + at, &mut reply) {
            Verdict::Accept(_) => Fate::Accepted,
            Verdict::SendCookie => Fate::Cookie,
            Verdict::Invalid => Fate::Invalid,
            Verdict::TooMany => Fate::TooMany,
        };
        (fate, reply)
    }

    /// Says what becomes of a message without a cookie.
    fn call(&self, from: impl Into<IpAddr>, at: Duration) -> Fate {
        self.judge(&self.message, from, at).0
    }

    fn load(&self, at: Duration) -> HandshakeLoad {
        self.limiter.load(self.peers, self.start + at)
    }

    /// A message with the cookie that `from` is given under load.
    fn with_cookie(&self, from: [u8; 4]) -> Vec<u8> {
        initiations(self.own, |tunnel, out| {
            let now = Instant::now();
            tunnel.start_handshake(now, out);
            let message = out.iter().next().unwrap().to_vec();
            let (mut reply, address) = ([0; COOKIE_REPLY], IpAddr::from(from));
            assert!(self.limiter.strict.verify_packet(Some(address), &message, &mut reply).is_err());
            out.clear();
            let endpoint = Endpoint::from(SocketAddr::new(address, 9));
            tunnel.receive(&reply, endpoint, now, |_| false, &mut [0; 2_048], out);
            tunnel.resend_handshake(now, out);
        })
    }
}

#[test]
fn a_message_without_a_valid_mac1_is_refused_and_does_not_count() {
    let guarded = Guarded::new(Some(1), 0);
    let mut forged = guarded.message.clone();
    forged[120] ^= 1;
    for _ in 0..10 {
        assert_eq!(guarded.judge(&forged, [192, 0, 2, 9], Duration::ZERO).0, Fate::Invalid);
    }
    assert_eq!(guarded.call([192, 0, 2, 9], Duration::ZERO), Fate::Accepted);
    let load = guarded.load(Duration::ZERO);
    assert_eq!((load.invalid, load.per_second, load.is_under_load), (10, 1, false));
}

#[test]
fn at_a_rate_of_zero_everybody_needs_a_cookie() {
    let guarded = Guarded::new(Some(0), 0);
    let (fate, reply) = guarded.judge(&guarded.message, [192, 0, 2, 9], Duration::ZERO);
    assert_eq!((fate, reply[0]), (Fate::Cookie, 3), "a cookie reply is message type 3");
    let message = guarded.with_cookie([192, 0, 2, 9]);
    assert_eq!(guarded.judge(&message, [192, 0, 2, 9], Duration::ZERO).0, Fate::Accepted);
    assert_eq!(guarded.judge(&message, [192, 0, 2, 8], Duration::ZERO).0, Fate::Cookie, "it is another's");
}

#[test]
fn a_source_that_proved_its_address_has_its_share_and_no_more() {
    let guarded = Guarded::new(Some(0), 0);
    let message = guarded.with_cookie([192, 0, 2, 9]);
    let taken = |at: Duration| {
        (0..100).filter(|_| guarded.judge(&message, [192, 0, 2, 9], at).0 == Fate::Accepted).count() as u64
    };
    assert_eq!(taken(Duration::ZERO), AT_ONCE);
    assert_eq!(guarded.load(Duration::ZERO).too_many, 100 - AT_ONCE);
    assert_eq!(taken(SECOND / 10), 2, "20 a second");
}

/// 27 kB/s of junk with a valid mac1.
const FLOOD: u32 = 182;

#[test]
fn the_first_call_of_an_honest_client_is_taken_at_once_during_a_flood() {
    let guarded = Guarded::new(None, 10);
    let (mut taken, mut cookies) = (0, 0);
    for message in 0..60 * FLOOD {
        let at = SECOND * message / FLOOD;
        match guarded.call([198, 51, (message % 8) as u8, 1], at) {
            Fate::Accepted => taken += 1,
            Fate::Cookie => cookies += 1,
            other @ (Fate::Invalid | Fate::TooMany) => panic!("{other:?}"),
        }
        // Several newcomers a second, each from a network of its own.
        if message % 37 == 0 {
            let newcomer = [203, (message >> 8) as u8, message as u8, 1];
            assert_eq!(guarded.call(newcomer, at), Fate::Accepted, "after {at:?}");
        }
    }
    let load = guarded.load(SECOND * 60);
    assert!(load.is_under_load && load.per_second >= 180, "{load:?}");
    assert_eq!((load.max_per_second, load.cookies_sent), (LEAST_RATE, cookies));
    let most = 61 * (LEAST_RATE + 8) + 8 * AT_ONCE;
    assert!(taken <= most && cookies > 0, "{taken} of the flood were taken");
    assert!(!guarded.load(SECOND * 62).is_under_load, "it is over");
}

#[test]
fn a_botnet_in_one_network_does_not_use_up_what_is_kept_for_others() {
    let guarded = Guarded::new(None, 10);
    for message in 0..10_000u32 {
        let at = SECOND * message / 1_000;
        let bot = IpAddr::from([0x2001, 0xdb8, 0, message as u16, 0, 0, 0, 1]);
        guarded.call(bot, at);
        if message % 100 == 0 {
            let newcomer = IpAddr::from([0x2001, 0xdb8, 1 + message as u16, 0, 0, 0, 0, 1]);
            assert_eq!(guarded.call(newcomer, at), Fate::Accepted, "after {at:?}");
        }
    }
}

#[test]
fn what_is_taken_without_a_cookie_is_bounded_wherever_it_seems_to_come_from() {
    let guarded = Guarded::new(None, 10);
    let forged = |message: u32| IpAddr::from((message << 8).to_be_bytes());
    let taken =
        (0..20_000).filter(|message| guarded.call(forged(*message), SECOND * *message / 2_000) == Fate::Accepted);
    assert!(taken.count() as u64 <= 2 * LEAST_RATE * 11, "twice the rate, and what was saved");
}

#[test]
fn clients_that_renew_their_sessions_are_no_load_however_many_they_are() {
    const CLIENTS: u32 = 20_000;
    let guarded = Guarded::new(None, CLIENTS as usize);
    let period = Duration::from_secs(120);
    for call in 0..2 * CLIENTS {
        // All behind a few addresses of one carrier.
        let (at, from) = (period * call / CLIENTS, [100, 64, 0, (call % 4) as u8]);
        assert_eq!(guarded.call(from, at), Fate::Accepted);
        assert!(!guarded.load(at).is_under_load, "after {at:?}");
    }
    assert_eq!(guarded.load(2 * period).max_per_second, u64::from(CLIENTS) / PEERS_PER_MESSAGE);
}

#[test]
fn the_clients_behind_one_address_come_in_after_all_lost_their_sessions() {
    const CLIENTS: usize = 1_000;
    let guarded = Guarded::new(None, 12_000);
    let proven = guarded.with_cookie([100, 64, 0, 1]);
    let mut waiting: Vec<_> = (0..CLIENTS).map(|_| false).collect();
    let mut rounds = 0;
    while !waiting.is_empty() {
        // Each calls every five seconds, with the cookie that it was given last.
        let count = waiting.len();
        let mut place = 0;
        waiting.retain_mut(|has_cookie| {
            let at = Duration::from_secs(5) * rounds + Duration::from_secs(5) * place / count as u32;
            place += 1;
            let message = if *has_cookie { &proven } else { &guarded.message };
            let (fate, _) = guarded.judge(message, [100, 64, 0, 1], at);
            *has_cookie |= fate == Fate::Cookie;
            fate != Fate::Accepted
        });
        rounds += 1;
        assert!(rounds < 8, "{} still wait", waiting.len());
    }
}

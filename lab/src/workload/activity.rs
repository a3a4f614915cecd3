//! What people do beside loading pages. All of it is made from published rates where one is named, and ours where none is.

use std::time::Duration;

use super::draws::Draws;
use super::{MAX_BYTES, Plan, Request, Stream};

const SECOND: Duration = Duration::from_secs(1);

fn plan(requests: Vec<Request>, streams: Vec<Stream>) -> Plan {
    Plan::new(requests, streams).expect("what is made here is within what a plan may be")
}

/// Nothing happens: its load is over at once, and its trace is what [`Run::after`](super::Run::after) says.
pub fn idle() -> Plan {
    Plan::default()
}

/// A file comes, of up to [`MAX_BYTES`] bytes; more are cut.
pub fn bulk_down(bytes: u32) -> Plan {
    plan(vec![Request { up: 300, down: bytes.min(MAX_BYTES), ..Request::default() }], vec![])
}

/// A file is sent, of up to [`MAX_BYTES`] bytes; more are cut.
pub fn bulk_up(bytes: u32) -> Plan {
    plan(vec![Request { up: bytes.min(MAX_BYTES), down: 200, ..Request::default() }], vec![])
}

/// A call: a packet every 20 ms both ways, of 160 bytes and RTP's header, as G.711 has (RFC 3551, section 4.5.14). A day at most; more
/// is cut.
pub fn call(time: Duration) -> Plan {
    let every = Duration::from_millis(20);
    let count = time.min(86_400 * SECOND).as_millis() / every.as_millis();
    let stream = Stream { start: Duration::ZERO, every, count: count as u32, up: 172, down: 172 };
    plan(vec![], vec![stream])
}

/// A video as in HLS: segments of four seconds at `rate` bits a second, each within 20 % of that, one after another until 24 seconds
/// are ahead, then one every four seconds. 10,000 segments and 100 Mbit/s at most; more is cut.
pub fn video(time: Duration, rate: u64, seed: u64) -> Plan {
    const SEGMENT: u32 = 4;
    const AHEAD: u32 = 6;
    let mut draws = Draws::new(seed, 1);
    let count = time.as_secs().div_ceil(SEGMENT.into()).min(10_000) as u32;
    let bytes = (rate.min(100_000_000) * u64::from(SEGMENT) / 8) as f64;
    let segment = |number: u32| Request {
        after: number.checked_sub(1).map(|before| before as usize).into_iter().collect(),
        not_before: SEGMENT * number.saturating_sub(AHEAD) * SECOND,
        up: 400,
        down: (bytes * draws.between(0.8, 1.2)) as u32,
        think: draws.milliseconds(1.0, 10.0),
        ..Request::default()
    };
    plan((0..count).map(segment).collect(), vec![])
}

/// A camera that is watched from afar: 2 Mbit/s up, in ten pieces a second, of which every twentieth is a key frame six times as large as
/// the others. An hour at most; more is cut.
pub fn camera(time: Duration, seed: u64) -> Plan {
    let mut draws = Draws::new(seed, 2);
    let pieces = time.min(3_600 * SECOND).as_millis() / 100;
    // 20 pieces are 500,000 bytes: 19 parts and 6.
    let part = 500_000.0 / 25.0;
    let piece = |number: u32| Request {
        not_before: number * Duration::from_millis(100),
        up: (part * if number.is_multiple_of(20) { 6.0 } else { 1.0 } * draws.between(0.8, 1.2)) as u32,
        down: 100,
        ..Request::default()
    };
    plan((0..pieces as u32).map(piece).collect(), vec![])
}

/// Draws requests one after another: how long between two, in seconds, and bytes up and down, each from a range.
fn now_and_then(time: Duration, draws: &mut Draws, [gap, up, down]: [[f64; 2]; 3]) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut at = Duration::ZERO;
    while requests.len() < 20_000 {
        at += draws.milliseconds(gap[0] * 1_000.0, gap[1] * 1_000.0);
        if at > time {
            break;
        }
        let [up, down] = [up, down].map(|[least, most]| draws.between(least, most) as u32);
        let think = draws.milliseconds(5.0, 50.0);
        requests.push(Request { not_before: at, up, down, think, ..Request::default() });
    }
    requests
}

/// A talk by messages: one every 2 to 20 seconds, one way or the other, of 100 to 1,500 bytes, and one in ten has a picture. What comes,
/// comes as the answer to a request.
pub fn messaging(time: Duration, seed: u64) -> Plan {
    let mut draws = Draws::new(seed, 3);
    let mut requests = now_and_then(time, &mut draws, [[2.0, 20.0], [100.0, 1_500.0], [100.0, 1_500.0]]);
    for request in &mut requests {
        if draws.happens(0.1) {
            let picture = draws.between(50_000.0, 300_000.0) as u32;
            if draws.happens(0.5) { request.up = picture } else { request.down = picture }
        }
    }
    plan(requests, vec![])
}

/// What a phone does by itself: names, push and keepalives every 5 to 120 seconds, 60 to 600 bytes up and 60 to 4,000 down.
pub fn chatter(time: Duration, seed: u64) -> Plan {
    let mut draws = Draws::new(seed, 4);
    plan(now_and_then(time, &mut draws, [[5.0, 120.0], [60.0, 600.0], [60.0, 4_000.0]]), vec![])
}

//! What a packet costs: sealing and opening beside the AEAD alone, the queue, Maybenot, masking, cryptokey routing.
//!
//! `cargo bench --bench packet`. Times are for batches of 45 packets where the name says so: what one system call sends.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use maybetun::defense::{Controller as _, Engine, Plan};
use maybetun::masking::{Masking, MaskingMode, Terms};
use maybetun::settings::Role;
use maybetun::traffic::{Direction, Kind, Traffic};
use maybetun::tunnel::{AllowedIps, DatagramBatch, Tunnel};
use maybetun_lab::tunnels::{Pair, address};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Packets in a batch.
const BATCH: usize = 45;

/// Sizes of IP packets, in bytes: a full one, and a TCP acknowledgement.
const SIZES: [usize; 2] = [1_420, 52];

/// An IPv4 packet, and room for padding behind it.
fn packet(size: usize) -> Vec<u8> {
    let mut packet = vec![0; size + 16];
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&(size as u16).to_be_bytes());
    packet
}

fn receive(relay: &mut Tunnel, datagrams: &DatagramBatch, now: Instant, answers: &mut DatagramBatch) {
    let mut space = [0; 2_048];
    for datagram in datagrams.iter() {
        black_box(relay.receive(datagram, address(0), now, |_| true, &mut space, answers));
    }
}

fn seal_and_open(criterion: &mut Criterion) {
    for size in SIZES {
        let mut group = criterion.benchmark_group(format!("{BATCH} packets of {size} bytes"));
        group.throughput(Throughput::Bytes((BATCH * size) as u64));
        let mut pair = Pair::connected();
        let (mut out, mut answers) = (DatagramBatch::new(), DatagramBatch::new());
        let mut buffer = packet(size);
        group.bench_function("seal", |bencher| {
            bencher.iter(|| {
                out.clear();
                (0..BATCH).for_each(|_| pair.tunnels[0].send(&mut buffer, size, pair.now, &mut out));
            });
        });
        group.bench_function("open", |bencher| {
            // Each datagram is new: a replay would not be opened.
            bencher.iter_custom(|rounds| {
                let mut pair = Pair::connected();
                (0..rounds)
                    .map(|_| {
                        out.clear();
                        (0..BATCH).for_each(|_| pair.tunnels[0].send(&mut buffer, size, pair.now, &mut out));
                        let start = Instant::now();
                        receive(&mut pair.tunnels[1], &out, pair.now, &mut answers);
                        start.elapsed()
                    })
                    .sum::<Duration>()
            });
        });
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &[1; 32]).expect("a key of 32 bytes"));
        let nonce = || Nonce::assume_unique_for_key([0; 12]);
        group.bench_function("the AEAD alone, seal and open", |bencher| {
            let mut buffer = vec![0; size + 16];
            bencher.iter(|| {
                for _ in 0..BATCH {
                    let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut buffer[..size]);
                    buffer[size..].copy_from_slice(tag.expect("it fits").as_ref());
                    key.open_in_place(nonce(), Aad::empty(), &mut buffer).expect("it was just sealed");
                }
            });
        });
        group.finish();
    }
}

/// Packets that wait for a session, as they wait for the end of blocking.
fn queue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("queue");
    group.throughput(Throughput::Elements(BATCH as u64));
    let now = Instant::now();
    let waiting = || {
        let [mut tunnel, _] = Pair::new().tunnels;
        let mut out = DatagramBatch::new();
        let mut first = packet(52);
        tunnel.send(&mut first, 52, now, &mut out);
        (tunnel, out, packet(1_420))
    };
    group.bench_function("45 packets of 1,420 bytes wait", |bencher| {
        let wait = |(tunnel, out, packet): &mut (Tunnel, DatagramBatch, Vec<u8>)| {
            (0..BATCH).for_each(|_| tunnel.send(packet, 1_420, now, out));
        };
        bencher.iter_batched_ref(waiting, wait, BatchSize::SmallInput);
    });
    group.finish();
}

/// What Maybenot costs each packet that is sent: two events, and whatever timers are due, 20 µs a packet.
fn maybenot(criterion: &mut Criterion) {
    let names = ["front", "interspace", "scrambler", "break-pad", "regulator"];
    let machines: Vec<_> = names
        .iter()
        .filter_map(|name| maybetun_machines::find(name))
        .flat_map(|defense| defense.client().machines.iter().cloned())
        .collect();
    let mut group = criterion.benchmark_group("maybenot, a packet sent");
    for count in [0, 1, 2, 4] {
        assert!(machines.len() >= count, "the catalogue has enough machines");
        let mut now = Instant::now();
        let plan = Plan::new(&machines[..count]).expect("machines of the catalogue run");
        let mut engine = Engine::new(&plan, [7; 32], now);
        group.bench_function(format!("{count} machines"), |bencher| {
            bencher.iter(|| {
                now += Duration::from_micros(20);
                while let Some(effect) = engine.poll(now) {
                    black_box(effect);
                }
                engine.observe(&Traffic::packets(Direction::Sent, 1, 1_000, now));
                engine.observe(&Traffic::datagram(Kind::Normal, Direction::Sent, 1_452, now).carrying(1, 1_000));
            });
        });
    }
    group.finish();
}

/// What masking costs in a second of 1 Gbit/s down, of full packets: 84,459 of them, an acknowledgement for every sixteen, and all that it
/// does in between. So many milliseconds are so many thousandths of a core.
fn masking(criterion: &mut Criterion) {
    const SECOND: u32 = 84_459;
    let mut group = criterion.benchmark_group("masking, a second of 1 Gbit/s");
    group.sample_size(30);
    for role in [Role::Client, Role::Relay] {
        let mut now = Instant::now();
        let terms = Terms { mode: MaskingMode::Adaptive, ..Terms::default() };
        let mut masking = Masking::new(role, terms, [7; 32], now);
        let (down, up) = match role {
            Role::Client => (Direction::Received, Direction::Sent),
            Role::Relay => (Direction::Sent, Direction::Received),
        };
        group.bench_function(role.to_string(), |bencher| {
            bencher.iter(|| {
                for number in 0..SECOND {
                    now += Duration::from_secs(1) / SECOND;
                    let datagram = |direction| Traffic::datagram(Kind::Normal, direction, 1_452, now);
                    masking.observe(&datagram(down).carrying(1, 1_420));
                    if number % 16 == 0 {
                        masking.observe(&datagram(up).carrying(8, 416));
                    }
                    black_box(masking.poll(now));
                }
            });
        });
    }
    group.finish();
}

fn allowed_ips(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("allowed IPs, a lookup");
    for count in [1u32, 1_000, 100_000] {
        let mut table = AllowedIps::default();
        for i in 0..count {
            let v4 = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + (i << 4)));
            let v6 = IpAddr::from(Ipv6Addr::from_bits((0xfd09 << 112) + (u128::from(i) << 64)));
            table.insert(ipnet::IpNet::new(v4, 28).expect("a prefix"), i);
            table.insert(ipnet::IpNet::new(v6, 64).expect("a prefix"), i);
        }
        let mut i = 0;
        group.bench_function(format!("IPv4, {count} prefixes"), |bencher| {
            bencher.iter(|| {
                i = (i + 7_919) % count;
                table.owner_of(IpAddr::from(Ipv4Addr::from_bits(0x0a00_0001 + (i << 4))))
            });
        });
        group.bench_function(format!("IPv6, {count} prefixes"), |bencher| {
            bencher.iter(|| {
                i = (i + 7_919) % count;
                table.owner_of(IpAddr::from(Ipv6Addr::from_bits((0xfd09 << 112) + (u128::from(i) << 64) + 1)))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, seal_and_open, queue, maybenot, masking, allowed_ips);
criterion_main!(benches);

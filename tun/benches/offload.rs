//! What segmentation offload costs a packet: 45 packets of TCP, cut from one burst and joined to one.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use maybetun_tun::PacketBatch;
use maybetun_tun::for_benchmarks::{burst, cut, join};

const PACKETS: usize = 45;
const PAYLOAD: u16 = 1_368;

fn offload(criterion: &mut Criterion) {
    let whole = burst(PACKETS * usize::from(PAYLOAD), PAYLOAD);
    let mut batch = PacketBatch::new();
    let mut packets = Vec::new();
    cut(&whole, &mut batch, |packet| packets.push(packet.to_vec()));
    batch.clear();
    packets.iter().for_each(|packet| batch.push(packet));
    assert_eq!(join(&mut batch), 1, "what is measured is one burst");

    let mut group = criterion.benchmark_group("offload");
    group.throughput(Throughput::Bytes(whole.len() as u64));
    group.bench_function("cut (GSO), 45 packets", |bencher| {
        bencher.iter(|| {
            cut(&whole, &mut batch, |packet| {
                black_box(packet);
            })
        });
    });
    group.bench_function("join (GRO), 45 packets", |bencher| {
        let fill = || {
            let mut batch = PacketBatch::new();
            packets.iter().for_each(|packet| batch.push(packet));
            batch
        };
        bencher.iter_batched_ref(fill, |batch| black_box(join(batch)), BatchSize::LargeInput);
    });
    group.bench_function("join, nothing fits", |bencher| {
        let fill = || {
            let mut batch = PacketBatch::new();
            packets.iter().rev().for_each(|packet| batch.push(packet));
            batch
        };
        bencher.iter_batched_ref(fill, |batch| black_box(join(batch)), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, offload);
criterion_main!(benches);

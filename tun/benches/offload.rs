//! What segmentation offload costs: 45 packets of TCP, cut from one burst and joined to one; by this crate, and by the
//! helpers of `tun-rs`, which copy each packet into a buffer of its own.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use maybetun_tun::PacketBatch;
use maybetun_tun::for_benchmarks::{burst, cut, join};
use tun_rs::{GROTable, VIRTIO_NET_HDR_LEN, VirtioNetHdr, gso_split};

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
    group.bench_function("cut, by tun-rs", |bencher| {
        let (mut input, mut buffers) = (whole.clone(), vec![vec![0; 1_500]; PACKETS]);
        let mut sizes = [0; PACKETS];
        bencher.iter(|| {
            // Ours begins with a read into its buffer too.
            input.copy_from_slice(&whole);
            let header = VirtioNetHdr::decode(&input).expect("a header");
            let packet = &mut input[VIRTIO_NET_HDR_LEN..];
            let count = gso_split(packet, header, &mut buffers, &mut sizes, 0, false).expect("a burst");
            assert_eq!(black_box(count), PACKETS);
        });
    });
    group.bench_function("join, by tun-rs", |bencher| {
        let fill = || {
            let with_room = |packet: &Vec<u8>| {
                let mut buffer = Vec::with_capacity(1 << 16);
                buffer.resize(VIRTIO_NET_HDR_LEN, 0);
                buffer.extend_from_slice(packet);
                buffer
            };
            packets.iter().map(with_room).collect::<Vec<_>>()
        };
        let mut table = GROTable::new();
        bencher.iter_batched_ref(
            fill,
            |buffers| table.apply_gro(buffers, VIRTIO_NET_HDR_LEN, true).expect("packets"),
            BatchSize::LargeInput,
        );
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

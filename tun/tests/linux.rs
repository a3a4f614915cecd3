//! The TUN device of Linux against a real kernel: needs root and `/dev/net/tun`.
//!
//! Each test runs in a network namespace of its own, which ends with the test's thread: nothing is left behind.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::UdpSocket, process::Command, time::Duration};

use maybetun_lab::namespace::{Kept, apart};
use maybetun_tun::{CreateError, DEFAULT_MTU, LinuxTun, LinuxTunOptions, PacketBatch, Tun, TunEvent};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// How long anything may take before a test says that it never happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `test` in a fresh network namespace, on a thread and a runtime of its own.
fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send + 'static) {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { within(test()).await });
    };
    apart(run).expect("these tests need root");
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it should have happened by now")
}

/// Runs `ip` in the namespace of the calling thread.
fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a device that is up, with 10.7.0.1/24 and no IPv6 (whose router solicitations would come between).
fn device_up(name: &str) -> LinuxTun {
    let tun = LinuxTun::create(name).unwrap();
    ip(&format!("link set {name} addrgenmode none"));
    ip(&format!("address add 10.7.0.1/24 dev {name}"));
    ip(&format!("link set {name} up"));
    tun
}

/// Returns an IPv4 packet with UDP from 10.7.0.2:5000 to 10.7.0.1:`port`. A UDP checksum of 0 means none (RFC 768).
fn udp_packet(port: u16, payload: &[u8]) -> Vec<u8> {
    let udp_length = u16::try_from(8 + payload.len()).unwrap();
    let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 7, 0, 2, 10, 7, 0, 1];
    packet[2..4].copy_from_slice(&(20 + udp_length).to_be_bytes());
    let sum: u32 = packet.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    packet[10..12].copy_from_slice(&(!folded).to_be_bytes());
    packet.extend([5000u16, port, udp_length, 0].iter().flat_map(|field| field.to_be_bytes()));
    packet.extend(payload);
    packet
}

/// The payload of an IPv4 packet with UDP and no IP options.
fn udp_payload(packet: &[u8]) -> &[u8] {
    assert_eq!((packet[0], packet[9]), (0x45, 17), "not UDP over IPv4: {packet:x?}");
    &packet[28..]
}

#[test]
fn a_new_device_is_down_with_the_default_mtu() {
    in_namespace(|| async {
        let tun = LinuxTun::create("tun0").unwrap();
        assert_eq!(tun.name(), "tun0");
        assert_eq!(tun.mtu(), DEFAULT_MTU);
        assert_eq!(tun.index(), nix::net::if_::if_nametoindex("tun0").unwrap());
        assert_eq!(tun.event().await, TunEvent::Mtu(1420));
        assert_eq!(tun.event().await, TunEvent::Down);
    });
}

#[test]
fn changes_of_the_interface_are_reported_and_those_of_others_are_not() {
    in_namespace(|| async {
        let mut options = LinuxTunOptions::default();
        options.mtu = 1280;
        let tun = LinuxTun::create_with("tun0", options).unwrap();
        assert_eq!(tun.event().await, TunEvent::Mtu(1280));
        assert_eq!(tun.event().await, TunEvent::Down);
        ip("link set lo up");
        ip("link set tun0 up");
        assert_eq!(tun.event().await, TunEvent::Up);
        ip("link set tun0 mtu 9000");
        assert_eq!(tun.event().await, TunEvent::Mtu(9000));
        assert_eq!(tun.mtu(), 9000);
        ip("link set tun0 down");
        ip("link set tun0 up");
        assert_eq!(tun.event().await, TunEvent::Down);
        assert_eq!(tun.event().await, TunEvent::Up);
    });
}

#[test]
fn an_event_that_was_not_waited_for_to_the_end_is_not_lost() {
    in_namespace(|| async {
        let tun = LinuxTun::create("tun0").unwrap();
        assert_eq!(tun.event().await, TunEvent::Mtu(1420));
        assert_eq!(tun.event().await, TunEvent::Down);
        for _ in 0..20 {
            ip("link set tun0 up");
            ip("link set tun0 down");
            let mut seen = Vec::new();
            while seen.len() < 2 {
                tokio::select! {
                    biased;
                    event = tun.event() => seen.push(event),
                    () = tokio::task::yield_now() => {}
                }
            }
            assert_eq!(seen, [TunEvent::Up, TunEvent::Down]);
        }
    });
}

#[test]
fn lost_notices_cost_the_flaps_but_not_the_final_state() {
    in_namespace(|| async {
        let tun = LinuxTun::create("tun0").unwrap();
        assert_eq!(tun.event().await, TunEvent::Mtu(1420));
        assert_eq!(tun.event().await, TunEvent::Down);
        // Over 1 KiB of the socket's buffer each: many times what it holds.
        let mut script = String::new();
        for mtu in 0..2000 {
            script.push_str(&format!("link set tun0 mtu {}\n", 1300 + mtu % 2));
        }
        script.push_str("link set tun0 mtu 1333\nlink set tun0 up\n");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("script");
        std::fs::write(&file, script).unwrap();
        ip(&format!("-batch {}", file.display()));

        let mut events = 0;
        while tun.event().await != TunEvent::Up {
            events += 1;
        }
        assert_eq!(tun.mtu(), 1333);
        assert!(events < 2000, "no notice was lost: this test proves nothing");
    });
}

#[test]
fn packets_of_the_kernel_come_out_in_one_batch() {
    in_namespace(|| async {
        let tun = device_up("tun0");
        let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
        for number in 0..50u8 {
            socket.send_to(&[number; 100], "10.7.0.2:9").unwrap();
        }
        let mut batch = PacketBatch::new();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(batch.len(), 50);
        for (number, packet) in batch.iter().enumerate() {
            assert_eq!(udp_payload(packet), [u8::try_from(number).unwrap(); 100]);
        }
    });
}

#[test]
fn more_packets_than_a_batch_takes_come_in_several() {
    in_namespace(|| async {
        let tun = device_up("tun0");
        let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
        for number in 0..300u16 {
            socket.send_to(&number.to_be_bytes(), "10.7.0.2:9").unwrap();
        }
        let (mut batch, mut received) = (PacketBatch::new(), Vec::new());
        while received.len() < 300 {
            tun.recv(&mut batch).await.unwrap();
            assert!(!batch.is_empty());
            received.extend(batch.iter().map(|packet| u16::from_be_bytes(udp_payload(packet).try_into().unwrap())));
            batch.clear();
        }
        assert_eq!(received, (0..300).collect::<Vec<_>>());
    });
}

#[test]
fn a_read_waits_for_the_first_packet() {
    in_namespace(|| async {
        let tun = device_up("tun0");
        let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
        let mut batch = PacketBatch::new();
        let (received, ()) = tokio::join!(tun.recv(&mut batch), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            socket.send_to(b"late", "10.7.0.2:9").unwrap();
        });
        received.unwrap();
        assert_eq!(batch.iter().map(udp_payload).collect::<Vec<_>>(), [b"late"]);
    });
}

#[test]
fn packets_written_reach_a_socket_and_a_refused_one_costs_only_itself() {
    in_namespace(|| async {
        let tun = device_up("tun0");
        let socket = UdpSocket::bind("10.7.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut batch = PacketBatch::new();
        batch.push(&udp_packet(port, b"one"));
        batch.push(b"\xff is not IP: EINVAL");
        batch.push(&udp_packet(port, b"two"));
        tun.send(&mut batch).await.unwrap();
        assert!(batch.is_empty());
        let mut buffer = [0; 64];
        for expected in [b"one", b"two"] {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], expected);
            assert_eq!(from.to_string(), "10.7.0.2:5000");
        }
    });
}

#[test]
fn a_device_that_is_down_drops_what_is_written_and_reads_again_once_it_is_up() {
    in_namespace(|| async {
        // Never up yet, and down again: the kernel signals the two differently.
        let tun = LinuxTun::create("tun0").unwrap();
        let mut batch = PacketBatch::new();
        batch.push(&udp_packet(9, b"lost"));
        tun.send(&mut batch).await.unwrap();
        ip("link set tun0 addrgenmode none");
        ip("link set tun0 up");
        ip("link set tun0 down");
        batch.push(&udp_packet(9, b"lost"));
        tun.send(&mut batch).await.unwrap();
        assert!(batch.is_empty());

        let (received, ()) = tokio::join!(tun.recv(&mut batch), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            ip("address add 10.7.0.1/24 dev tun0");
            ip("link set tun0 up");
            UdpSocket::bind("10.7.0.1:0").unwrap().send_to(b"back", "10.7.0.2:9").unwrap();
        });
        received.unwrap();
        assert_eq!(batch.iter().map(udp_payload).collect::<Vec<_>>(), [b"back"]);
    });
}

#[test]
fn a_deleted_interface_fails_reads_and_writes_and_is_reported_gone_once() {
    in_namespace(|| async {
        let tun = device_up("tun0");
        assert_eq!(tun.event().await, TunEvent::Mtu(1420));
        while tun.event().await != TunEvent::Up {}
        let mut batch = PacketBatch::new();
        let (received, ()) = tokio::join!(tun.recv(&mut batch), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            ip("link delete tun0");
        });
        received.unwrap_err();
        batch.push(&udp_packet(9, b"lost"));
        tun.send(&mut batch).await.unwrap_err();
        // The kernel takes an interface down before it deletes it.
        assert_eq!(tun.event().await, TunEvent::Down);
        assert_eq!(tun.event().await, TunEvent::Gone);
        tokio::time::timeout(Duration::from_millis(50), tun.event()).await.unwrap_err();
    });
}

#[test]
fn an_interface_moved_to_another_namespace_is_not_gone() {
    in_namespace(|| async {
        let tun = device_up("tun0");
        assert_eq!(tun.event().await, TunEvent::Mtu(1420));
        while tun.event().await != TunEvent::Up {}
        let there = Kept::new().unwrap();
        ip(&format!("link set tun0 netns {}", there.id()));
        assert_eq!(tun.event().await, TunEvent::Down);
        assert_eq!(tun.event().await, TunEvent::Up);
        tokio::time::timeout(Duration::from_millis(50), tun.event()).await.unwrap_err();
    });
}

#[test]
fn a_name_in_use_is_refused_with_that_reason() {
    in_namespace(|| async {
        let first = LinuxTun::create("tun0").unwrap();
        let error = LinuxTun::create("tun0").unwrap_err();
        assert!(matches!(error, CreateError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains("`tun0`"));
        let error = LinuxTun::create("lo").unwrap_err();
        assert!(matches!(error, CreateError::InUse { .. }), "{error:?}");
        drop(first);
        LinuxTun::create("tun0").unwrap();
    });
}

#[test]
fn without_permission_the_error_names_the_capability() {
    in_namespace(|| async {
        // Capabilities belong to the thread, and this one ends with the test.
        let mut sets = capabilities(None).unwrap();
        sets.effective.remove(CapabilitySet::NET_ADMIN);
        set_capabilities(None, sets).unwrap();
        let error = LinuxTun::create("tun0").unwrap_err();
        assert!(matches!(error, CreateError::NoPermission { .. }), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"));
    });
}

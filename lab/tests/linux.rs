//! Namespaces, wires and captures against a real kernel: needs root.
//!
//! Each test runs in a network namespace of its own, which ends with the test's thread: nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use maybetun_lab::capture::{Capture, CaptureError};
use maybetun_lab::datagram::Datagram;
use maybetun_lab::namespace::{self, Kept, NamespaceError, apart};
use maybetun_lab::network::{Address, Network, NetworkError};

const LEFT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const RIGHT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

/// How long anything may take before a test says that it never happens.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `work` where netlink can be had, in the current thread's network.
fn by_netlink<T>(work: impl AsyncFnOnce(Network) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(Network::open().unwrap()).await })
}

/// Runs `work` on a thread in the other network.
fn inside<T: Send>(other: &Kept, work: impl FnOnce() -> T + Send) -> T {
    let path = PathBuf::from(format!("/proc/{}/ns/net", other.id()));
    let result = thread::scope(|scope| {
        scope
            .spawn(move || {
                namespace::enter(&path).unwrap();
                work()
            })
            .join()
    });
    result.unwrap_or_else(|payload| std::panic::resume_unwind(payload))
}

/// Joins the current thread's network, at the left, to another.
fn wire() -> Kept {
    let other = Kept::new().unwrap();
    by_netlink(async |network| {
        network.add_wire("wire0", "wire1", other.id().as_raw().try_into().unwrap()).await.unwrap();
        network.add_address("wire0", Address::new(LEFT, 24)).await.unwrap();
        network.up("wire0").await.unwrap();
    });
    inside(&other, || {
        by_netlink(async |network| {
            network.add_address("wire1", Address::new(RIGHT, 24)).await.unwrap();
            network.up("wire1").await.unwrap();
        });
    });
    other
}

/// Waits until a capture has taken so many frames.
fn until_taken(capture: &Capture, frames: usize) {
    let start = Instant::now();
    while capture.taken() < frames {
        assert!(start.elapsed() < PATIENCE, "only {} frames of {frames}", capture.taken());
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_capture_takes_both_directions_in_order_and_as_many_bytes_as_it_is_told() {
    apart(|| {
        let other = wire();
        let far = inside(&other, || UdpSocket::bind((RIGHT, 5000)).unwrap());
        let near = UdpSocket::bind((LEFT, 6000)).unwrap();
        let is_datagram = |frame: &maybetun_lab::capture::Frame| Datagram::parse(frame.at, frame.packet()).is_some();
        let capture = Capture::start("wire0", 60, is_datagram).unwrap();
        far.set_read_timeout(Some(PATIENCE)).unwrap();
        near.send_to(&[4; 100], (RIGHT, 5000)).unwrap();
        far.recv_from(&mut [0; 200]).unwrap();
        far.send_to(&[4; 700], (LEFT, 6000)).unwrap();
        until_taken(&capture, 2);
        let captured = capture.finish().unwrap();
        let frames = captured.frames;
        assert_eq!(frames.iter().map(|frame| frame.is_outgoing).collect::<Vec<_>>(), [true, false]);
        assert_eq!(frames.iter().map(|frame| frame.bytes.len()).collect::<Vec<_>>(), [60, 60]);
        assert!(frames[0].at >= captured.since && frames[1].at >= frames[0].at);
        let lengths: Vec<_> =
            frames.iter().map(|frame| Datagram::parse(frame.at, frame.packet()).unwrap().0.length).collect();
        assert_eq!(lengths, [100, 700]);
        assert_eq!(captured.missed, 0);
    })
    .unwrap();
}

#[test]
fn a_capture_ends_with_all_that_has_passed_while_more_passes() {
    apart(|| {
        let _other = wire();
        let near = UdpSocket::bind((LEFT, 6000)).unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            let capture = Capture::start("wire0", 128, |_| true).unwrap();
            let near = &near;
            // Without a pause, in which the capture could end.
            let start = Instant::now();
            let is_over = &is_over;
            let sending = scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) && start.elapsed() < PATIENCE {
                    near.send_to(b"on and on", (RIGHT, 9)).ok();
                }
            });
            until_taken(&capture, 100);
            let taken = capture.taken();
            let captured = capture.finish().unwrap();
            is_over.store(true, Ordering::Relaxed);
            sending.join().unwrap();
            assert!(start.elapsed() < PATIENCE, "the traffic kept it");
            assert!(captured.frames.len() >= taken);
        });
    })
    .unwrap();
}

#[test]
fn what_is_not_there_is_named() {
    apart(|| {
        let error = Capture::start("wire7", 128, |_| true).unwrap_err();
        assert!(matches!(error, CaptureError::NoInterface { .. }) && error.to_string().contains("wire7"), "{error}");
        let error = by_netlink(async |network| network.up("wire7").await.unwrap_err());
        assert!(matches!(error, NetworkError::NoInterface { .. }) && error.to_string().contains("wire7"), "{error}");
        let error = namespace::enter(std::path::Path::new("/run/netns/nobody")).unwrap_err();
        assert!(matches!(error, NamespaceError::Enter { .. }) && error.to_string().contains("nobody"), "{error}");
    })
    .unwrap();
}

#[test]
fn a_network_kept_by_a_thread_is_another_and_ends_with_it() {
    let here = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let kept = Kept::new().unwrap();
    let there = inside(&kept, || std::fs::read_link("/proc/thread-self/ns/net").unwrap());
    assert_ne!(here, there);
    let path = PathBuf::from(format!("/proc/{}/ns/net", kept.id()));
    drop(kept);
    let start = Instant::now();
    while path.exists() {
        assert!(start.elapsed() < PATIENCE, "the network is still there");
        thread::sleep(Duration::from_millis(5));
    }
}

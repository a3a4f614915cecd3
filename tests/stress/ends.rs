//! The two devices, what they run on, and the traffic between them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use maybetun::device::{DeviceEvent, Options};
use maybetun::settings::{DefenseChange, Update};
use maybetun_lab::devices::Side;
use maybetun_tun::TunEvent;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// Addresses inside the tunnel.
pub(crate) const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)];

/// The pause between two packets one way.
const PAUSE: Duration = Duration::from_millis(1);

/// What tells packets that were sent while settings changed from those after that.
const CHANGING: u8 = 0;
const SETTLED: u8 = 1;

/// Both.
#[derive(Debug)]
pub(crate) struct Ends(pub(crate) [Side; 2]);

/// Packets on their way, each way.
#[derive(Debug)]
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    passed: [Arc<AtomicU64>; 2],
    tasks: Vec<JoinHandle<()>>,
}

impl Ends {
    /// Starts both, with keys and without peers.
    pub(crate) async fn start() -> Self {
        let start = async |end: usize| Side::start(ADDRESSES[end], Options::default()).await.unwrap();
        Self([start(0).await, start(1).await])
    }

    /// Sends packets both ways until the traffic is ended. Those that find no way are lost.
    pub(crate) fn traffic(&self, runtime: &Runtime) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let passed: [Arc<AtomicU64>; 2] = [Arc::default(), Arc::default()];
        let mut tasks = Vec::new();
        for (end, passed) in self.0.iter().zip(&passed) {
            let (host, passed) = (Arc::clone(&end.host), Arc::clone(passed));
            let stopped = Arc::clone(&stop);
            tasks.push(runtime.spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    if tokio::time::timeout(PAUSE, host.recv_packet()).await.is_ok_and(|packet| packet.is_some()) {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }));
        }
        for (from, to) in [(0, 1), (1, 0)] {
            let (host, stopped) = (Arc::clone(&self.0[from].host), Arc::clone(&stop));
            tasks.push(runtime.spawn(async move {
                while !stopped.load(Ordering::Relaxed) {
                    // While the device is down, nobody reads them.
                    let _ = tokio::time::timeout(PAUSE, host.send_packet(packet(from, to, CHANGING))).await;
                    tokio::time::sleep(PAUSE).await;
                }
            }));
        }
        Traffic { stop, passed, tasks }
    }

    /// Gives both the settings of an ordinary tunnel, whatever they had.
    pub(crate) async fn settle(&self) {
        for end in &self.0 {
            end.host.set(TunEvent::Up).await;
            let update = Update {
                private_key: Some(Some(end.key.clone())),
                listen_port: Some(0),
                fwmark: Some(0),
                replace_peers: true,
                ..Update::default()
            };
            end.device.apply(update).unwrap();
        }
        for (own, other) in [(0, 1), (1, 0)] {
            self.0[own].add(&self.0[other], Some(DefenseChange::Off)).await.unwrap();
        }
    }

    /// Sends packets each way until one has arrived at each end: none of those that were on their way before.
    pub(crate) async fn exchange(&self) {
        let [a, b] = &self.0;
        for (from, to, packet) in [(a, b, packet(0, 1, SETTLED)), (b, a, packet(1, 0, SETTLED))] {
            loop {
                let _ = tokio::time::timeout(PAUSE, from.host.send_packet(packet.clone())).await;
                let wait = tokio::time::timeout(Duration::from_millis(50), to.host.recv_packet());
                if let Ok(received) = wait.await
                    && received.expect("the device is not gone") == packet
                {
                    break;
                }
            }
        }
    }

    /// Listens to what both tell.
    pub(crate) fn events(&self) -> [broadcast::Receiver<DeviceEvent>; 2] {
        self.0.each_ref().map(|end| end.device.events())
    }

    /// Stops both at once.
    pub(crate) async fn stop(&self) {
        let [a, b] = &self.0;
        tokio::join!(a.device.stop(), b.device.stop());
    }
}

impl Traffic {
    /// Ends it, and returns how many packets arrived at each end.
    pub(crate) async fn end(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.passed.map(|passed| passed.load(Ordering::Relaxed))
    }
}

/// A packet from one end's address to the other's (protocol 59: nothing follows), with `mark` in each byte behind its header.
fn packet(from: usize, to: usize, mark: u8) -> Vec<u8> {
    const LENGTH: u8 = 200;
    let mut packet = vec![0x45, 0, 0, LENGTH, 0, 0, 0, 0, 64, 59, 0, 0];
    packet.extend(ADDRESSES[from].octets());
    packet.extend(ADDRESSES[to].octets());
    packet.resize(LENGTH.into(), mark);
    packet
}

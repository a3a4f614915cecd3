//! An in-memory pair: a TUN device and the operating system on its other side.
//!
//! For tests, and for embedders that bring their own IP stack.
//!
//! ```
//! use maybetun_tun::{PacketBatch, Tun, TunEvent, memory};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let (tun, host) = memory::pair(16, 1420);
//! assert_eq!(tun.event().await, TunEvent::Mtu(1420));
//! assert_eq!(tun.event().await, TunEvent::Up);
//!
//! host.send_packet(vec![0x45; 20]).await?;
//! let mut batch = PacketBatch::new();
//! tun.recv(&mut batch).await?;
//! tun.send(&mut batch).await?;
//! assert_eq!(host.recv_packet().await, Some(vec![0x45; 20]));
//! # Ok(())
//! # }
//! ```

use std::io;

use tokio::sync::{Mutex, mpsc};

use crate::{MAX_PACKET, PacketBatch, Tun, TunEvent};

/// Most events that wait for the tunnel.
const MAX_EVENTS: usize = 16;

/// Makes a device with an MTU of `mtu` bytes, and its other side. In each direction at most `capacity_packets` packets
/// wait; a sender then waits too. The device is up.
///
/// # Panics
/// Panics if `capacity_packets` is 0.
pub fn pair(capacity_packets: usize, mtu: u16) -> (MemoryTun, MemoryHost) {
    let (to_tun, from_host) = mpsc::channel(capacity_packets);
    let (to_host, from_tun) = mpsc::channel(capacity_packets);
    let (events, event_queue) = mpsc::channel(MAX_EVENTS);
    let tun = MemoryTun {
        packets: Mutex::new(Packets { first: None, queue: from_host }),
        host: to_host,
        events: Mutex::new(Events { first: vec![TunEvent::Up, TunEvent::Mtu(mtu)], queue: event_queue, gone: false }),
    };
    let host = MemoryHost { tun: to_tun, packets: Mutex::new(from_tun), events };
    (tun, host)
}

/// The device: what the tunnel holds. It has no name.
///
/// Once the [`MemoryHost`] is dropped and its packets are read, it is gone, as a deleted interface is.
#[derive(Debug)]
pub struct MemoryTun {
    packets: Mutex<Packets>,
    host: mpsc::Sender<Vec<u8>>,
    events: Mutex<Events>,
}

#[derive(Debug)]
struct Packets {
    /// One that was waited for and not taken yet.
    first: Option<Vec<u8>>,
    queue: mpsc::Receiver<Vec<u8>>,
}

#[derive(Debug)]
struct Events {
    /// The state at the start, last event first.
    first: Vec<TunEvent>,
    queue: mpsc::Receiver<TunEvent>,
    /// [`TunEvent::Gone`] was reported.
    gone: bool,
}

impl Tun for MemoryTun {
    async fn readable(&self) -> io::Result<()> {
        let mut packets = self.packets.lock().await;
        if packets.first.is_none() {
            packets.first = Some(packets.queue.recv().await.ok_or_else(gone)?);
        }
        Ok(())
    }

    fn try_recv(&self, batch: &mut PacketBatch) -> io::Result<bool> {
        // Who holds it waits for the first packet: there is none.
        let Ok(mut packets) = self.packets.try_lock() else { return Ok(false) };
        let before = batch.len();
        while !batch.is_full() {
            let Some(packet) = packets.first.take().or_else(|| packets.queue.try_recv().ok()) else { break };
            batch.push(&packet);
        }
        Ok(batch.len() > before)
    }

    async fn send(&self, batch: &mut PacketBatch) -> io::Result<()> {
        for packet in batch.iter() {
            self.host.send(packet.to_vec()).await.map_err(|_| gone())?;
        }
        batch.clear();
        Ok(())
    }

    async fn event(&self) -> TunEvent {
        let mut events = self.events.lock().await;
        if let Some(event) = events.first.pop() {
            return event;
        }
        if events.gone {
            return std::future::pending().await;
        }
        let event = events.queue.recv().await.unwrap_or(TunEvent::Gone);
        events.gone = event == TunEvent::Gone;
        event
    }

    fn name(&self) -> &str {
        ""
    }
}

/// The operating system's side of a [`MemoryTun`].
#[derive(Debug)]
pub struct MemoryHost {
    tun: mpsc::Sender<Vec<u8>>,
    packets: Mutex<mpsc::Receiver<Vec<u8>>>,
    events: mpsc::Sender<TunEvent>,
}

impl MemoryHost {
    /// Sends an IP packet into the tunnel; waits while the queue is full.
    ///
    /// # Errors
    /// `InvalidInput` if the packet is empty or over [`MAX_PACKET`] bytes, `BrokenPipe` if the device was dropped.
    pub async fn send_packet(&self, packet: Vec<u8>) -> io::Result<()> {
        if packet.is_empty() || packet.len() > MAX_PACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an IP packet has 1 to 65535 bytes"));
        }
        self.tun.send(packet).await.map_err(|_| gone())
    }

    /// Waits for an IP packet out of the tunnel; `None` if the device was dropped and its packets are read. Cancel safe.
    pub async fn recv_packet(&self) -> Option<Vec<u8>> {
        self.packets.lock().await.recv().await
    }

    /// Tells the tunnel of a change of the device; waits while 16 others are unread. Every event is delivered, in order.
    /// It is only told: a device that is really gone also fails its reads, so drop the host for that.
    pub async fn set(&self, event: TunEvent) {
        // A device that was dropped needs no news.
        let _ = self.events.send(event).await;
    }
}

/// The error of either side once the other is dropped.
fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the other side of the in-memory device was dropped")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn packets_that_wait_come_in_one_batch_in_order() {
        let (tun, host) = pair(8, 1420);
        for byte in 1..=3 {
            host.send_packet(vec![byte; 20]).await.unwrap();
        }
        let mut batch = PacketBatch::new();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&[1; 20], &[2; 20], &[3; 20]]);
        tun.send(&mut batch).await.unwrap();
        assert!(batch.is_empty());
        for byte in 1..=3 {
            assert_eq!(host.recv_packet().await, Some(vec![byte; 20]));
        }
    }

    #[tokio::test]
    async fn a_sender_waits_while_the_queue_is_full() {
        let (tun, host) = pair(1, 1420);
        host.send_packet(vec![1]).await.unwrap();
        tokio::select! {
            biased;
            _ = host.send_packet(vec![2]) => panic!("there was no room"),
            () = tokio::task::yield_now() => {}
        }
        let mut batch = PacketBatch::new();
        tun.recv(&mut batch).await.unwrap();
        host.send_packet(vec![3]).await.unwrap();
        batch.clear();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(batch.iter().collect::<Vec<_>>(), [[3]]);
    }

    #[tokio::test]
    async fn a_packet_that_no_batch_could_take_is_refused() {
        let (tun, host) = pair(8, 1420);
        for length in [0, MAX_PACKET + 1] {
            let error = host.send_packet(vec![0; length]).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        }
        host.send_packet(vec![0; MAX_PACKET]).await.unwrap();
        let mut batch = PacketBatch::new();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(batch.len(), 1);
    }

    #[tokio::test]
    async fn the_state_comes_first_and_then_every_event_that_is_set() {
        let (tun, host) = pair(8, 1420);
        let events = [TunEvent::Down, TunEvent::Up, TunEvent::Mtu(1280), TunEvent::Gone];
        for event in events {
            host.set(event).await;
        }
        assert_eq!(tun.event().await, TunEvent::Mtu(1420));
        assert_eq!(tun.event().await, TunEvent::Up);
        for event in events {
            assert_eq!(tun.event().await, event);
        }
    }

    #[tokio::test]
    async fn without_a_host_the_device_is_gone_once_its_packets_are_read() {
        let (tun, host) = pair(8, 1420);
        host.send_packet(vec![1]).await.unwrap();
        drop(host);
        let mut batch = PacketBatch::new();
        tun.recv(&mut batch).await.unwrap();
        assert_eq!(tun.recv(&mut batch).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(tun.send(&mut batch).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(tun.event().await, TunEvent::Mtu(1420));
        assert_eq!(tun.event().await, TunEvent::Up);
        assert_eq!(tun.event().await, TunEvent::Gone);
        tokio::select! {
            biased;
            event = tun.event() => panic!("{event:?} after the end"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test]
    async fn without_a_device_the_host_ends() {
        let (tun, host) = pair(8, 1420);
        drop(tun);
        assert_eq!(host.recv_packet().await, None);
        assert_eq!(host.send_packet(vec![1]).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

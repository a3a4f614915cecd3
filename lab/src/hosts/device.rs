//! The seam to smoltcp: packets that have arrived, and those that leave.

use std::collections::VecDeque;

use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;

/// Most buffers that are kept to be used again.
const MAX_SPARE: usize = 64;

/// Packets on their way into the stack and out of it. Who fills it empties it at once, so neither queue grows.
#[derive(Debug)]
pub(super) struct Packets {
    mtu: usize,
    arrived: VecDeque<Vec<u8>>,
    /// What the stack looks at.
    current: Vec<u8>,
    leaving: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

impl Packets {
    pub(super) fn new(mtu: usize) -> Self {
        Self { mtu, arrived: VecDeque::new(), current: Vec::new(), leaving: Vec::new(), spare: Vec::new() }
    }

    /// Takes an IP packet that arrived.
    pub(super) fn arrive(&mut self, packet: Vec<u8>) {
        self.arrived.push_back(packet);
    }

    /// Takes out the IP packets that leave, in order.
    pub(super) fn leave(&mut self) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.leaving.drain(..)
    }

    /// Fills up the buffers to make packets in, from where there may be used ones.
    pub(super) fn refill(&mut self, mut buffer: impl FnMut() -> Vec<u8>) {
        while self.spare.len() < MAX_SPARE {
            self.spare.push(buffer());
        }
    }
}

impl Device for Packets {
    type RxToken<'a> = Arrived<'a>;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Leaving<'_>)> {
        let packet = self.arrived.pop_front()?;
        let before = std::mem::replace(&mut self.current, packet);
        if self.spare.len() < MAX_SPARE {
            self.spare.push(before);
        }
        Some((Arrived(&self.current), Leaving { leaving: &mut self.leaving, spare: &mut self.spare }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        Some(Leaving { leaving: &mut self.leaving, spare: &mut self.spare })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // Links do not change bytes, and tunnels authenticate them.
        let checksums = &mut capabilities.checksum;
        [checksums.ipv4, checksums.udp] = [Checksum::Tx; 2];
        // Segments get theirs when they leave the host: `linux` writes them anew.
        checksums.tcp = Checksum::None;
        capabilities
    }
}

pub(super) struct Arrived<'a>(&'a [u8]);

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

pub(super) struct Leaving<'a> {
    leaving: &'a mut Vec<Vec<u8>>,
    spare: &'a mut Vec<Vec<u8>>,
}

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut packet = self.spare.pop().unwrap_or_default();
        packet.clear();
        packet.resize(length, 0);
        let result = write(&mut packet);
        self.leaving.push(packet);
        result
    }
}

//! Two tunnels whose owner carries the datagrams.

use std::collections::VecDeque;
use std::time::Instant;

use maybetun::keys::{PresharedKey, PrivateKey};
use maybetun::tunnel::{DatagramBatch, Tunnel, TunnelConfig};

use super::{address, inner_address, packet};

/// Two tunnels that know each other, and no network: what one sends is returned, and given to the other or not. 0 is the client.
///
/// ```
/// use maybetun_lab::tunnels::{Pair, packet};
///
/// let mut pair = Pair::connected();
/// let datagrams = pair.send(0, &packet(0, 7, 100));
/// assert_eq!(pair.receive(1, &datagrams[0]), (Some(packet(0, 7, 100)), vec![]));
/// ```
#[derive(Debug)]
pub struct Pair {
    /// Their private keys.
    pub keys: [PrivateKey; 2],
    /// The tunnels.
    pub tunnels: [Tunnel; 2],
    /// The instant that the tunnels are told; it passes only when it is set.
    pub now: Instant,
}

impl Default for Pair {
    fn default() -> Self {
        Self::new()
    }
}

impl Pair {
    /// Returns two tunnels without a session.
    pub fn new() -> Self {
        Self::with_preshared_keys([None, None])
    }

    /// Returns two tunnels without a session, each with the preshared key given.
    pub fn with_preshared_keys(preshared_keys: [Option<PresharedKey>; 2]) -> Self {
        let keys = [PrivateKey::generate_from_os(), PrivateKey::generate_from_os()];
        let tunnels = [0, 1].map(|own: usize| {
            let preshared_key = preshared_keys[own].as_ref();
            let config = TunnelConfig::new(&keys[own], keys[1 - own].public_key(), [own as u8 + 1; 32]);
            let mut tunnel = Tunnel::new(TunnelConfig { preshared_key, ..config });
            tunnel.set_endpoint(Some(address(1 - own)));
            tunnel
        });
        Self { keys, tunnels, now: Instant::now() }
    }

    /// Returns two tunnels with a session, in which a packet has come from the client.
    ///
    /// # Panics
    /// Panics if the handshake fails.
    pub fn connected() -> Self {
        let mut pair = Self::new();
        let first = packet(0, 0, 0);
        let datagrams = pair.send(0, &first);
        assert_eq!(pair.exchange(0, datagrams), [(1, first)], "no packet came out");
        pair
    }

    /// Has a tunnel send a packet, and returns the datagrams that leave.
    pub fn send(&mut self, end: usize, packet: &[u8]) -> Vec<Vec<u8>> {
        // Room to be padded to 16 bytes, with what must not leave in it.
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 15, 0xaa);
        self.act(end, |tunnel, now, out| tunnel.send(&mut buffer, packet.len(), now, out)).1
    }

    /// Delivers a datagram to a tunnel, from the other's address. Returns what came out, and the datagrams that leave.
    pub fn receive(&mut self, end: usize, datagram: &[u8]) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
        let allowed = inner_address(1 - end);
        let mut packet = vec![0; datagram.len().max(1)];
        let (length, answers) = self.act(end, |tunnel, now, out| {
            tunnel.receive(datagram, address(1 - end), now, |source| source == allowed, &mut packet, out)
        });
        packet.truncate(length.unwrap_or(0));
        (length.map(|_| packet), answers)
    }

    /// Has something happen to a tunnel, and returns its result and the datagrams that leave.
    pub fn act<R>(
        &mut self,
        end: usize,
        act: impl FnOnce(&mut Tunnel, Instant, &mut DatagramBatch) -> R,
    ) -> (R, Vec<Vec<u8>>) {
        let mut out = DatagramBatch::new();
        let result = act(&mut self.tunnels[end], self.now, &mut out);
        (result, out.iter().map(<[u8]>::to_vec).collect())
    }

    /// Carries datagrams of one end's, and all answers, until nothing is under way. Returns what came out at which end.
    pub fn exchange(&mut self, from: usize, datagrams: Vec<Vec<u8>>) -> Vec<(usize, Vec<u8>)> {
        let mut wire: VecDeque<_> = datagrams.into_iter().map(|datagram| (1 - from, datagram)).collect();
        let mut delivered = Vec::new();
        while let Some((to, datagram)) = wire.pop_front() {
            let (packet, answers) = self.receive(to, &datagram);
            delivered.extend(packet.map(|packet| (to, packet)));
            wire.extend(answers.into_iter().map(|answer| (1 - to, answer)));
        }
        delivered
    }
}

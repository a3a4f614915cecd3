//! Two tunnels whose test carries the datagrams. The lab has the same for everything outside this crate: its tunnels are of the
//! crate as others see it, which here would be another.

use std::collections::VecDeque;

use super::*;

/// Two tunnels that know each other, and what they put on the wire and on their TUN devices.
pub(super) struct Pair {
    pub(super) tunnels: [Tunnel; 2],
    pub(super) now: Instant,
}

impl Pair {
    pub(super) fn new() -> Self {
        Self::with_preshared_keys([None, None])
    }

    pub(super) fn with_preshared_keys(preshared_keys: [Option<PresharedKey>; 2]) -> Self {
        let keys = [PrivateKey::generate_from_os(), PrivateKey::generate_from_os()];
        let tunnel = |own: usize| {
            let config = TunnelConfig {
                preshared_key: preshared_keys[own].as_ref(),
                ..TunnelConfig::new(&keys[own], keys[1 - own].public_key(), [own as u8; 32])
            };
            let mut tunnel = Tunnel::new(config);
            tunnel.set_endpoint(Some(address(1 - own)));
            tunnel
        };
        Self { tunnels: [tunnel(0), tunnel(1)], now: Instant::now() }
    }

    pub(super) fn connected() -> Self {
        let mut pair = Self::new();
        let datagrams = pair.send(0, &ipv4(A, B, b"first"));
        assert_eq!(pair.exchange(0, datagrams), [(1, ipv4(A, B, b"first"))]);
        pair
    }

    pub(super) fn send(&mut self, side: usize, packet: &[u8]) -> Vec<Vec<u8>> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + 15, 0xaa);
        let mut out = DatagramBatch::new();
        self.tunnels[side].send(&mut buffer, packet.len(), self.now, &mut out);
        out.iter().map(<[u8]>::to_vec).collect()
    }

    /// Delivers one datagram to `side`; returns what it gave to its TUN and what it sent.
    pub(super) fn receive(&mut self, side: usize, datagram: &[u8]) -> (Option<Vec<u8>>, Vec<Vec<u8>>) {
        let mut out = DatagramBatch::new();
        let mut packet = vec![0; datagram.len().max(1)];
        let allowed = IpAddr::from([A, B][1 - side]);
        let from = address(1 - side);
        let length =
            self.tunnels[side].receive(datagram, from, self.now, |source| source == allowed, &mut packet, &mut out);
        (length.map(|length| packet[..length].to_vec()), out.iter().map(<[u8]>::to_vec).collect())
    }

    /// Carries datagrams that `from` sent, and all answers, until the wire is quiet. Returns what came out at which side.
    pub(super) fn exchange(&mut self, from: usize, datagrams: Vec<Vec<u8>>) -> Vec<(usize, Vec<u8>)> {
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

pub(super) fn address(side: usize) -> Endpoint {
    Endpoint::from(SocketAddr::from(([192, 0, 2, side as u8 + 1], 51_820)))
}

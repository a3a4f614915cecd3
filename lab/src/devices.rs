//! Devices in one process, in real time: each on an in-memory TUN device, with real sockets on loopback.
//!
//! ```
//! use maybetun::device::Options;
//! use maybetun_lab::devices::Side;
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let client = Side::start([10, 0, 0, 1].into(), Options::default()).await.unwrap();
//! let relay = Side::start([10, 0, 0, 2].into(), Options::default()).await.unwrap();
//! client.add(&relay, None).await.unwrap();
//! relay.add(&client, None).await.unwrap();
//! client.host.send_packet(client.packet_to(&relay, 100)).await.unwrap();
//! assert_eq!(relay.host.recv_packet().await, Some(client.packet_to(&relay, 100)));
//! # });
//! ```

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use maybetun::device::{ApplyError, Device, Options};
use maybetun::keys::PrivateKey;
use maybetun::settings::{AllowedIpChange, DefenseChange, PeerUpdate, Update};
use maybetun_tun::memory::{self, MemoryHost};

use crate::tunnels::inner_packet;

/// Packets that wait in each direction of the TUN device.
const CAPACITY: usize = 64;

/// MTU of the TUN device, in bytes.
const MTU: u16 = 1_420;

/// How often it is looked whether the sockets are open.
const LOOK: Duration = Duration::from_millis(1);

/// A device, and the host that it is the tunnel of.
#[derive(Debug, Clone)]
pub struct Side {
    /// The device.
    pub device: Device,
    /// The host's side of the TUN device: what it sends goes through the tunnel.
    pub host: Arc<MemoryHost>,
    /// The key that the device was given.
    pub key: PrivateKey,
    /// The host's address.
    pub address: Ipv4Addr,
}

impl Side {
    /// Starts a device that has a key and no peer, and waits until its sockets are open.
    ///
    /// # Errors
    /// As for [`Device::apply`].
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub async fn start(address: Ipv4Addr, options: Options) -> Result<Self, ApplyError> {
        let (tun, host) = memory::pair(CAPACITY, MTU);
        let side = Self {
            device: Device::start(tun, options),
            host: Arc::new(host),
            key: PrivateKey::generate_from_os(),
            address,
        };
        side.device.apply(Update { private_key: Some(Some(side.key.clone())), ..Update::default() })?;
        side.listening().await;
        Ok(side)
    }

    /// Waits until the device has opened its sockets, and returns where it listens.
    pub async fn listening(&self) -> SocketAddr {
        loop {
            match self.device.status().listen_port {
                0 => tokio::time::sleep(LOOK).await,
                port => return SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            }
        }
    }

    /// Makes another its peer, with the other host's address and a defense, if one is given.
    ///
    /// # Errors
    /// As for [`Device::apply`].
    pub async fn add(&self, peer: &Self, defense: Option<DefenseChange>) -> Result<(), ApplyError> {
        let update = PeerUpdate {
            endpoint: Some(peer.listening().await),
            allowed_ips: vec![AllowedIpChange::Add(IpAddr::from(peer.address).into())],
            defense,
            ..PeerUpdate::new(peer.key.public_key())
        };
        self.device.apply(Update { peers: vec![update], ..Update::default() })
    }

    /// Returns an IPv4 packet from this host to another's, of `length` bytes with its header and zeros behind it.
    ///
    /// # Panics
    /// Panics if `length` is under 20 or over 65,535.
    pub fn packet_to(&self, peer: &Self, length: usize) -> Vec<u8> {
        inner_packet(self.address.into(), peer.address.into(), length).payload
    }
}

//! How endpoints are set: as browsers and servers are, and drawing from a seed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn_proto::congestion::CubicConfig;
use quinn_proto::{
    ClientConfig, ConnectionId, ConnectionIdGenerator, EndpointConfig, MtuDiscoveryConfig, ServerConfig,
    TransportConfig, VarInt,
};
use rand_core::{RngCore as _, SeedableRng as _};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::keys::{NoTokens, Reset};
use super::session::Handshakes;

/// The bytes of a datagram that are sent before more are known to pass: what every path takes (RFC 9000, section 14).
pub(super) const LEAST: u16 = 1_200;

/// The most, which are looked for: what fits an MTU of 1,420 with IPv4's header and UDP's.
const MOST: u16 = 1_420 - 28;

/// Bytes of a connection id.
const ID: usize = 8;

/// The windows of a receiver, as Chromium has them (`net/quic/quic_context.cc`).
const STREAM_WINDOW: u32 = 6 << 20;
const CONNECTION_WINDOW: u32 = 15 << 20;

/// The requests of a connection that are answered at once: RFC 9114, section 6.1, has no fewer.
const STREAMS: u32 = 100;

/// Returns how datagrams are, of which the host sends so many bytes at most, and a source of seeds.
pub(super) fn endpoint(seed: u64, largest: usize) -> EndpointConfig {
    let mut draws = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut config = EndpointConfig::new(Arc::new(Reset(draws.next_u64())));
    let ids = draws.next_u64();
    let mut endpoint = [0; 32];
    draws.fill_bytes(&mut endpoint);
    config.cid_generator(move || Box::new(Ids(Xoshiro256PlusPlus::seed_from_u64(ids)))).rng_seed(Some(endpoint));
    let is_taken = config.max_udp_payload_size(most(largest)).is_ok();
    debug_assert!(is_taken, "1,200 and more can be set");
    config
}

/// Returns the largest datagram that is tried.
fn most(largest: usize) -> u16 {
    u16::try_from(largest).unwrap_or(u16::MAX).clamp(LEAST, MOST)
}

/// Returns how a client's connections are.
pub(super) fn client(seed: u64, largest: usize) -> ClientConfig {
    let ids = Mutex::new(Ids(Xoshiro256PlusPlus::seed_from_u64(seed ^ 1)));
    let mut config = ClientConfig::new(Arc::new(Handshakes));
    config
        .transport_config(Arc::new(transport(largest)))
        .initial_dst_cid_provider(Arc::new(move || ids.lock().unwrap_or_else(PoisonError::into_inner).generate_cid()));
    config
}

/// Returns how a server's connections are, and how many may begin at once.
pub(super) fn server(largest: usize, connections: usize) -> ServerConfig {
    let mut config = ServerConfig::new(Arc::new(Handshakes), Arc::new(NoTokens));
    config.transport_config(Arc::new(transport(largest))).max_incoming(connections).migration(false);
    config
}

/// Returns what both ends have. The rest is quinn's, and as RFC 9000 and 9002 recommend: acknowledgements after 25 ms or two packets.
fn transport(largest: usize) -> TransportConfig {
    let mut cubic = CubicConfig::default();
    cubic.initial_window(10 * u64::from(LEAST));
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(most(largest));
    let mut config = TransportConfig::default();
    config
        .congestion_controller_factory(Arc::new(cubic))
        .enable_segmentation_offload(false)
        .initial_mtu(LEAST)
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(0_u32.into())
        .max_idle_timeout(Duration::from_secs(30).try_into().ok())
        .mtu_discovery_config(Some(discovery))
        .receive_window(CONNECTION_WINDOW.into())
        .send_window(CONNECTION_WINDOW.into())
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .datagram_receive_buffer_size(None);
    config
}

/// Connection ids that are drawn.
struct Ids(Xoshiro256PlusPlus);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID];
        self.0.fill_bytes(&mut id);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

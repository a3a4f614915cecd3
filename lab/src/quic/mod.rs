//! QUIC over the datagrams of a [`Stack`](crate::hosts::Stack): `quinn-proto` 0.11, as browsers and servers set it.
//!
//! - [`Endpoint`] is a port for datagrams with the connections on it, a client's or a server's.
//! - `settings` is how it is set, `session` the handshake, `keys` what protects packets.
//!
//! Nothing is secret here, as the tunnel encrypts all of it: packets have the sizes that TLS 1.3 gives them, and a checksum in place of the
//! tag. The same seed, datagrams and times give the same datagrams. Whatever arrives, it does not panic, and its memory is bounded by
//! flow control and by the number of connections.

mod endpoint;
mod keys;
mod session;
mod settings;

pub(crate) use endpoint::Endpoint;

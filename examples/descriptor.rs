//! A device on a descriptor that the platform opened, as Android's `VpnService` and Apple's `NEPacketTunnelProvider` do.
//!
//! Here a socket pair plays the platform, so that the example runs anywhere on Linux, without privileges. An app gets its
//! descriptor as a number, takes it over once with `OwnedFd::from_raw_fd`, and closes it nowhere else.

use std::error::Error;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use maybetun::config;
use maybetun::device::{Device, Options};
use maybetun_tun::{FdTun, Framing};

/// What the user's VPN provider hands out: a wg-quick file. The keys are examples: never use them.
const CONFIG: &str = "\
[Interface]
PrivateKey = dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=
Address = 10.64.0.2/32
MTU = 1280

[Peer]
PublicKey = 3p7bfXt9wbTTW2HC7OQ1Nz+DQ8hbeGdNrfx+FG+IK08=
AllowedIPs = 0.0.0.0/0, ::/0
Endpoint = 192.0.2.1:51820
";

/// The app sets addresses, routes and DNS with the platform's own means, which give the descriptor; then it calls this.
/// On Apple's platforms the framing is [`Framing::AddressFamily`].
async fn start_tunnel(descriptor: OwnedFd, config: &config::Config) -> Result<Device, Box<dyn Error>> {
    let mtu = config.interface.mtu.unwrap_or(1_280);
    let tun = FdTun::from_owned_fd(descriptor, mtu, Framing::Plain)?;
    let resolve = |endpoint: &config::Endpoint| match endpoint {
        config::Endpoint::Address(address) => Ok(*address),
        // An app resolves names before, outside the tunnel and without blocking its runtime.
        config::Endpoint::Host { .. } => Err(io::Error::other("expected an address")),
    };
    let update = config.to_update(resolve, config::Defense::in_catalogue)?;
    let device = Device::start(tun, Options::default());
    device.apply(update)?;
    Ok(device)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let (ours, _platform) = UnixDatagram::pair()?;
    let config = config::parse(CONFIG)?;
    let device = start_tunnel(ours.into(), &config).await?;

    for peer in device.status().peers {
        writeln!(io::stdout(), "peer {} at {:?}", peer.public_key, peer.endpoint)?;
    }
    device.stop().await;
    writeln!(io::stdout(), "stopped: {:?}", device.stopped().await)?;
    Ok(())
}

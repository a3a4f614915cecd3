//! Keys and configurations, as `wg setconf` takes them.

use std::fmt;
use std::net::SocketAddr;
use std::process::Command;

use crate::command::run;

/// A key pair, in base64, made by `wg`.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The secret half.
    pub private: String,
    /// The public half.
    pub public: String,
}

impl Keys {
    /// Makes a key pair.
    #[track_caller]
    pub fn new() -> Self {
        let private = run(Command::new("wg").arg("genkey"), "").success().trim().to_owned();
        let public = run(Command::new("wg").arg("pubkey"), &private).success().trim().to_owned();
        Self { private, public }
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes a preshared key, in base64.
#[track_caller]
pub fn preshared_key() -> String {
    run(Command::new("wg").arg("genpsk"), "").success().trim().to_owned()
}

/// The configuration of a device; displayed in the form that `wg setconf` takes.
#[derive(Debug, Clone)]
pub struct Config {
    /// The private key, in base64.
    pub private_key: String,
    /// The UDP port to listen on.
    pub listen_port: u16,
    /// The peers.
    pub peers: Vec<PeerConfig>,
}

/// The configuration of a peer.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// The public key, in base64.
    pub public_key: String,
    /// The preshared key, in base64.
    pub preshared_key: Option<String>,
    /// Where the peer is.
    pub endpoint: Option<SocketAddr>,
    /// The allowed IPs, separated by commas.
    pub allowed_ips: String,
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[Interface]\nPrivateKey = {}\nListenPort = {}", self.private_key, self.listen_port)?;
        self.peers.iter().try_for_each(|peer| write!(f, "\n{peer}"))
    }
}

impl fmt::Display for PeerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "[Peer]\nPublicKey = {}\nAllowedIPs = {}", self.public_key, self.allowed_ips)?;
        if let Some(key) = &self.preshared_key {
            writeln!(f, "PresharedKey = {key}")?;
        }
        let Some(endpoint) = self.endpoint else { return Ok(()) };
        writeln!(f, "Endpoint = {endpoint}")
    }
}

//! The usual case: a client and a relay, a wire between them and a tunnel through it.

use std::net::SocketAddr;

use nix::sys::signal::Signal;

use crate::command::Finished;
use crate::daemon::{Daemon, Implementation};
use crate::host::Host;
use crate::names;
use crate::tunnel::{Config, Keys, PeerConfig};
use crate::uapi::{ask, errno, key_in_hex};
use crate::wire::{Network, Wire};

/// What carries the tunnel's datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outer {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// How a pair is to be made.
#[derive(Debug, Clone)]
pub struct Setup {
    /// What runs at the client.
    pub client: Implementation,
    /// What runs at the relay.
    pub relay: Implementation,
    /// What carries the datagrams.
    pub outer: Outer,
    /// The tunnel's MTU in bytes; the wire's is 100 more, or 1500 if that is larger.
    pub mtu: u16,
    /// The preshared keys of client and relay, in base64.
    pub preshared_keys: [Option<String>; 2],
    /// A machine that both ends run from the start, by the keys that gotatun documents; in Maybenot's text form.
    pub daita: Option<String>,
    /// What maybetun logs, as it takes it in `MAYBETUN_LOG`; `None` leaves that to the environment.
    pub log: Option<&'static str>,
}

impl Setup {
    /// Returns the defaults: IPv4 outside, 1420 bytes inside, no preshared key.
    pub fn between(client: Implementation, relay: Implementation) -> Self {
        Self { client, relay, outer: Outer::V4, mtu: 1420, preshared_keys: [None, None], daita: None, log: None }
    }

    /// Brings the pair up.
    #[track_caller]
    pub fn start(&self) -> Pair {
        let (client, relay) = (Host::new(), Host::new());
        let wire = Wire::between(&client, &relay, Network::First, 1500.max(self.mtu + 100));
        let (client_keys, relay_keys) = (Keys::new(), Keys::new());
        let [client_preshared, relay_preshared] = self.preshared_keys.clone();
        let client_config = Config {
            private_key: client_keys.private,
            listen_port: 51820,
            peers: vec![PeerConfig {
                public_key: relay_keys.public.clone(),
                preshared_key: client_preshared,
                endpoint: Some(self.relay_endpoint()),
                allowed_ips: "10.9.0.0/24, fd09::/64".to_owned(),
            }],
        };
        let relay_config = Config {
            private_key: relay_keys.private,
            listen_port: 51820,
            peers: vec![PeerConfig {
                public_key: client_keys.public.clone(),
                preshared_key: relay_preshared,
                endpoint: None,
                allowed_ips: "10.9.0.1/32, fd09::1/128".to_owned(),
            }],
        };
        let start = |host, implementation, config, public_key, number| {
            let more = More { daita: self.daita.clone(), log: self.log };
            End::start_with(host, implementation, config, public_key, number, self.mtu, more)
        };
        let client = start(client, self.client, client_config, client_keys.public, 1);
        let relay = start(relay, self.relay, relay_config, relay_keys.public, 2);
        Pair { client, relay, wire }
    }

    /// Returns where the client finds the relay.
    pub fn relay_endpoint(&self) -> SocketAddr {
        let address = match self.outer {
            Outer::V4 => Network::First.v4(2),
            Outer::V6 => Network::First.v6(2),
        };
        SocketAddr::new(address, 51820)
    }
}

/// A client and a relay that a tunnel joins.
#[derive(Debug)]
pub struct Pair {
    /// The client: it knows the relay's endpoint; inner addresses 10.9.0.1 and fd09::1.
    pub client: End,
    /// The relay: inner addresses 10.9.0.2 and fd09::2.
    pub relay: End,
    /// The wire; the client is at its left.
    pub wire: Wire,
}

/// One end of a tunnel.
#[derive(Debug)]
pub struct End {
    /// The running implementation.
    pub daemon: Daemon,
    /// Its configuration.
    pub config: Config,
    /// Its public key, in base64.
    pub public_key: String,
    /// The host it runs on.
    pub host: Host,
    implementation: Implementation,
    number: u8,
    mtu: u16,
    more: More,
}

/// What few ends have.
#[derive(Debug, Clone, Default)]
struct More {
    /// See [`Setup::daita`] and [`Setup::log`].
    daita: Option<String>,
    log: Option<&'static str>,
}

impl End {
    /// Starts an end on `host` with the inner addresses `10.9.0.NUMBER` and `fd09::NUMBER`. `mtu` is in bytes.
    #[track_caller]
    pub fn start(
        host: Host,
        implementation: Implementation,
        config: Config,
        public_key: String,
        number: u8,
        mtu: u16,
    ) -> Self {
        Self::start_with(host, implementation, config, public_key, number, mtu, More::default())
    }

    #[track_caller]
    fn start_with(
        host: Host,
        implementation: Implementation,
        config: Config,
        public_key: String,
        number: u8,
        mtu: u16,
        more: More,
    ) -> Self {
        let daemon = Daemon::start_logging(implementation, &host, &names::interface_name(), more.log);
        let end = Self { daemon, config, public_key, host, implementation, number, mtu, more };
        end.bring_up();
        end
    }

    /// Ends the process and starts another with the same configuration.
    #[track_caller]
    pub fn restart(&mut self) {
        self.restart_by(Signal::SIGTERM);
    }

    /// Does the same; the process is ended by a signal of choice.
    #[track_caller]
    pub fn restart_by(&mut self, signal: Signal) {
        // The old device's port and addresses must be free before the new one takes them.
        self.daemon.signal(signal);
        self.daemon.wait_for_exit();
        let name = names::interface_name();
        self.daemon = Daemon::start_logging(self.implementation, &self.host, &name, self.more.log);
        self.bring_up();
    }

    /// Returns the inner IPv4 address.
    pub fn v4(&self) -> String {
        format!("10.9.0.{}", self.number)
    }

    /// Returns the inner IPv6 address.
    pub fn v6(&self) -> String {
        format!("fd09::{}", self.number)
    }

    /// Returns the inner IPv4 address with `port`.
    #[track_caller]
    pub fn inner(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.v4().parse().expect("an address of ours"), port)
    }

    /// Runs `wg COMMAND INTERFACE ARGUMENTS`.
    #[track_caller]
    pub fn wg(&self, command: &str, arguments: &str) -> Finished {
        self.daemon.wg(&self.host, command, arguments)
    }

    /// Configures the device and its defense in one request, as tools for gotatun do: while it runs, gotatun may lose its
    /// socket or its device over a change.
    #[track_caller]
    fn configure_with(&self, machine: &str) {
        let Config { private_key, listen_port, peers } = &self.config;
        let mut request = format!("set=1\nprivate_key={}\nlisten_port={listen_port}\n", key_in_hex(private_key));
        for peer in peers {
            request += &format!("public_key={}\n", key_in_hex(&peer.public_key));
            if let Some(endpoint) = peer.endpoint {
                request += &format!("endpoint={endpoint}\n");
            }
            for prefix in peer.allowed_ips.split(", ") {
                request += &format!("allowed_ip={prefix}\n");
            }
            request += &format!(
                "daita_enable=1\ndaita_machine={machine}\ndaita_max_delayed_packets=1024\ndaita_min_delay_capacity=50\n\
                 daita_max_decoy_frac=0\ndaita_max_delay_frac=0\n"
            );
        }
        let answer = ask(&self.daemon, &(request + "\n"));
        assert_eq!(errno(&answer), 0, "{answer}");
    }

    #[track_caller]
    fn bring_up(&self) {
        let interface = self.daemon.interface();
        match &self.more.daita {
            None => self.daemon.configure(&self.host, &self.config),
            Some(machine) => self.configure_with(machine),
        }
        self.host.ip(&format!("addr add {}/24 dev {interface}", self.v4()));
        self.host.ip(&format!("link set {interface} mtu {} up", self.mtu));
        self.host.ip(&format!("addr add {}/64 dev {interface} nodad", self.v6()));
    }
}

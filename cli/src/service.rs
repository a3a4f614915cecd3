//! A running tunnel: its interface, its device and its configuration socket.

use std::path::Path;

use anyhow::Context as _;
use maybetun::config::Interface;
use maybetun::device::{Device, Options, StopReason};
use maybetun::uapi::{BindError, DIRECTORY, ServeEnd, Server};
use maybetun_tun::{CreateError, LinuxTun, LinuxTunOptions, Tun as _};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::task::JoinSet;

use super::exit::{self, Exit, Failure};
use super::network;
use super::place;
use super::runtime::StopSignals;

/// Whether the system is asked to move many packets at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Offload {
    /// Where the kernel can.
    On,
    /// Never: each packet by itself.
    Off,
}

/// How packets are moved.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Speed {
    /// Whether to move many packets in one system call, where the kernel can. Off is for finding faults.
    #[arg(long, global = true, value_name = "WHETHER", env = "MAYBETUN_OFFLOAD", default_value = "on")]
    offload: Offload,
    /// How many threads read the interface, and how many the socket of each IP version [default: half the cores].
    #[arg(long, global = true, value_name = "1-64", env = "MAYBETUN_QUEUES",
          value_parser = clap::value_parser!(u8).range(1..=64))]
    queues: Option<u8>,
}

/// What a tunnel may cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Cost {
    /// Bytes a second that padding to all peers together may take, of IP packets with all their headers; 0 is no limit
    /// [default: MaxPaddingRate in the file, else 268435456].
    #[arg(long, value_name = "BYTES", env = "MAYBETUN_MAX_PADDING_RATE")]
    max_padding_rate: Option<u64>,
    /// Handshake messages a second from which on the interface is under load, and senders have shares and need cookies;
    /// 0 is always [default: HandshakesPerSecond in the file, else 100, or one for 20 peers if that is more].
    #[arg(long, value_name = "MESSAGES", env = "MAYBETUN_HANDSHAKES_PER_SECOND")]
    handshakes_per_second: Option<u64>,
}

impl Cost {
    /// The arguments, by clap's names for them.
    pub(crate) const ARGUMENTS: [&str; 2] = ["max_padding_rate", "handshakes_per_second"];

    /// Returns what was said, or what the file says where nothing was.
    #[must_use]
    pub(crate) fn or_file(self, file: &Interface) -> Self {
        Self {
            max_padding_rate: self.max_padding_rate.or(file.max_padding_rate),
            handshakes_per_second: self.handshakes_per_second.or(file.handshakes_per_second),
        }
    }
}

/// Returns how a device behaves that was given these arguments.
fn options(speed: Speed, cost: Cost) -> Options {
    let mut options = Options::default();
    options.offload = speed.offload == Offload::On;
    if let Some(queues) = speed.queues {
        options.queues = queues.into();
    }
    if let Some(rate) = cost.max_padding_rate {
        options.max_padding_rate = rate;
    }
    options.handshakes_per_second = cost.handshakes_per_second;
    options
}

/// File descriptors that let each of a thousand peers have a socket of its own for either IP version. More would only be
/// passed on to programs that count on fewer.
const DESCRIPTORS: u64 = 4_096;

/// Asks for as many file descriptors as a device with many peers uses: sessions of a service begin with 1,024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        let wanted = DESCRIPTORS.min(hard);
        if soft < wanted { setrlimit(Resource::RLIMIT_NOFILE, wanted, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of file descriptors stays as it is");
    }
}

/// Why a tunnel ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A signal asked for it.
    Signal(&'static str),
    /// Somebody removed the configuration socket, as `maybetun down` does.
    SocketRemoved,
    /// Somebody deleted the interface, as `wg-quick down` does.
    InterfaceDeleted,
}

/// An interface with a device on it that answers on its configuration socket.
#[derive(Debug)]
pub(crate) struct Service {
    name: String,
    device: Device,
    /// One task, which ends when the socket is removed.
    server: JoinSet<ServeEnd>,
    /// One task, which tells the device of changes of the network.
    _watch: JoinSet<()>,
}

impl Service {
    /// Makes the interface and its socket, and starts a device without keys or peers.
    ///
    /// # Errors
    /// When either exists already or may not be made.
    pub(crate) fn start(name: &str, speed: Speed, cost: Cost) -> anyhow::Result<Self> {
        raise_descriptor_limit();
        let options = options(speed, cost);
        let mut tun_options = LinuxTunOptions::default();
        (tun_options.offload, tun_options.queues) = (options.offload, options.queues);
        let tun = LinuxTun::create_with(name, tun_options).map_err(|error| {
            let exit = exit_of_create(&error);
            anyhow::Error::new(error).context(Failure::because(exit, format!("cannot start {name}")))
        })?;
        let name = tun.name().to_owned();
        let server = bind(&name).map_err(|error| {
            let exit = exit_of_bind(&error);
            anyhow::Error::new(error).context(Failure::because(exit, format!("cannot start {name}")))
        })?;
        let device = Device::start(tun, options);
        let mut tasks = JoinSet::new();
        tasks.spawn(server.serve(device.clone()));
        let mut watch = JoinSet::new();
        watch.spawn(network::watch::watch(device.clone()));
        Ok(Self { name, device, server: tasks, _watch: watch })
    }

    /// Returns the interface name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns a handle to the device.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Answers on the socket again after it was removed, for commands that run before the end and ask `wg`.
    pub(crate) fn answer_again(&mut self) {
        if !self.server.is_empty() {
            return;
        }
        match bind(&self.name) {
            Ok(server) => drop(self.server.spawn(server.serve(self.device.clone()))),
            Err(error) => tracing::warn!("hooks cannot ask `wg` about {}: {error}", self.name),
        }
    }

    /// Waits until something ends the tunnel.
    ///
    /// # Errors
    /// When the TUN device or the configuration socket fails.
    pub(crate) async fn ended(&mut self, signals: &mut StopSignals) -> anyhow::Result<End> {
        let end = tokio::select! {
            name = signals.recv() => End::Signal(name),
            served = self.server.join_next() => end_of_server(served.transpose().context("the configuration socket failed")?)?,
            reason = self.device.stopped() => end_of_device(reason)?,
        };
        match end {
            End::Signal(signal) => tracing::info!("{signal}: stopping {}", self.name),
            End::SocketRemoved => tracing::info!("the configuration socket was removed: stopping {}", self.name),
            End::InterfaceDeleted => tracing::info!("interface {} was deleted: stopping", self.name),
        }
        Ok(end)
    }

    /// Stops the device and removes the interface and its socket.
    pub(crate) async fn stop(mut self) {
        self.device.stop().await;
        self.server.shutdown().await;
    }
}

/// Makes the socket: in the directory of the network namespace, and where `wg` looks for it, unless a tunnel of the same name
/// is there that runs in another namespace.
fn bind(name: &str) -> Result<Server, BindError> {
    let mut server = Server::bind_in(&place::directory(), name)?;
    match server.link_in(Path::new(DIRECTORY), name) {
        Err(BindError::InUse(_)) if place::is_elsewhere(name) => {
            tracing::warn!("a tunnel called {name} runs in another network namespace: `wg` sees that one, not this");
        }
        linked => linked?,
    }
    Ok(server)
}

fn end_of_server(end: Option<ServeEnd>) -> anyhow::Result<End> {
    match end {
        Some(ServeEnd::SocketRemoved) => Ok(End::SocketRemoved),
        Some(ServeEnd::Failed(error)) => Err(error).context("the configuration socket failed"),
        Some(_) | None => anyhow::bail!("the configuration socket ended"),
    }
}

fn end_of_device(reason: StopReason) -> anyhow::Result<End> {
    match reason {
        StopReason::TunGone => Ok(End::InterfaceDeleted),
        StopReason::TunFailed(cause) => Err(Failure::error(Exit::Tun, format!("the TUN device failed: {cause}"))),
        StopReason::Requested => anyhow::bail!("the device stopped by itself"),
    }
}

fn exit_of_create(error: &CreateError) -> Exit {
    match error {
        CreateError::Name { .. } => Exit::Usage,
        CreateError::NoPermission { .. } => Exit::Permission,
        CreateError::InUse { .. } => Exit::InUse,
        CreateError::NoDriver { .. } | CreateError::Other { .. } | _ => Exit::Tun,
    }
}

fn exit_of_bind(error: &BindError) -> Exit {
    match error {
        BindError::Name(_) => Exit::Usage,
        BindError::InUse(_) | BindError::NotASocket(_) => Exit::InUse,
        BindError::Directory { source, .. } | BindError::Socket { source, .. } => exit::of_io(source),
        _ => Exit::Failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    use maybetun::device::DEFAULT_DEVICE_PADDING_RATE;
    use maybetun::keys::PrivateKey;

    #[test]
    fn a_limit_is_that_of_the_arguments_then_of_the_file_then_the_default() {
        let limits = |argument, in_file| {
            let mut file = Interface::new(PrivateKey::from_bytes(&[7; 32]).unwrap());
            (file.max_padding_rate, file.handshakes_per_second) = (in_file, in_file);
            let speed = Speed { offload: Offload::On, queues: None };
            let cost = Cost { max_padding_rate: argument, handshakes_per_second: argument };
            let options = options(speed, cost.or_file(&file));
            (options.max_padding_rate, options.handshakes_per_second)
        };
        assert_eq!(limits(None, None), (DEFAULT_DEVICE_PADDING_RATE, None));
        assert_eq!(limits(None, Some(7)), (7, Some(7)));
        assert_eq!(limits(Some(0), Some(7)), (0, Some(0)));
    }

    #[test]
    fn a_deleted_interface_is_an_end_and_a_failed_device_is_a_failure() {
        assert_eq!(end_of_device(StopReason::TunGone).unwrap(), End::InterfaceDeleted);
        let error = end_of_device(StopReason::TunFailed("disk on fire".to_owned())).unwrap_err();
        assert_eq!(exit::of(&error), Exit::Tun);
    }

    #[test]
    fn what_keeps_an_interface_from_being_made_has_its_exit_code() {
        let source = || io::Error::other("cause");
        let name = || "wg0".to_owned();
        assert_eq!(exit_of_create(&CreateError::NoPermission { name: name(), source: source() }), Exit::Permission);
        assert_eq!(exit_of_create(&CreateError::InUse { name: name(), source: source() }), Exit::InUse);
        assert_eq!(exit_of_create(&CreateError::NoDriver { source: source() }), Exit::Tun);
    }

    #[test]
    fn what_keeps_a_socket_from_being_made_has_its_exit_code() {
        let denied = BindError::Directory { path: "/x".into(), source: io::ErrorKind::PermissionDenied.into() };
        assert_eq!(exit_of_bind(&denied), Exit::Permission);
        assert_eq!(exit_of_bind(&BindError::InUse("/x".into())), Exit::InUse);
    }
}

//! Tunnels through which plans are run one after another, in real time.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use maybetun::keys::PrivateKey;
use maybetun::settings::{Cause, Protection};
use nix::sched::{CloneFlags, setns};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;
use serde_json::Value;
use tempfile::TempDir;

use super::RealError;
use super::chromium::Chromium;
use super::daemon::{Config, Daemon, PORT};
use super::host;
use super::server::Serving;
use super::sockets::KernelSockets;
use super::web::Web;
use super::wire::{Plug, Wire};
use crate::defense::Defense;
use crate::namespace::{Kept, apart};
use crate::tunnels::{inner_client, inner_relay, v4};
use crate::virtual_network::Passed;
use crate::workload::{Access, Browser, Effort, Load, Plan, Server};

/// MTU of the tunnel in bytes.
const MTU: usize = 1_420;

/// Where the relay and the client are outside: in a network that is for benchmarks (RFC 2544).
const RELAY: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// How long both ends have to start and to agree on a defense, and connections to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often to look whether they have.
const POLL: Duration = Duration::from_millis(50);

/// How long a tunnel is left alone before the start, so that nothing of its handshake is in the trace.
const SETTLED: Duration = Duration::from_secs(1);

/// How late a server may be at a browser's first connection, so that nothing of it is cut off.
const LATE: Duration = Duration::from_millis(20);

/// How often to look whether all goes on that a load takes.
const CHECK: Duration = Duration::from_secs(1);

/// A port of the relay's at which nobody listens (RFC 863).
const DISCARD: u16 = 9;

/// How plans are run in real time.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// The program at both ends: maybetun.
    pub program: &'a Path,
    /// The network between client and relay.
    pub access: &'a Access,
    /// What both ends run.
    pub defense: &'a Defense,
    /// What the network and QUIC draw from. What the program draws is its own, and another each time.
    pub seed: u64,
    /// The longest that a plan goes on.
    pub longest: Duration,
    /// How long the trace goes on when the plan is done.
    pub after: Duration,
}

/// A tunnel that has a session, and whose ends have agreed on the defense.
pub struct Session<'a> {
    run: &'a Run<'a>,
    /// The plans so far.
    loads: u64,
    sockets: KernelSockets,
    protection: Protection,
    // In the order in which they end.
    server: Serving,
    client: Daemon<'a>,
    relay: Daemon<'a>,
    wire: Wire,
    /// When the wire's time began.
    start: Instant,
    networks: Networks,
    _relay_network: Kept,
}

/// Makes a tunnel between networks of its own, and does `work` with it, on a thread of its own.
///
/// # Errors
/// When something of it cannot be made, or `work` fails.
pub fn session<T: Send>(
    run: &Run<'_>,
    work: impl FnOnce(&mut Session<'_>) -> Result<T, RealError> + Send,
) -> Result<T, RealError> {
    if !geteuid().is_root() {
        return Err(RealError::NotRoot);
    }
    // Both ends of each connection are this process's.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).map_err(io::Error::from)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).map_err(io::Error::from)?;
    apart(|| work(&mut Session::new(run)?))?
}

impl<'a> Session<'a> {
    /// Makes one. This thread is in the client's network.
    fn new(run: &'a Run<'a>) -> Result<Self, RealError> {
        let [client_key, relay_key] = [(); 2].map(|()| PrivateKey::generate_from_os());
        let directory = TempDir::with_prefix("maybetun-lab-")?;
        let relay_network = Kept::new()?;
        let networks = Networks::new(&relay_network)?;
        let [inner_client, inner_relay] = [v4(inner_client(0)), v4(inner_relay())];
        let config = |is_client: bool| Config {
            key: if is_client { &client_key } else { &relay_key },
            address: if is_client { inner_client } else { inner_relay },
            mtu: MTU,
            peer: if is_client { relay_key.public_key() } else { client_key.public_key() },
            allowed_ips: if is_client { "10.0.0.0/8" } else { "10.1.0.0/16" },
            endpoint: is_client.then(|| SocketAddr::new(RELAY.into(), PORT)),
            defense: run.defense,
        };
        let start_end = |is_client| Daemon::start(run.program, interface(), &config(is_client), directory.path());

        let (relay, relay_plug, server) = networks.at_relay(|| {
            let plug = Plug::new("wire0", RELAY).map_err(RealError::Device)?;
            let mut relay = start_end(false)?;
            await_address(&mut relay, inner_relay)?;
            let sockets = KernelSockets::new(inner_relay, MTU)?;
            let server = Serving::start(Server::new(run.seed ^ 1 << 62), sockets)?;
            Ok((relay, plug, server))
        })?;
        let plug = Plug::new("wire0", CLIENT).map_err(RealError::Device)?;
        let start = Instant::now();
        let wire = Wire::start([plug, relay_plug], run.access.links(), run.seed, start)?;
        let mut client = start_end(true)?;
        await_address(&mut client, inner_client)?;
        let protection = await_session(&mut client, run.defense)?;
        // Both have read their files: nothing of them is left behind, however this process ends.
        drop(directory);
        thread::sleep(SETTLED + run.access.round_trip * 2);
        Ok(Self {
            run,
            loads: 0,
            sockets: KernelSockets::new(inner_client, MTU)?,
            protection,
            server,
            client,
            relay,
            wire,
            start,
            networks,
            _relay_network: relay_network,
        })
    }

    /// Runs a plan: from now on until it is done, and [`Run::after`]. Then its connections end, before the next begins.
    ///
    /// # Errors
    /// When a program of the tunnel ends, or the system fails.
    pub fn load(&mut self, plan: Plan) -> Result<Load, RealError> {
        self.loads += 1;
        let run = self.run;
        let mut browser = Browser::new(plan, inner_relay(), run.seed ^ self.loads << 32);
        let before = self.effort()?;
        let start = self.begin()?;
        let until = start + run.longest;
        let is_missing = |browser: &Browser| browser.time().is_none();
        if let Some((after, links)) = run.access.changed_links() {
            self.act(&mut browser, until.min(start + after), is_missing)?;
            if is_missing(&browser) {
                self.wire.set(links);
            }
        }
        self.act(&mut browser, until, is_missing)?;
        self.act(&mut browser, Instant::now() + run.after, |_| true)?;
        let end = Instant::now();
        let effort = self.effort()?.since(before);
        let trace = self.trace(start, end)?;
        let load = Load::new(trace, Some(&browser), self.late(), end - start, effort, self.protection);
        browser.leave();
        self.act(&mut browser, Instant::now() + PATIENCE, |browser| !browser.has_left())?;
        // What has not ended by then, does now.
        self.sockets.give_up();
        self.settle();
        Ok(load)
    }

    /// Has Chromium load a plan as a page: over HTTP/1.1 if the plan says so, else over HTTP/2. The time is the page's own, from its
    /// navigation on; the trace begins a round trip and a half before the server has a connection, when the browser asked for one, and 20 ms for its being late.
    ///
    /// # Errors
    /// When the plan is no page, or the browser or a program of the tunnel cannot be had.
    pub fn browse(&mut self, chromium: &Path, plan: Plan) -> Result<Load, RealError> {
        let address = v4(inner_relay());
        let web = self.networks.at_relay(|| Web::start(plan, address))?;
        let begun = self.begin()?;
        let until = begun + self.run.longest;
        let mut browser = Chromium::start(chromium, &web.url, &address.to_string())?;
        let first = self.watch(&mut browser, until, |until| web.wait_for_first(until))?;
        let start = first.map_or(begun, |first| (first - self.run.access.round_trip * 3 / 2 - LATE).max(begun));
        let before = self.effort()?;
        let time = self.watch(&mut browser, until, |until| web.wait(until))?;
        thread::sleep(self.run.after);
        let end = Instant::now();
        let effort = self.effort()?.since(before);
        let trace = self.trace(start, end)?;
        drop((browser, web));
        self.settle();
        Ok(Load { time, ..Load::new(trace, None, Vec::new(), end - start, effort, self.protection) })
    }

    /// Waits for something of a browser's page, as long as all goes on that it takes.
    fn watch<T>(
        &mut self,
        browser: &mut Chromium,
        until: Instant,
        wait: impl Fn(Instant) -> Option<T>,
    ) -> Result<Option<T>, RealError> {
        loop {
            let slice = until.min(Instant::now() + CHECK);
            let found = wait(slice);
            if found.is_some() || Instant::now() >= until {
                return Ok(found);
            }
            browser.check()?;
            self.check()?;
        }
    }

    /// Makes sure that all goes on that a load takes.
    fn check(&mut self) -> Result<(), RealError> {
        self.client.check()?;
        self.relay.check()?;
        self.wire.check().map_err(RealError::WireBroke)?;
        if self.server.is_running() { Ok(()) } else { Err(RealError::ServerEnded) }
    }

    /// Begins a trace.
    fn begin(&mut self) -> Result<Instant, RealError> {
        self.check()?;
        drop(self.wire.take_passed());
        Ok(Instant::now())
    }

    /// Returns what has passed from one instant to another, with times since the first.
    fn trace(&mut self, start: Instant, end: Instant) -> Result<Vec<Passed>, RealError> {
        self.check()?;
        let [since, until] = [start, end].map(|instant| instant - self.start);
        let mut trace = self.wire.take_passed();
        trace.retain_mut(|passed| {
            let is_of_load = (since..=until).contains(&passed.at);
            passed.at = passed.at.saturating_sub(since);
            is_of_load
        });
        Ok(trace)
    }

    /// Returns what the client's tunnel has cost.
    fn effort(&self) -> Result<Effort, RealError> {
        Ok(Effort { wakeups: self.client.wakeups()?, cpu: Some(self.client.cpu()?) })
    }

    fn late(&self) -> Vec<Duration> {
        self.server.ask(|server| server.late()).unwrap_or_default()
    }

    /// Has the browser act until an instant, or as long as it is to go on.
    fn act(
        &mut self,
        browser: &mut Browser,
        until: Instant,
        goes_on: impl Fn(&Browser) -> bool,
    ) -> Result<(), RealError> {
        loop {
            let slice = until.min(Instant::now() + CHECK);
            host::run(browser, &mut self.sockets, slice, &goes_on)?;
            if !goes_on(browser) || Instant::now() >= until {
                return Ok(());
            }
            self.check()?;
        }
    }

    /// Waits until connections that were ended have ended, and has the network as it was.
    fn settle(&self) {
        thread::sleep(SETTLED + self.run.access.round_trip * 2);
        self.server.ask(Server::forget_streams);
        self.wire.set(self.run.access.links());
    }
}

/// The two networks that this thread is in turn in.
struct Networks {
    client: File,
    relay: File,
}

impl Networks {
    /// Returns this thread's network as the client's, and the relay's.
    fn new(relay: &Kept) -> Result<Self, RealError> {
        let open = |path: String| File::open(path);
        Ok(Self {
            client: open("/proc/thread-self/ns/net".into())?,
            relay: open(format!("/proc/{}/ns/net", relay.id()))?,
        })
    }

    /// Does `work` with this thread in the relay's network. What it starts ends with this thread, and not before.
    fn at_relay<T>(&self, work: impl FnOnce() -> Result<T, RealError>) -> Result<T, RealError> {
        let enter = |network: &File| setns(network, CloneFlags::CLONE_NEWNET).map_err(io::Error::from);
        enter(&self.relay)?;
        let done = work();
        enter(&self.client)?;
        done
    }
}

/// Returns a name for an interface that no other has which is there now: in it is whose it is.
fn interface() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("ml{}n{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed) % 100_000)
}

/// Waits until a program has given its interface the address.
fn await_address(daemon: &mut Daemon<'_>, address: Ipv4Addr) -> Result<(), RealError> {
    let deadline = Instant::now() + PATIENCE;
    while UdpSocket::bind((address, 0)).is_err() {
        daemon.check()?;
        if Instant::now() >= deadline {
            return Err(RealError::NotReady(format!("no interface has {address}")));
        }
        thread::sleep(POLL);
    }
    Ok(())
}

/// Has a packet leave, and waits until there is a session and the ends have agreed on the defense, if they are to.
fn await_session(client: &mut Daemon<'_>, defense: &Defense) -> Result<Protection, RealError> {
    let deadline = Instant::now() + PATIENCE;
    let knock = || UdpSocket::bind((v4(inner_client(0)), 0))?.send_to(&[0; 4], (v4(inner_relay()), DISCARD));
    let mut knocked: io::Result<usize> = knock();
    let mut last = Instant::now();
    loop {
        let peer = client.peer()?.unwrap_or_default();
        if peer["last_handshake"].is_null() {
            // The way to the relay may not have been there.
            if last.elapsed() >= CHECK {
                (knocked, last) = (knock(), Instant::now());
            }
        } else if let Some(protection) = protection(&peer, defense) {
            return Ok(protection);
        }
        if Instant::now() >= deadline {
            let (protection, cause) = (&peer["protection"], &peer["protection_cause"]);
            let sent = knocked.map_or_else(|error| error.to_string(), |_| "sent".to_owned());
            let said = client.said();
            return Err(RealError::NotReady(format!(
                "protection {protection}, {cause}; a packet: {sent}; it said: {said}"
            )));
        }
        thread::sleep(POLL);
    }
}

/// Reads how far a tunnel is protected; `None` if it is not as it is to be.
fn protection(peer: &Value, defense: &Defense) -> Option<Protection> {
    match (defense, peer["protection"].as_str()?) {
        (Defense::Masked(defense, _), _) => protection(peer, defense),
        (Defense::None, "not-protected") => Some(Protection::NotProtected(Cause::Off)),
        (Defense::Named(_), "one-sided") => Some(Protection::OneSided(Cause::NotNegotiated)),
        (Defense::Ephemeral(..), "protected") => Some(Protection::Protected),
        _ => None,
    }
}

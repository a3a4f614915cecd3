//! A plan through real tunnels in virtual time.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use maybetun::settings::{DefenseChange, Protection, Role};

use super::{Access, Browser, Plan, Server, Site};
use crate::hosts::{Application, Settings, Stack, TcpHost};
use crate::tunnels::{RELAY, Star, client, inner_client, inner_packet, inner_relay};
use crate::virtual_network::{Passed, Trace};

/// How long both ends have to agree on a defense.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a tunnel is left alone before the start, so that nothing of its handshake is in the trace.
const SETTLED: Duration = Duration::from_secs(1);

/// How a plan is run.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    /// The network between client and relay.
    pub access: &'a Access,
    /// What the client and the relay are told to run; `None` is nothing.
    pub defense: Option<[DefenseChange; 2]>,
    /// What all that is random is drawn from, but for the plan.
    pub seed: u64,
    /// The TCP of the client. The server's has the buffers the other way round.
    pub tcp: Settings,
    /// The longest it goes on.
    pub longest: Duration,
    /// How long the trace goes on when the plan is done.
    pub after: Duration,
}

impl<'a> Run<'a> {
    /// Returns a run with TCP as it is by default, that ends with the plan, or after ten minutes.
    pub fn new(access: &'a Access, defense: Option<&DefenseChange>, seed: u64) -> Self {
        let longest = Duration::from_secs(600);
        let defense = defense.map(|change| [change.clone(), change.clone()]);
        Self { access, defense, seed, tcp: Settings::default(), longest, after: Duration::ZERO }
    }
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The outer flow beside the client: times since the start, sizes with the headers of UDP and IPv4. What comes from
    /// [`client`]`(0)` is up, what comes from [`RELAY`] is down.
    pub trace: Vec<Passed>,
    /// How long it took until all was there; `None` if it was not in time.
    pub time: Option<Duration>,
    /// Bytes of the trace up.
    pub up: u64,
    /// Bytes of the trace down.
    pub down: u64,
    /// How far the traffic was protected at the start, as the client has it.
    pub protection: Protection,
}

/// One of the two hosts inside.
#[derive(Debug)]
enum Inside {
    /// Before the start, and then.
    Browser(Option<Box<Browser>>),
    Server(Server),
}

impl Application for Inside {
    fn act(&mut self, now: Instant, stack: &mut Stack) {
        match self {
            Self::Browser(Some(browser)) => browser.act(now, stack),
            Self::Browser(None) => {}
            Self::Server(server) => server.act(now, stack),
        }
    }

    fn next_timeout(&self) -> Option<Instant> {
        match self {
            Self::Browser(browser) => browser.as_ref()?.next_timeout(),
            Self::Server(server) => server.next_timeout(),
        }
    }
}

/// Loads a page: a visit of a site. See [`run`].
pub fn load(site: &Site, visit: u64, access: &Access, defense: Option<&DefenseChange>, seed: u64) -> Load {
    run(site.visit(visit), &Run::new(access, defense, seed))
}

/// Runs a plan between a client and a server beside the relay. The tunnel has a session when it begins, and both ends have agreed
/// on the defense, if they do within a minute: [`Load::protection`] says what they did.
///
/// The same arguments give the same [`Load`] with the feature `virtual-time`; without, handshakes read the system's clocks.
pub fn run(plan: Plan, run: &Run<'_>) -> Load {
    let Settings { receive_buffer, send_buffer, .. } = run.tcp;
    let tcp = Settings { receive_buffer: send_buffer, send_buffer: receive_buffer, ..run.tcp.clone() };
    let server = Inside::Server(Server::default());
    let server = TcpHost::new(v4(inner_relay()), run.seed ^ 1 << 63, &tcp, server);
    let browser = TcpHost::new(v4(inner_client(0)), run.seed, &run.tcp, Inside::Browser(None));
    let links = run.access.links();
    let mut star = Star::new(run.seed, Trace::beside(client(0)), &links[0], server, [browser]);
    star.network.link(client(0), RELAY, links[1].clone());
    if let Some([of_client, of_relay]) = &run.defense {
        star.defend_each(|role| if role == Role::Client { of_client } else { of_relay }.clone());
    }
    star.act(RELAY, |host, now, out| host.wake(now, out));
    star.act(client(0), |_, _, out| out.put(inner_packet(inner_client(0), inner_relay(), 60)));
    star.network.run_while(PATIENCE, |network| {
        let is_protected = !matches!(network.host(client(0)).tunnel(0).protection(), Protection::NotProtected(_));
        !(is_protected || run.defense.is_none())
    });
    star.network.run_for(SETTLED + run.access.round_trip * 2);

    let start = star.network.now();
    star.network.tap.passed.clear();
    let protection = star.network.host(client(0)).tunnel(0).protection();
    star.act(client(0), |host, now, out| {
        host.application = Inside::Browser(Some(Box::new(Browser::new(plan, inner_relay()))));
        host.wake(now, out);
    });
    let time = |host: &TcpHost<Inside>| match &host.application {
        Inside::Browser(Some(browser)) => browser.time(),
        Inside::Browser(None) | Inside::Server(_) => None,
    };
    let until = start + run.longest;
    let go_on = |star: &mut Star<_, Trace>, until| {
        star.network.run_while(until, |network| time(&network.host(client(0)).inside).is_none())
    };
    let changed = run.access.changed_links();
    if let Some((after, [down, up])) = changed
        && !go_on(&mut star, until.min(start + after))
    {
        star.network.link(RELAY, client(0), down);
        star.network.link(client(0), RELAY, up);
    }
    go_on(&mut star, until);
    star.network.run_for(run.after);

    let time = time(&star.network.host(client(0)).inside);
    let mut trace = std::mem::take(&mut star.network.tap.passed);
    trace.iter_mut().for_each(|passed| passed.at -= start);
    let bytes = |is_up: bool| {
        let sizes = trace.iter().filter(|passed| (passed.from == client(0)) == is_up);
        sizes.map(|passed| passed.size as u64).sum()
    };
    Load { time, up: bytes(true), down: bytes(false), protection, trace }
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => unreachable!("addresses inside a star are IPv4's"),
    }
}

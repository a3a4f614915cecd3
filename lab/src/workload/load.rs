//! A plan through real tunnels in virtual time.

use std::time::{Duration, Instant};

use maybetun::settings::{DefenseChange, Protection, Role};
use maybetun::tunnel::Tunnel;

use super::{Access, Browser, Plan, Server, Site};
use crate::hosts::{Application, Settings, Sockets, TcpHost};
use crate::tunnels::{RELAY, Star, client, inner_client, inner_packet, inner_relay, v4};
use crate::virtual_network::{Link, Passed, Trace};

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
    /// How long the trace is: until the end, and [`Run::after`].
    pub lasted: Duration,
    /// Bytes of the trace up.
    pub up: u64,
    /// Bytes of the trace down.
    pub down: u64,
    /// Bytes of answers and their frames that the client has received.
    pub received: u64,
    /// How much later the datagrams of streams came than the quickest of theirs, up and down.
    pub late: [Vec<Duration>; 2],
    /// What it cost the client's tunnel.
    pub effort: Effort,
    /// How far the traffic was protected at the start, as the client has it.
    pub protection: Protection,
}

/// What a load cost the client's tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// How often it was woken: in virtual time by a deadline of its own, in real time for whatever reason.
    pub wakeups: u64,
    /// The time of processors that it took; `None` in virtual time.
    pub cpu: Option<Duration>,
}

impl Effort {
    /// Returns what it has cost since it had cost `before`.
    #[cfg(feature = "real")]
    pub(crate) fn since(self, before: Self) -> Self {
        let cpu = self.cpu.zip(before.cpu).map(|(now, before)| now.saturating_sub(before));
        Self { wakeups: self.wakeups.saturating_sub(before.wakeups), cpu }
    }
}

impl Load {
    /// Returns what came of a plan, of which a trace and a browser are left; `late_up` is what the server noted.
    pub(crate) fn new(
        trace: Vec<Passed>,
        browser: Option<&Browser>,
        late_up: Vec<Duration>,
        lasted: Duration,
        effort: Effort,
        protection: Protection,
    ) -> Self {
        let bytes = |is_up: bool| {
            let sizes = trace.iter().filter(|passed| (passed.from == client(0)) == is_up);
            sizes.map(|passed| passed.size as u64).sum()
        };
        let (up, down) = (bytes(true), bytes(false));
        let late_down = browser.map_or_else(Vec::new, |browser| browser.late());
        Self {
            time: browser.and_then(Browser::time),
            lasted,
            up,
            down,
            received: browser.map_or(0, Browser::bytes),
            late: [late_up, late_down],
            effort,
            protection,
            trace,
        }
    }
}

/// One of the two hosts inside.
#[derive(Debug)]
enum Inside {
    /// Before the start, and then.
    Browser(Option<Box<Browser>>),
    Server(Box<Server>),
}

impl Inside {
    fn browser(&self) -> Option<&Browser> {
        match self {
            Self::Browser(browser) => browser.as_deref(),
            Self::Server(_) => None,
        }
    }
}

impl Application for Inside {
    fn act(&mut self, now: Instant, sockets: &mut dyn Sockets) {
        match self {
            Self::Browser(Some(browser)) => browser.act(now, sockets),
            Self::Browser(None) => {}
            Self::Server(server) => server.act(now, sockets),
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

/// Runs a plan between a client and a server beside the relay. See [`Session`].
pub fn run(plan: Plan, run: &Run<'_>) -> Load {
    Session::new(run).load(plan)
}

/// A tunnel through which plans are run one after another, by a client and a server beside the relay. What a defense counts and has
/// left of its budgets goes on from one to the next.
///
/// The same arguments give the same [`Load`]s with the feature `virtual-time`; without, handshakes read the system's clocks.
#[derive(Debug)]
pub struct Session<'a> {
    run: Run<'a>,
    /// The plans so far.
    loads: u64,
    star: Star<TcpHost<Inside>, Trace>,
}

impl<'a> Session<'a> {
    /// Returns a tunnel that has a session, and whose ends have agreed on the defense, if they do within a minute:
    /// [`Load::protection`] says what they did.
    pub fn new(run: &Run<'a>) -> Self {
        let Settings { receive_buffer, send_buffer, .. } = run.tcp;
        let tcp = Settings { receive_buffer: send_buffer, send_buffer: receive_buffer, ..run.tcp.clone() };
        let server = Inside::Server(Box::new(Server::new(run.seed ^ 1 << 62)));
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
        Self { run: run.clone(), loads: 0, star }
    }

    /// Has the plans that follow go on for at most so long, and their traces for so long after them.
    pub fn set_times(&mut self, longest: Duration, after: Duration) {
        (self.run.longest, self.run.after) = (longest, after);
    }

    /// Runs a plan: from now on until it is done, and [`Run::after`]. Then its connections end, before the next begins.
    pub fn load(&mut self, plan: Plan) -> Load {
        self.load_seen(plan, Duration::MAX, &mut |_, _| {})
    }

    /// Does the same, and shows the ends' tunnels, the client's first, each time that so much has passed.
    pub fn load_seen(&mut self, plan: Plan, every: Duration, see: &mut dyn FnMut(Instant, [&Tunnel; 2])) -> Load {
        self.loads += 1;
        let Self { run: Run { seed, longest, after, access, .. }, loads, star } = self;
        let (seed, after) = (*seed ^ *loads << 32, *after);
        let start = star.network.now();
        star.network.tap.passed.clear();
        let before = star.network.host(client(0)).wakeups();
        let protection = star.network.host(client(0)).tunnel(0).protection();
        star.act(client(0), |host, now, out| {
            host.application = Inside::Browser(Some(Box::new(Browser::new(plan, inner_relay(), seed))));
            host.wake(now, out);
        });
        let until = start + *longest;
        let mut seen = start;
        let mut run = |star: &mut Star<_, Trace>, until: Duration, is_missing: &dyn Fn(&TcpHost<Inside>) -> bool| {
            loop {
                let next = seen.saturating_add(every);
                let is_over =
                    star.network.run_while(next.min(until), |network| is_missing(&network.host(client(0)).inside));
                if star.network.now() >= next {
                    seen = next;
                    see(star.network.instant(), [client(0), RELAY].map(|end| star.network.host(end).tunnel(0)));
                }
                if is_over || star.network.now() >= until {
                    return is_over;
                }
            }
        };
        let is_missing = |host: &TcpHost<Inside>| host.application.browser().and_then(Browser::time).is_none();
        if let Some((after, links)) = access.changed_links()
            && !run(star, until.min(start + after), &is_missing)
        {
            set_links(star, links);
        }
        run(star, until, &is_missing);
        let end = star.network.now() + after;
        run(star, end, &|_| true);
        let lasted = star.network.now() - start;

        let mut trace = std::mem::take(&mut star.network.tap.passed);
        trace.iter_mut().for_each(|passed| passed.at -= start);
        let (end, relay) = (star.network.host(client(0)), star.network.host(RELAY));
        let late_up = match &relay.inside.application {
            Inside::Server(server) => server.late(),
            Inside::Browser(_) => Vec::new(),
        };
        let effort = Effort { wakeups: end.wakeups() - before, cpu: None };
        let load = Load::new(trace, end.inside.application.browser(), late_up, lasted, effort, protection);
        self.leave();
        load
    }

    /// Ends the connections, and waits until that is over.
    fn leave(&mut self) {
        let Self { run, star, .. } = self;
        star.act(client(0), |host, now, out| {
            if let Inside::Browser(Some(browser)) = &mut host.application {
                browser.leave();
            }
            host.wake(now, out);
        });
        star.network.run_while(star.network.now() + PATIENCE, |network| {
            network.host(client(0)).inside.application.browser().is_some_and(|browser| !browser.has_left())
        });
        star.act(client(0), |host, _, _| host.application = Inside::Browser(None));
        star.network.run_for(SETTLED + run.access.round_trip * 2);
        star.act(RELAY, |host, now, out| {
            if let Inside::Server(server) = &mut host.application {
                server.forget_streams();
            }
            host.wake(now, out);
        });
        set_links(star, run.access.links());
    }
}

/// Sets the links to the client and from it.
fn set_links(star: &mut Star<TcpHost<Inside>, Trace>, [down, up]: [Link; 2]) {
    star.network.link(RELAY, client(0), down);
    star.network.link(client(0), RELAY, up);
}

//! What lies between hosts: addresses, links, packets under way, and when each host wants to be woken.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::agenda::{Agenda, Next};
use super::link::{Lane, Link};
use super::{Fate, Loss, Packet, Passing, Tap};

/// A host on the network: its number, from 0 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node(pub usize);

/// What happens next on the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// A host is to be woken, as it wanted.
    Wake(Node),
    /// A packet arrives at a host.
    Arrive(Node, Packet),
}

/// A packet under way.
#[derive(Debug)]
struct UnderWay {
    from: Node,
    to: Node,
    size: usize,
    packet: Packet,
}

/// What lies between hosts. Its owner says what they send and when they want to be woken, asks for what happens next, and does it.
///
/// What happens at one instant has an order: first hosts are woken, by number; then packets arrive, as they were sent; then hosts
/// are woken that want to be at once, because of what happened at that instant.
///
/// How many packets are under way is bounded by the queues of links with a rate, and by what hosts send; by nothing else.
#[derive(Debug)]
pub struct Wire {
    seed: u64,
    agenda: Agenda,
    nodes: usize,
    addresses: HashMap<IpAddr, Node>,
    lanes: HashMap<(Node, Node), Lane>,
    under_way: Vec<Option<UnderWay>>,
    /// Places of `under_way` that are free.
    free: Vec<usize>,
}

impl Wire {
    /// Returns an empty network; all that is random about its links is drawn from `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            agenda: Agenda::default(),
            nodes: 0,
            addresses: HashMap::new(),
            lanes: HashMap::new(),
            under_way: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Returns what has passed since the network began.
    pub fn now(&self) -> Duration {
        self.agenda.now()
    }

    /// Adds a host, without a link. An address that was another's is its own now.
    pub fn add(&mut self, address: IpAddr) -> Node {
        let node = Node(self.nodes);
        self.nodes += 1;
        self.addresses.insert(address, node);
        node
    }

    /// Gives a host an address in place of all that it had. What is under way to it arrives.
    pub fn move_to(&mut self, node: Node, address: IpAddr) {
        self.addresses.retain(|_, of| *of != node);
        self.addresses.insert(address, node);
    }

    /// Returns whose an address is.
    pub fn node_of(&self, address: IpAddr) -> Option<Node> {
        self.addresses.get(&address).copied()
    }

    /// Sets the link from one host to another. One that is in use is another from the next packet on; what it has taken before
    /// leaves and arrives as it would have, and may be overtaken.
    pub fn link(&mut self, from: Node, to: Node, link: Link) {
        let seed = [self.seed, from.0 as u64, to.0 as u64].into_iter().fold(0, |seed, next| mix(seed ^ next));
        self.lanes.entry((from, to)).or_insert_with(|| Lane::new(seed)).set(link);
    }

    /// Takes a packet that a host sends now, to whose address it goes. Returns the buffer of one that does not arrive.
    pub fn send(&mut self, from: Node, packet: Packet, tap: &mut impl Tap) -> Option<Vec<u8>> {
        let to = self.node_of(packet.to.ip());
        self.pass(from, to, packet, tap)
    }

    /// Does the same with a packet that goes to another host whatever its address is, as to a router.
    pub fn send_to(&mut self, from: Node, to: Node, packet: Packet, tap: &mut impl Tap) -> Option<Vec<u8>> {
        self.pass(from, Some(to), packet, tap)
    }

    fn pass(&mut self, from: Node, to: Option<Node>, packet: Packet, tap: &mut impl Tap) -> Option<Vec<u8>> {
        let at = self.now();
        let mut lane = to.and_then(|to| self.lanes.get_mut(&(from, to)));
        let size = packet.payload.len() + lane.as_ref().map_or(0, |lane| lane.link.headers);
        let passing = Passing { at, from, to, size, packet: &packet };
        let fate = tap.sent(passing);
        let arrivals = match (&mut lane, fate) {
            (_, Fate::Lose) => Err(Loss::Taken),
            (None, _) => Err(if to.is_none() { Loss::NoSuchAddress } else { Loss::NoLink }),
            (Some(lane), Fate::Deliver | Fate::Repeat | Fate::Delay(_)) => lane.take(size, at),
        };
        let (to, (first, second)) = match (to, arrivals) {
            (Some(to), Ok(arrivals)) => (to, arrivals),
            (_, Err(loss)) => {
                tap.lost(passing, loss);
                return Some(packet.payload);
            }
            (None, Ok(_)) => unreachable!("a link leads to a host"),
        };
        let more = if let Fate::Delay(more) = fate { more } else { Duration::ZERO };
        if let Some(second) = second.or((fate == Fate::Repeat).then_some(first)) {
            let packet = packet.clone();
            self.put_under_way(second + more, UnderWay { from, to, size, packet });
        }
        self.put_under_way(first + more, UnderWay { from, to, size, packet });
        None
    }

    fn put_under_way(&mut self, arrives: Duration, packet: UnderWay) {
        let place = self.free.pop().unwrap_or_else(|| {
            self.under_way.push(None);
            self.under_way.len() - 1
        });
        self.under_way[place] = Some(packet);
        self.agenda.arrive(arrives, place);
    }

    /// Notes when a host wants to be woken, in place of what it wanted before; `None` is never, and the past is at once. A host
    /// that was woken is not woken again unless it wants to.
    pub fn wake_at(&mut self, node: Node, at: Option<Duration>) {
        self.agenda.wake_at(node.0, at);
    }

    /// Returns when to look for what happens next: never later than it does, and possibly earlier.
    pub fn next_at(&self) -> Option<Duration> {
        self.agenda.next_at()
    }

    /// Goes on to what happens next, and returns it. If nothing does until `until`, goes on to that.
    pub fn next(&mut self, until: Duration, tap: &mut impl Tap) -> Option<Happening> {
        Some(match self.agenda.next(until)? {
            Next::Wake(node) => Happening::Wake(Node(node)),
            Next::Arrive(place) => {
                let UnderWay { from, to, size, packet } = self.take(place);
                tap.arrived(Passing { at: self.now(), from, to: Some(to), size, packet: &packet });
                Happening::Arrive(to, packet)
            }
        })
    }

    fn take(&mut self, place: usize) -> UnderWay {
        self.free.push(place);
        self.under_way[place].take().expect("a place is free only after what is kept there has arrived")
    }

    /// Lets time pass without a look at what is due: it happens later, each thing in its turn.
    pub fn skip(&mut self, time: Duration) {
        self.agenda.skip_to(self.now() + time);
    }

    /// Takes away all that is under way, as if it had never been sent.
    pub fn clear(&mut self) {
        for place in self.agenda.forget_arrivals() {
            self.take(place);
        }
    }
}

/// Makes of a number one that has nothing to do with its neighbours': SplitMix64's output function (Steele, Lea, Flood: Fast
/// splittable pseudorandom number generators, 2014).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

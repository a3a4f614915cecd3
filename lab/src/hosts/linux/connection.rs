//! A connection between the stack and the network: what the stack sends leaves when Linux would send it, and what arrives is put
//! in order for it.

use std::time::Instant;

use smoltcp::wire::TcpControl;

use super::packet::{Draft, Place, Segment, TIMESTAMP, Tuple, bytes_of_blocks, first_place, place};
use super::receiver::{Arrival, Receiver, Verdict};
use super::sender::{Ack, Departure, Sender};
use super::{Congestion, Io, Limits};

#[derive(Debug)]
pub(super) struct Connection {
    ends: Tuple,
    sender: Sender,
    /// There is one when the peer's first number is known.
    receiver: Option<Receiver>,
    /// The scale of our window, if the peer knows it.
    shift: u8,
    has_timestamps: bool,
    has_sack: bool,
    /// When the handshake began, if its round trip can be told.
    shaken: Option<Instant>,
    first: u32,
    /// What the stack has heard of the peer last: the acknowledgement, and its window.
    heard: Option<(Place, u16)>,
    /// The peer's window, and the segment that said so.
    window: u16,
    window_from: Place,
}

impl Connection {
    /// Returns a connection that the stack begins, by its first segment.
    pub(super) fn new(syn: &Segment, limits: &Limits, now: Instant) -> Self {
        let start = first_place(syn.seq) + 1;
        let options = if syn.timestamp.is_some() { TIMESTAMP } else { 0 };
        Self {
            ends: syn.of_sender(),
            sender: Sender::new(start, limits.mss - options, limits.congestion == Congestion::Unlimited),
            receiver: None,
            shift: syn.window_scale.unwrap_or(0),
            has_timestamps: syn.timestamp.is_some(),
            has_sack: syn.sack_permitted,
            shaken: Some(now),
            first: syn.seq,
            heard: None,
            window: 0,
            window_from: 0,
        }
    }

    /// Returns the first number of ours.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// Takes that the first segment was sent again: the round trip cannot be told any more.
    pub(super) fn begin_again(&mut self) {
        self.shaken = None;
    }

    /// Takes the peer's first segment.
    pub(super) fn meet(&mut self, syn: &Segment, limits: &Limits) {
        self.has_timestamps &= syn.timestamp.is_some();
        self.has_sack &= syn.sack_permitted;
        if syn.window_scale.is_none() {
            self.shift = 0;
        }
        let options = if self.has_timestamps { TIMESTAMP } else { 0 };
        let peer = syn.mss.filter(|mss| *mss > 0).map_or(536, usize::from);
        let mss = limits.mss.min(peer).saturating_sub(options).max(8);
        self.sender.set_mss(mss);
        let mut receiver =
            Receiver::new(syn.seq, self.shift, limits.receive_buffer, limits.mss - options, limits.acknowledge_after);
        let arrival = Arrival { seq: syn.seq, size: 0, is_last: false, stamp: syn.timestamp };
        receiver.take_stamp(&arrival, 0);
        self.receiver = Some(receiver);
    }

    /// Takes a segment of the stack's that begins nothing and breaks nothing off.
    pub(super) fn leave(&mut self, segment: &Segment, packet: &[u8]) {
        let Some(receiver) = &mut self.receiver else { return };
        if let Some(ack) = segment.ack {
            receiver.hear(ack, segment.window, self.shift);
        }
        let is_last = segment.control == TcpControl::Fin;
        let payload = &packet[segment.payload.clone()];
        if payload.is_empty() && !is_last {
            // It has more room, or answers something that it does not take.
            if receiver.is_acknowledged() {
                receiver.hurry();
            }
            return;
        }
        self.sender.write(place(segment.seq, self.sender.next()), payload, is_last);
    }

    /// Takes that the stack answers the peer's first segment, whose window has no scale.
    pub(super) fn answer(&mut self, syn: &Segment, now: Instant) {
        if let (Some(receiver), Some(ack)) = (&mut self.receiver, syn.ack) {
            receiver.hear(ack, syn.window, 0);
            receiver.say(false, false, now);
        }
    }

    /// Takes the peer's answer to our first segment.
    pub(super) fn be_answered(&mut self, syn: &Segment, limits: &Limits, now: Instant) {
        if self.receiver.is_some() || syn.ack != Some(self.first.wrapping_add(1)) {
            return;
        }
        self.meet(syn, limits);
        self.shake(now);
        if let Some(receiver) = &mut self.receiver {
            receiver.hurry();
        }
    }

    fn shake(&mut self, now: Instant) {
        if let Some(shaken) = self.shaken.take() {
            self.sender.shook_hands(now.saturating_duration_since(shaken));
        }
    }

    /// Takes a segment of the peer's that begins nothing and breaks nothing off.
    pub(super) fn arrive(&mut self, segment: &Segment, mut packet: Vec<u8>, clock: u32, now: Instant, io: &mut Io) {
        let Some(ack) = segment.ack else { return };
        if self.receiver.is_none() {
            io.for_stack.push(packet);
            return;
        }
        let ack = place(ack, self.sender.una());
        if ack > self.sender.next() {
            return;
        }
        self.shake(now);
        let is_last = segment.control == TcpControl::Fin;
        let arrival = Arrival { seq: segment.seq, size: segment.payload.len(), is_last, stamp: segment.timestamp };
        self.hear(segment, ack, now);
        let Some(receiver) = &mut self.receiver else { return };
        if self.has_timestamps {
            receiver.take_stamp(&arrival, clock);
        }
        let (una, window) = (self.sender.una(), self.window);
        let verdict = receiver.take(&arrival, || packet[segment.payload.clone()].to_vec(), now);
        if verdict == Verdict::InOrder {
            // The stack would throw away what comes with an acknowledgement of before.
            segment.patch(&mut packet, una as u32, window);
            io.for_stack.push(packet);
            let draft = Draft::bare(segment.of_sender(), una as u32, window);
            while let Some((start, payload, is_last)) = receiver.take_waiting(now) {
                let mut packet = io.spare.pop().unwrap_or_default();
                Draft { seq: start as u32, is_last, payload: [&payload, &[]], ..draft }.write(&mut packet);
                io.for_stack.push(packet);
            }
            self.heard = Some((una, window));
            return;
        }
        io.recycle(packet);
        if self.heard.is_none_or(|(heard, of)| una > heard || window != of) {
            let draft = Draft { seq: receiver.next() as u32, ..Draft::bare(segment.of_sender(), una as u32, window) };
            let mut packet = io.spare.pop().unwrap_or_default();
            draft.write(&mut packet);
            io.for_stack.push(packet);
            self.heard = Some((una, window));
        }
    }

    /// Takes what a segment says of ours.
    fn hear(&mut self, segment: &Segment, ack: Place, now: Instant) {
        let Some(receiver) = &self.receiver else { return };
        let seq = place(segment.seq, receiver.next());
        // RFC 9293, section 3.10.7.4: of two segments, the later says what the window is.
        let is_later = ack > self.sender.una() || seq > self.window_from;
        let is_larger = seq == self.window_from && segment.window > self.window;
        if ack >= self.sender.una() && (is_later || is_larger || self.heard.is_none()) {
            (self.window, self.window_from) = (segment.window, seq);
        }
        let mut blocks = [(0, 0); 3];
        let mut count = 0;
        let mut is_duplicate = false;
        let told = segment.blocks.iter().flatten().filter(|_| self.has_sack);
        let told = told.map(|(start, end)| [*start, *end].map(|seq| place(seq, ack)));
        let told: Vec<_> = told.collect();
        for (number, [start, end]) in told.iter().copied().enumerate() {
            // Only the first can be of what has arrived twice (RFC 2883).
            let is_inside = number == 0 && told.get(1).is_some_and(|[from, to]| *from <= start && end <= *to);
            if start < ack || is_inside {
                is_duplicate = true;
            } else if start < end && end <= self.sender.next() {
                blocks[count] = (start, end);
                count += 1;
            }
        }
        let ack = Ack {
            una: ack,
            blocks: &blocks[..count],
            is_duplicate,
            is_empty: segment.payload.is_empty() && segment.control == TcpControl::None,
            echo: segment.timestamp.filter(|_| self.has_timestamps).map(|(_, echo)| echo),
            is_closed: self.window == 0,
        };
        self.sender.acknowledge(&ack, now);
    }

    /// Sends all that may leave now.
    pub(super) fn flush(&mut self, clock: u32, now: Instant, io: &mut Io) {
        let Some(receiver) = &mut self.receiver else { return };
        self.sender.handle_timeout(now);
        let mut is_sent = false;
        loop {
            let blocks = if self.has_sack { receiver.blocks() } else { Vec::new() };
            let less = bytes_of_blocks(blocks.len());
            let departure = self.sender.depart(now, clock, less);
            if departure.is_none() && !receiver.is_due(now) {
                break;
            }
            let (payload, is_last) =
                departure.map_or(([&[][..]; 2], false), |departure| self.sender.contents(&departure));
            // What is sent again may have no room for them.
            let size = payload[0].len() + payload[1].len();
            let blocks = if size + less <= self.sender.mss() { &blocks[..] } else { &[] };
            let (ack, window, echo) = receiver.say(departure.is_some(), !blocks.is_empty(), now);
            let seq = departure.map_or(self.sender.next(), |Departure { start, .. }| start);
            let is_pushed = departure.is_some_and(|departure| self.sender.is_behind_all(&departure));
            let timestamp = self.has_timestamps.then_some((clock, echo));
            let ends = self.ends;
            let draft = Draft { ends, seq: seq as u32, ack, window, is_pushed, is_last, timestamp, blocks, payload };
            let mut packet = io.spare.pop().unwrap_or_default();
            draft.write(&mut packet);
            io.leaving.push(packet);
            if departure.is_none() {
                break;
            }
            is_sent = true;
        }
        if is_sent {
            self.sender.rest(now);
        }
    }

    /// Returns how many bytes an application may have waiting.
    pub(super) fn buffer(&self) -> usize {
        self.sender.buffer()
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        [self.sender.next_timeout(), self.receiver.as_ref()?.next_timeout()].into_iter().flatten().min()
    }
}

//! Messages on a connection: a head that says how long the body is, and a body that nobody looks at.

use std::collections::VecDeque;
use std::time::Duration;

/// Bytes of a request's head.
pub(super) const REQUEST: usize = 16;

/// Bytes of the head of a part of an answer: a frame's (9; RFC 9113, section 4.1) and what TLS adds to a record (5 + 1 + 16; RFC
/// 8446, section 5.2).
pub(super) const FRAME: usize = 31;

/// Bytes of the head of an answer on a stream of its own: what says something of the other, and as many as two frames' heads have (RFC
/// 9114, section 7.1).
pub(super) const PART: usize = 9;

/// The most bytes of a part's body, which fits a record (RFC 8446, section 5.1).
pub(super) const MAX_PART: u32 = 16_384 - 9;

static ZEROS: [u8; 1 << 14] = [0; 1 << 14];

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) id: u32,
    /// Bytes of the request, its head counted.
    pub(super) up: u32,
    pub(super) down: u32,
    pub(super) think: Duration,
}

impl Ask {
    pub(super) fn head(self) -> Vec<u8> {
        let think = u32::try_from(self.think.as_millis()).unwrap_or(u32::MAX);
        [self.id, self.up, self.down, think].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    pub(super) fn parse(head: &[u8; REQUEST]) -> Self {
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let think = Duration::from_millis(number(12).into());
        Self { id: number(0), up: number(4).max(REQUEST as u32), down: number(8), think }
    }

    pub(super) fn body(self) -> u32 {
        self.up - REQUEST as u32
    }
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: u32,
    pub(super) length: u32,
    pub(super) is_last: bool,
}

impl Part {
    pub(super) fn head(self) -> Vec<u8> {
        let mut head = self.short_head();
        head.resize(FRAME, 0);
        head
    }

    pub(super) fn short_head(self) -> Vec<u8> {
        let mut head = Vec::with_capacity(FRAME);
        head.extend(self.id.to_be_bytes());
        head.extend(self.length.to_be_bytes());
        head.push(self.is_last.into());
        head
    }

    /// Reads a head of either length.
    pub(super) fn parse<const HEAD: usize>(head: &[u8; HEAD]) -> Self {
        const { assert!(HEAD >= PART) };
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Self { id: number(0), length: number(4), is_last: head[8] != 0 }
    }
}

/// Messages that wait to be sent: as many as whoever fills it puts there.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What is left of a head, and how long the body is.
    messages: VecDeque<(Vec<u8>, u32)>,
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn push(&mut self, head: Vec<u8>, body: u32) {
        self.messages.push_back((head, body));
    }

    /// Sends what there is room for, by a function that returns how many bytes it took.
    pub(super) fn flush(&mut self, mut send: impl FnMut(&[u8]) -> usize) {
        while let Some((head, body)) = self.messages.front_mut() {
            let sent = send(head);
            head.drain(..sent);
            while head.is_empty() && *body > 0 {
                let sent = send(&ZEROS[..ZEROS.len().min(*body as usize)]);
                *body -= sent as u32;
                if sent == 0 {
                    return;
                }
            }
            if !head.is_empty() {
                return;
            }
            self.messages.pop_front();
        }
    }
}

/// Messages that arrive in pieces.
#[derive(Debug)]
pub(super) struct Incoming<const HEAD: usize> {
    head: [u8; HEAD],
    /// Bytes of the head that are there.
    read: usize,
    /// Bytes of the body that are not.
    missing: usize,
}

impl<const HEAD: usize> Default for Incoming<HEAD> {
    fn default() -> Self {
        Self { head: [0; HEAD], read: 0, missing: 0 }
    }
}

impl<const HEAD: usize> Incoming<HEAD> {
    /// Takes bytes. `body` says by a head how long its body is, and `complete` is told of each message that has arrived.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        body: impl Fn(&[u8; HEAD]) -> u32,
        mut complete: impl FnMut(&[u8; HEAD]),
    ) {
        while !bytes.is_empty() {
            if self.read < HEAD {
                let taken = bytes.len().min(HEAD - self.read);
                self.head[self.read..self.read + taken].copy_from_slice(&bytes[..taken]);
                self.read += taken;
                bytes = &bytes[taken..];
                if self.read < HEAD {
                    return;
                }
                self.missing = body(&self.head) as usize;
            }
            let taken = bytes.len().min(self.missing);
            self.missing -= taken;
            bytes = &bytes[taken..];
            if self.missing == 0 {
                self.read = 0;
                complete(&self.head);
            }
        }
    }
}

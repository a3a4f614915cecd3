//! What a client does, as data.

use std::time::Duration;

use super::Protocol;

/// The most requests of a plan.
pub const MAX_REQUESTS: usize = 100_000;

/// The most origins of a plan: each has up to six connections.
pub const MAX_ORIGINS: usize = 10;

/// The most bytes of a request or an answer.
pub const MAX_BYTES: u32 = 1 << 30;

/// The most streams of a plan.
pub(super) const MAX_STREAMS: usize = 16;

/// The least bytes of a stream's datagram, and the most: what fits an MTU of 1,280.
const DATAGRAM: std::ops::RangeInclusive<u16> = 12..=1_252;

/// The most datagrams of a stream.
const MAX_DATAGRAMS: u32 = 10_000_000;

/// A request and its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// The requests whose answers must be there before; each is an earlier one.
    pub after: Vec<usize>,
    /// How long after the last of them it is made, or after the start.
    pub delay: Duration,
    /// How long after the start it is made at the earliest.
    pub not_before: Duration,
    /// Bytes of the request with its header, up to [`MAX_BYTES`]; less than 16 are 16.
    pub up: u32,
    /// Bytes of the answer with its header, up to [`MAX_BYTES`].
    pub down: u32,
    /// How long the server takes before it answers, in whole milliseconds: less than one is none.
    pub think: Duration,
    /// Whom it goes to, below [`MAX_ORIGINS`]: origins share no connections.
    pub origin: usize,
}

/// Datagrams at an even pace, both ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stream {
    /// How long after the start the first leaves.
    pub start: Duration,
    /// The time between two, 1 ms or more.
    pub every: Duration,
    /// How many go each way, up to 10,000,000.
    pub count: u32,
    /// Bytes of one from the client, from 12 to 1,252, without the headers of UDP and IP.
    pub up: u16,
    /// Bytes of one from the server, alike.
    pub down: u16,
}

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// It has too many requests.
    #[error("a plan of {0} requests, expected at most {MAX_REQUESTS}")]
    TooManyRequests(usize),
    /// It has too many streams.
    #[error("a plan of {0} streams, expected at most {MAX_STREAMS}")]
    TooManyStreams(usize),
    /// A request waits for one that is not before it.
    #[error("request {request}: it waits for request {after}, expected an earlier one")]
    NotBefore {
        /// The request, from 0 on.
        request: usize,
        /// What it waits for.
        after: usize,
    },
    /// A request has an origin that is too high.
    #[error("request {request}: origin {origin}, expected less than {MAX_ORIGINS}")]
    Origin {
        /// The request.
        request: usize,
        /// Its origin.
        origin: usize,
    },
    /// A request or its answer is too large.
    #[error("request {request}: {bytes} bytes, expected at most {MAX_BYTES}")]
    TooLarge {
        /// The request.
        request: usize,
        /// Its bytes, or those of the answer.
        bytes: u32,
    },
    /// A request begins or waits for longer than a plan can take.
    #[error("request {request}: a time of {time:?}, expected at most 30 days")]
    TooLong {
        /// The request.
        request: usize,
        /// The time.
        time: Duration,
    },
    /// A stream is out of its ranges.
    #[error(
        "stream {0}: expected 12 to 1,252 bytes each way, 1 ms to 1 hour between them, up to 10,000,000, in 30 days"
    )]
    Stream(usize),
}

/// What a client does: requests and streams that have been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    requests: Vec<Request>,
    streams: Vec<Stream>,
    protocol: Protocol,
}

impl Plan {
    /// The longest time in a plan.
    pub(super) const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Returns a plan of requests and streams.
    ///
    /// # Errors
    /// When one is out of its range; the error says which.
    pub fn new(requests: Vec<Request>, streams: Vec<Stream>) -> Result<Self, PlanError> {
        if requests.len() > MAX_REQUESTS {
            return Err(PlanError::TooManyRequests(requests.len()));
        }
        if streams.len() > MAX_STREAMS {
            return Err(PlanError::TooManyStreams(streams.len()));
        }
        for (number, request) in requests.iter().enumerate() {
            check(number, request)?;
        }
        let is_fine = |stream: &Stream| {
            [stream.up, stream.down].iter().all(|bytes| DATAGRAM.contains(bytes))
                && (Duration::from_millis(1)..=Duration::from_secs(3_600)).contains(&stream.every)
                && stream.count <= MAX_DATAGRAMS
                && stream.start.saturating_add(stream.every.saturating_mul(stream.count)) <= Self::LONGEST
        };
        match streams.iter().position(|stream| !is_fine(stream)) {
            Some(number) => Err(PlanError::Stream(number)),
            None => Ok(Self { requests, streams, protocol: Protocol::default() }),
        }
    }

    /// Returns the same over another protocol.
    pub fn over(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// Returns how requests share connections.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Returns the requests.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Returns the streams.
    pub fn streams(&self) -> &[Stream] {
        &self.streams
    }

    /// Returns the bytes of all requests and of the client's datagrams.
    pub fn up(&self) -> u64 {
        let requests: u64 = self.requests.iter().map(|request| u64::from(request.up)).sum();
        requests + self.streams.iter().map(|stream| u64::from(stream.up) * u64::from(stream.count)).sum::<u64>()
    }

    /// Returns the bytes of all answers and of the server's datagrams.
    pub fn down(&self) -> u64 {
        let answers: u64 = self.requests.iter().map(|request| u64::from(request.down)).sum();
        answers + self.streams.iter().map(|stream| u64::from(stream.down) * u64::from(stream.count)).sum::<u64>()
    }

    /// Returns this plan and another that begins at `start`, with connections of its own. The protocol is this one's.
    ///
    /// # Errors
    /// When the two together are too much.
    pub fn with(mut self, other: &Self, start: Duration) -> Result<Self, PlanError> {
        let first = self.requests.len();
        let origins = self.requests.iter().map(|request| request.origin + 1).max().unwrap_or(0);
        self.requests.extend(other.requests.iter().map(|request| Request {
            after: request.after.iter().map(|after| after + first).collect(),
            not_before: request.not_before.saturating_add(start),
            delay: if request.after.is_empty() { request.delay.saturating_add(start) } else { request.delay },
            origin: request.origin + origins,
            ..*request
        }));
        self.streams.extend(
            other.streams.iter().map(|stream| Stream { start: stream.start.saturating_add(start), ..stream.clone() }),
        );
        Ok(Self { protocol: self.protocol, ..Self::new(self.requests, self.streams)? })
    }
}

fn check(number: usize, request: &Request) -> Result<(), PlanError> {
    if let Some(after) = request.after.iter().find(|after| **after >= number) {
        return Err(PlanError::NotBefore { request: number, after: *after });
    }
    if request.origin >= MAX_ORIGINS {
        return Err(PlanError::Origin { request: number, origin: request.origin });
    }
    if let Some(bytes) = [request.up, request.down].into_iter().find(|bytes| *bytes > MAX_BYTES) {
        return Err(PlanError::TooLarge { request: number, bytes });
    }
    let times = [request.delay, request.not_before, request.think];
    if let Some(time) = times.into_iter().find(|time| *time > Plan::LONGEST) {
        return Err(PlanError::TooLong { request: number, time });
    }
    Ok(())
}

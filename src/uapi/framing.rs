//! Cuts what a client sends into requests: each ends with an empty line.

use zeroize::Zeroizing;

use super::request::{MAX_LINE, MAX_REQUEST, RequestError};
use crate::secret::SecretBuffer;

/// Collects bytes until they hold a request. Holds at most [`MAX_REQUEST`] bytes and one read more.
pub(super) struct Framer {
    received: SecretBuffer,
    /// Where the line starts that is not yet known to be whole.
    line_start: usize,
}

impl Framer {
    pub(super) fn new() -> Self {
        Self { received: SecretBuffer::with_capacity(1024), line_start: 0 }
    }

    /// Takes what was read from the client.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.received.push(bytes);
    }

    /// Tells whether nothing of a next request has come.
    pub(super) fn is_empty(&self) -> bool {
        self.received.as_bytes().is_empty()
    }

    /// Returns the next request with its empty line, or `None` if more has to come.
    ///
    /// # Errors
    /// When what has come is too long for a request, or is not text. The framer is of no use afterwards.
    pub(super) fn next_request(&mut self) -> Result<Option<Zeroizing<String>>, RequestError> {
        loop {
            let received = self.received.as_bytes();
            let rest = &received[self.line_start..];
            let line_length = rest.iter().position(|byte| *byte == b'\n');
            if line_length.unwrap_or(rest.len()) > MAX_LINE {
                return Err(RequestError::LineTooLong);
            }
            let end = self.line_start + line_length.map_or(rest.len(), |length| length + 1);
            if end > MAX_REQUEST {
                return Err(RequestError::TooLong);
            }
            match line_length {
                None => return Ok(None),
                Some(0) => {
                    self.line_start = 0;
                    return self.received.take_text(end).map(Some).ok_or(RequestError::NotText);
                }
                Some(_) => self.line_start = end,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(framer: &mut Framer) -> Option<String> {
        framer.next_request().unwrap().map(|request| request.to_string())
    }

    #[test]
    fn an_empty_line_ends_a_request() {
        let mut framer = Framer::new();
        framer.push(b"get=1\n\nset=1\nfwmark=");
        assert_eq!(text(&mut framer).unwrap(), "get=1\n\n");
        assert_eq!(text(&mut framer), None);
        framer.push(b"1\n\n");
        assert_eq!(text(&mut framer).unwrap(), "set=1\nfwmark=1\n\n");
        assert!(framer.is_empty());
    }

    #[test]
    fn an_empty_first_line_is_a_request_of_its_own() {
        let mut framer = Framer::new();
        framer.push(b"\nget=1\n\n");
        assert_eq!(text(&mut framer).unwrap(), "\n");
        assert_eq!(text(&mut framer).unwrap(), "get=1\n\n");
    }

    #[test]
    fn a_long_line_is_refused_before_it_ends() {
        let mut framer = Framer::new();
        framer.push(&vec![b'x'; MAX_LINE]);
        assert_eq!(framer.next_request(), Ok(None));
        framer.push(b"x");
        assert_eq!(framer.next_request(), Err(RequestError::LineTooLong));
    }

    #[test]
    fn a_long_request_is_refused_before_it_ends() {
        let mut framer = Framer::new();
        let line = [b"x".repeat(MAX_LINE - 1), b"\n".to_vec()].concat();
        for _ in 0..MAX_REQUEST / MAX_LINE {
            framer.push(&line);
            assert_eq!(framer.next_request(), Ok(None));
        }
        framer.push(b"x");
        assert_eq!(framer.next_request(), Err(RequestError::TooLong));
    }

    #[test]
    fn what_is_not_text_is_refused() {
        let mut framer = Framer::new();
        framer.push(b"set=1\n\xff\n\n");
        assert_eq!(framer.next_request(), Err(RequestError::NotText));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_reads_end(
            requests in prop::collection::vec("([a-z=]{1,9}\n){1,5}\n", 1..5),
            sizes in prop::collection::vec(1..7usize, 1..20),
        ) {
            let (mut framer, mut cut) = (Framer::new(), Vec::new());
            let stream = requests.concat();
            let mut rest = stream.as_bytes();
            for size in sizes.iter().cycle() {
                let (now, later) = rest.split_at((*size).min(rest.len()));
                framer.push(now);
                while let Some(request) = text(&mut framer) {
                    cut.push(request);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(cut, requests);
        }
    }
}

//! One client of the server: requests in, responses out.

use std::io;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::debug;
use zeroize::Zeroizing;

use super::conversations::Waiting;
use super::framing::Framer;
use super::request::{self, Request, RequestError};
use super::{Configure, apply_errno, response};

/// Bytes read at once.
const READ_SIZE: usize = 4096;

/// What a client gets, and whether the conversation goes on after it.
struct Answer {
    text: Zeroizing<String>,
    last: bool,
}

/// Answers requests until the client hangs up, sends something that is not a request, or lets `deadline` pass with a
/// request, or the reading of a response, unfinished. `waiting` tells since when it has waited for the client.
pub(super) async fn converse(mut stream: UnixStream, device: &impl Configure, deadline: Duration, waiting: &Waiting) {
    let mut framer = Framer::new();
    loop {
        let answer = match timeout(deadline, read_request(&mut stream, &mut framer, waiting)).await {
            Ok(Ok(Some(read))) => {
                waiting.pause();
                answer(device, read)
            }
            Ok(Ok(None)) => return,
            Ok(Err(error)) => {
                debug!(%error, "cannot read from the client of the configuration socket");
                return;
            }
            Err(_) => {
                debug!(
                    seconds = deadline.as_secs(),
                    "the client of the configuration socket sent no whole request in time"
                );
                return;
            }
        };
        waiting.anew();
        let written = timeout(deadline, write_response(&mut stream, answer.text.as_bytes(), waiting)).await;
        if answer.last || !matches!(written, Ok(Ok(()))) {
            return;
        }
    }
}

/// Reads until there is a request; `None` when the client has hung up between requests.
async fn read_request(
    stream: &mut UnixStream,
    framer: &mut Framer,
    waiting: &Waiting,
) -> io::Result<Option<Result<Zeroizing<String>, RequestError>>> {
    let mut chunk = Zeroizing::new([0; READ_SIZE]);
    loop {
        if let Some(request) = framer.next_request().transpose() {
            return Ok(Some(request));
        }
        match stream.read(&mut *chunk).await? {
            0 if framer.is_empty() => return Ok(None),
            0 => return Ok(Some(Err(RequestError::Unfinished))),
            count => framer.push(&chunk[..count]),
        }
        waiting.anew();
    }
}

/// Writes all of a response, as fast as the client reads it.
async fn write_response(stream: &mut UnixStream, mut text: &[u8], waiting: &Waiting) -> io::Result<()> {
    while !text.is_empty() {
        match stream.write(text).await? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => text = &text[count..],
        }
        waiting.anew();
    }
    Ok(())
}

fn answer(device: &impl Configure, read: Result<Zeroizing<String>, RequestError>) -> Answer {
    let zone_index = |name: &str| if_nametoindex(name).ok();
    match read.and_then(|text| request::parse(&text, zone_index)) {
        Ok(Request::Get) => Answer { text: response::format(&device.status()), last: false },
        Ok(Request::Set(update)) => {
            let errno = match device.apply(update) {
                Ok(()) => 0,
                Err(error) => {
                    debug!(%error, "a request on the configuration socket was not applied");
                    apply_errno(&error)
                }
            };
            Answer { text: Zeroizing::new(response::format_errno(errno)), last: false }
        }
        Err(error) => {
            debug!(%error, "refused a request on the configuration socket");
            Answer { text: Zeroizing::new(response::format_errno(error.errno())), last: true }
        }
    }
}

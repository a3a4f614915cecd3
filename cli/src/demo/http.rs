//! The web server: HTTP/1.1 with connections kept alive, as far away and as fast as an ordinary web server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::site::{self, Object};

/// Time from a request to its answer: a network's round trip and a server's thought.
const THINKING: Duration = Duration::from_millis(20);

/// Bytes sent at once on one connection.
const CHUNK: usize = 4 * 1024;

/// Time between two chunks: with [`CHUNK`] at most 2 MB a second for each connection.
const CHUNK_INTERVAL: Duration = Duration::from_millis(2);

/// Most bytes of a request.
const MAX_REQUEST: u64 = 8 * 1024;

/// Answers on `listener` until the task is dropped. A connection that misbehaves is closed.
pub(super) async fn serve(listener: TcpListener) {
    let site = Arc::new(site::objects());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let site = Arc::clone(&site);
                // A connection that breaks shows as a failed load at the client.
                tokio::spawn(async move { answer(stream, &site).await.ok() });
            }
            // Out of descriptors, or the caller is gone already: the next may do.
            Err(_) => tokio::time::sleep(THINKING).await,
        }
    }
}

async fn answer(stream: TcpStream, site: &[Object]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(path) = read_request(&mut stream).await? {
        tokio::time::sleep(THINKING).await;
        let object = site.iter().find(|object| object.path == path);
        let (status, body) = object.map_or(("404 Not Found", &b""[..]), |object| ("200 OK", &object.body));
        let head = format!(
            "HTTP/1.1 {status}\r\nserver: maybetun-demo\r\ncache-control: no-store\r\nvary: accept-encoding\r\n\
             content-length: {}\r\nconnection: keep-alive\r\n\r\n",
            body.len()
        );
        stream.get_mut().write_all(head.as_bytes()).await?;
        for (index, chunk) in body.chunks(CHUNK).enumerate() {
            if index > 0 {
                tokio::time::sleep(CHUNK_INTERVAL).await;
            }
            stream.get_mut().write_all(chunk).await?;
        }
    }
    Ok(())
}

/// Reads one request without a body and returns its path; `None` when the client has closed the connection.
async fn read_request(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut request = stream.take(MAX_REQUEST);
    let mut line = String::new();
    if request.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_ascii_whitespace();
    let (Some("GET"), Some(path)) = (words.next(), words.next()) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a GET request"));
    };
    let path = path.to_owned();
    loop {
        line.clear();
        if request.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == "\r\n" {
            return Ok(Some(path));
        }
    }
}

//! The client's side of the page load: what a browser asks for, in a browser's order, on a browser's connections.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::site::{self, Kind, Object};

/// Most connections at once: what browsers open to one HTTP/1.1 server.
const CONNECTIONS: usize = 6;

/// Most bytes of an answer's head.
const MAX_HEAD: u64 = 8 * 1024;

/// Most bytes of an object.
const MAX_BODY: usize = 1 << 20;

/// What a page load delivered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct PageLoad {
    /// Objects, the page itself among them.
    pub(super) objects: usize,
    /// Bytes of their bodies.
    pub(super) bytes: u64,
    /// Milliseconds from the first connection to the last byte.
    pub(super) ms: f64,
}

/// Loads the page at `server`: the document first, then style sheets and scripts, then fonts and images, on up to six
/// connections. Every byte is compared with the site's.
///
/// # Errors
/// When a connection fails, an answer is malformed, or an object is missing or differs.
pub(super) async fn load(server: SocketAddr) -> anyhow::Result<PageLoad> {
    let start = Instant::now();
    let mut first = Connection::open(server).await?;
    let document = first.get(site::DOCUMENT).await?;
    let mut pool = vec![first];
    let mut paths = links(&String::from_utf8_lossy(&document));
    let mut loaded = vec![Object { path: site::DOCUMENT.to_owned(), body: document }];

    paths.sort_by_key(|path| Kind::of(path));
    for phase in paths.chunk_by(|a, b| Kind::of(a) == Kind::of(b)) {
        loaded.extend(load_all(server, &mut pool, phase.to_vec()).await?);
    }
    let elapsed = start.elapsed();

    compare(&mut loaded)?;
    Ok(PageLoad {
        objects: loaded.len(),
        bytes: loaded.iter().map(|object| object.body.len() as u64).sum(),
        ms: (elapsed.as_secs_f64() * 100_000.0).round() / 100.0,
    })
}

/// Gets every path, each connection taking the next path when it has finished one.
async fn load_all(server: SocketAddr, pool: &mut Vec<Connection>, paths: Vec<String>) -> anyhow::Result<Vec<Object>> {
    let paths = Arc::new(paths);
    let next = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..paths.len().min(CONNECTIONS) {
        let (kept, paths, next) = (pool.pop(), Arc::clone(&paths), Arc::clone(&next));
        tasks.spawn(async move {
            let mut connection = match kept {
                Some(connection) => connection,
                None => Connection::open(server).await?,
            };
            let mut objects = Vec::new();
            while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
                objects.push(Object { path: path.clone(), body: connection.get(path).await? });
            }
            anyhow::Ok((connection, objects))
        });
    }
    let mut loaded = Vec::new();
    while let Some(finished) = tasks.join_next().await {
        let (connection, objects) = finished.context("a connection's task ended early")??;
        pool.push(connection);
        loaded.extend(objects);
    }
    Ok(loaded)
}

/// Checks that exactly the site was loaded.
fn compare(loaded: &mut [Object]) -> anyhow::Result<()> {
    let mut expected = site::objects();
    expected.sort_by(|a, b| a.path.cmp(&b.path));
    loaded.sort_by(|a, b| a.path.cmp(&b.path));
    ensure!(loaded.len() == expected.len(), "{} objects were loaded, not {}", loaded.len(), expected.len());
    for (got, wanted) in loaded.iter().zip(&expected) {
        ensure!(got == wanted, "{} arrived changed", got.path);
    }
    Ok(())
}

/// Returns the targets of `href` and `src` attributes on the page's own server, in order.
fn links(html: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = html;
    while let Some((before, after)) = rest.split_once("=\"") {
        let Some((value, behind)) = after.split_once('"') else { break };
        if (before.ends_with(" href") || before.ends_with(" src")) && value.starts_with('/') {
            found.push(value.to_owned());
        }
        rest = behind;
    }
    found
}

/// One connection, kept open from request to request.
#[derive(Debug)]
struct Connection {
    stream: BufReader<TcpStream>,
    server: SocketAddr,
}

impl Connection {
    async fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await.with_context(|| format!("cannot connect to {server}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream), server })
    }

    async fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.try_get(path).await.with_context(|| format!("cannot load http://{}{path}", self.server))
    }

    async fn try_get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: {}\r\nuser-agent: maybetun-demo\r\naccept: text/html,application/xhtml+xml,\
             application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\naccept-language: en-US,en;q=0.5\r\n\
             accept-encoding: identity\r\nconnection: keep-alive\r\n\r\n",
            self.server
        );
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let length = self.read_head().await?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await.context("the answer is cut short")?;
        Ok(body)
    }

    /// Reads an answer's head and returns the length of its body in bytes.
    async fn read_head(&mut self) -> anyhow::Result<usize> {
        let mut head = (&mut self.stream).take(MAX_HEAD);
        let mut line = String::new();
        head.read_line(&mut line).await?;
        if line.split_ascii_whitespace().nth(1) != Some("200") {
            bail!("the server answered {:?}", line.trim_end());
        }
        let mut length = None;
        loop {
            line.clear();
            ensure!(head.read_line(&mut line).await? > 0, "the answer's head is cut short");
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>().context("the answer's length is not a number")?);
            }
        }
        let length = length.context("the answer does not tell its length")?;
        ensure!(length <= MAX_BODY, "the answer is {length} bytes long, expected at most {MAX_BODY}");
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn links_are_the_attributes_that_name_the_own_server() {
        let html =
            "<a class=\"x\" href=\"/a.css\"><img alt=\"/no\" src=\"/b.png\"><a href=\"https://other/\"><a href=\"/cut";
        assert_eq!(links(html), ["/a.css", "/b.png"]);
    }

    #[test]
    fn the_page_links_to_every_other_object() {
        let site = site::objects();
        let mut paths = links(&String::from_utf8_lossy(&site[0].body));
        paths.insert(0, site::DOCUMENT.to_owned());
        assert_eq!(paths, site.iter().map(|object| object.path.clone()).collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_or_missing_object_is_noticed() {
        assert!(compare(&mut site::objects()).is_ok());
        let mut changed = site::objects();
        changed[7].body[100] ^= 1;
        assert!(compare(&mut changed).unwrap_err().to_string().contains("arrived changed"));
        let mut missing = site::objects();
        missing.pop();
        assert!(compare(&mut missing).is_err());
    }

    #[tokio::test]
    async fn a_load_delivers_the_whole_site() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(super::super::http::serve(listener));
        let page = load(address).await.unwrap();
        server.abort();
        let site = site::objects();
        assert_eq!(page.objects, site.len());
        assert_eq!(page.bytes, site.iter().map(|object| object.body.len() as u64).sum::<u64>());
        assert!(page.ms > 0.0);
    }

    #[tokio::test]
    async fn an_object_that_is_not_there_is_an_error_with_its_address() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(super::super::http::serve(listener));
        let error = Connection::open(address).await.unwrap().get("/nothing.css").await.unwrap_err();
        server.abort();
        let message = format!("{error:#}");
        assert!(message.contains("/nothing.css") && message.contains("404"), "{message}");
    }
}

//! A plan as a web page, and a server of it: HTTP/1.1 or HTTP/2 over TLS, as a browser wants it.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::task::{Context, Poll};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request as Asked, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use socket2::SockRef;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

use super::RealError;
use super::sockets::CONGESTION;
use crate::workload::{Plan, Protocol, Request};

/// The port of the server.
const PORT: u16 = 8_443;

/// The path of what tells that all is there, with the milliseconds that it took.
const DONE: &str = "/done";

/// Bytes of a request that a browser makes by itself; the rest of what the plan says is in its address.
const HEADERS: u32 = 400;

/// The most bytes of a document.
const MAX_DOCUMENT: u32 = 16 << 20;

/// The most bytes that fill an address.
const MAX_FILL: u32 = 4_000;

/// What answers are of, but for the page itself.
static ZEROS: [u8; 1 << 14] = [0; 1 << 14];

/// How a page follows the plan: for each request those that it waits for, its times, and where it goes. It is written after the rest
/// of the document, so that all of that is there before.
const SCRIPT: &str = "const c=P.map(()=>[]),w=P.map(p=>p[0].length);let left=P.length-1;\
    P.forEach((p,i)=>p[0].forEach(a=>c[a].push(i)));\
    const end=()=>fetch(`/done?${performance.now()}`);\
    const go=i=>{const[,d,n,o,f]=P[i];setTimeout(async()=>{try{\
    const r=await fetch(`https://o${o}.test:8443/${i}?${'0'.repeat(f)}`);await r.arrayBuffer()}catch{return}\
    c[i].forEach(j=>{if(!--w[j])go(j)});if(!--left)end()},Math.max(d,n-performance.now()))};\
    if(left)P.forEach((p,i)=>{if(i){w[i]-=p[0].filter(a=>!a).length;if(!w[i])go(i)}});else end()";

/// A server of one page. Dropping it ends it.
pub(super) struct Web {
    /// Where the page is.
    pub(super) url: String,
    first: Receiver<Instant>,
    done: Receiver<Duration>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is served.
struct Site {
    plan: Plan,
    page: Bytes,
    first: Sender<Instant>,
    done: Sender<Duration>,
}

impl Web {
    /// Serves a plan at an address of this thread's network. The plan's first request is the page's.
    ///
    /// # Errors
    /// When the plan is no page ([`is_page`]), or the system refuses.
    pub(super) fn start(plan: Plan, address: Ipv4Addr) -> Result<Self, RealError> {
        let page = page(&plan).ok_or(RealError::NoPage)?;
        let listener = TcpListener::bind((address, PORT))?;
        listener.set_nonblocking(true)?;
        let acceptor = acceptor(plan.protocol())?;
        let (called, first) = channel();
        let (told, done) = channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let site = Arc::new(Site { plan, page: page.into(), first: called, done: told });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = Builder::new().name("web".into()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    // The system may refuse a connection; then the page is not there in time.
                    _ = serve(listener, acceptor, site) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { url: format!("https://o0.test:{PORT}/"), first, done, stop: Some(stop), thread: Some(thread) })
    }

    /// Waits until somebody has connected, and returns when that was; `None` if nobody does in time.
    pub(super) fn wait_for_first(&self, until: Instant) -> Option<Instant> {
        self.first.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }

    /// Waits until the page says that all is there, and returns how long it says that took; `None` if it does not in time.
    pub(super) fn wait(&self, until: Instant) -> Option<Duration> {
        self.done.recv_timeout(until.saturating_duration_since(Instant::now())).ok()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.stop = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Tells whether a web page can be what a plan is: requests alone, none larger than an address, the first of them the document's, which is
/// asked for at once and has at most [`MAX_DOCUMENT`] bytes.
fn is_page(plan: &Plan) -> bool {
    let is_document = |request: &Request| {
        request.origin == 0 && request.delay.is_zero() && request.not_before.is_zero() && request.down <= MAX_DOCUMENT
    };
    let is_first = plan.requests().first().is_some_and(is_document);
    is_first && plan.streams().is_empty() && plan.requests().iter().all(|request| request.up <= HEADERS + MAX_FILL)
}

/// Writes the page of a plan, which has at least as many bytes as the plan's first answer; `None` if it is no page.
fn page(plan: &Plan) -> Option<Vec<u8>> {
    let document = plan.requests().first().filter(|_| is_page(plan))?;
    let mut script = "const P=[".to_owned();
    for request in plan.requests() {
        let (delay, not_before) = (request.delay.as_millis(), request.not_before.as_millis());
        let fill = request.up.saturating_sub(HEADERS);
        let _ = write!(script, "[{:?},{delay},{not_before},{},{fill}],", request.after, request.origin);
    }
    let [head, tail] = ["<!doctype html><title>page</title><!--", &format!("--><script>{script}];{SCRIPT}</script>")];
    let filling = (document.down as usize).saturating_sub(head.len() + tail.len());
    Some([head.as_bytes(), &vec![b' '; filling], tail.as_bytes()].concat())
}

/// Returns what encrypts: with a certificate for this run, which nobody has signed.
fn acceptor(protocol: Protocol) -> io::Result<TlsAcceptor> {
    let names: Vec<_> = (0..crate::workload::MAX_ORIGINS).map(|origin| format!("o{origin}.test")).collect();
    let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder().with_no_client_auth();
    let mut config = config.with_single_cert(vec![made.cert.der().clone()], key.into()).map_err(io::Error::other)?;
    config.alpn_protocols = match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 | Protocol::Http3 => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve(listener: TcpListener, acceptor: TlsAcceptor, site: Arc<Site>) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // Who waited for the first hears of no other.
        let _ = site.first.send(Instant::now());
        stream.set_nodelay(true)?;
        let _ = SockRef::from(&stream).set_tcp_congestion(CONGESTION);
        let (acceptor, site) = (acceptor.clone(), Arc::clone(&site));
        tokio::spawn(async move {
            // A browser opens connections that it gives up.
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answer = service_fn(move |asked| answer(asked, Arc::clone(&site)));
            let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

async fn answer(asked: Asked<Incoming>, site: Arc<Site>) -> Result<Response<Answer>, Infallible> {
    let uri = asked.uri();
    let mut response = Response::new(Answer { left: 0, page: None });
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if uri.path() == DONE {
        let took = uri.query().and_then(|query| query.parse::<f64>().ok());
        let took = took.and_then(|took| Duration::try_from_secs_f64(took / 1e3).ok());
        // Who waited may have given up.
        let _ = took.map(|took| site.done.send(took));
        return Ok(response);
    }
    let number = uri.path().trim_start_matches('/');
    let number = if number.is_empty() { Some(0) } else { number.parse::<usize>().ok() };
    match number.and_then(|number| Some((number, site.plan.requests().get(number)?))) {
        None => *response.status_mut() = StatusCode::NOT_FOUND,
        Some((number, request)) => {
            tokio::time::sleep(request.think).await;
            if number == 0 {
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
                *response.body_mut() = Answer { left: 0, page: Some(site.page.clone()) };
            } else {
                response.body_mut().left = request.down as usize;
            }
        }
    }
    Ok(response)
}

/// The body of an answer: the page, or zeros.
struct Answer {
    left: usize,
    page: Option<Bytes>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(page) = self.page.take() {
            return Poll::Ready(Some(Ok(Frame::data(page))));
        }
        let size = self.left.min(ZEROS.len());
        self.left -= size;
        Poll::Ready((size > 0).then(|| Ok(Frame::data(Bytes::from_static(&ZEROS[..size])))))
    }

    fn is_end_stream(&self) -> bool {
        self.page.is_none() && self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.page.as_ref().map_or(self.left, Bytes::len) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Site as Drawn, bulk_up, call, idle};

    #[test]
    fn a_page_is_as_large_as_its_answer_and_says_what_follows() {
        let plan = Drawn::generate(3).visit(1);
        let text = String::from_utf8(page(&plan).unwrap()).unwrap();
        assert!(text.len() >= plan.requests()[0].down as usize);
        assert_eq!(text.matches(",[").count() + 1, plan.requests().len());
        let [first, second] = [&plan.requests()[0], &plan.requests()[1]];
        let starts = format!("P=[[[],0,0,0,{}],[[0],{},0,", first.up - HEADERS, second.delay.as_millis());
        assert!(text.contains(&starts), "{starts} in {}", &text[text.len() - 9_000..]);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for plan in [idle(), call(Duration::from_secs(1)), bulk_up(1_000_000)] {
            assert_eq!(page(&plan), None);
        }
    }
}

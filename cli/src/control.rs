//! Asking a tunnel that runs to read its file again, and hearing what came of it: a socket beside its claim.
//!
//! A signal asks too, but cannot be answered. The configuration socket is `wg`'s, which knows nothing of files.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::stat::{Mode, fchmod};
use serde::{Deserialize, Serialize};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::exit::{self, Exit, Failure};
use super::place;
use super::running::Claim;
use super::runtime::ReloadSignal;

/// Longest path that is asked for, in bytes: `PATH_MAX` of Linux.
const MAX_REQUEST: u64 = 4096;

/// Longest answer that is read, in bytes: a line for each of as many peers as a file can have.
const MAX_ANSWER: u64 = 4 * 1024 * 1024;

/// How long whoever connects may take to ask, while others wait.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections that wait for those before them.
const BACKLOG: i32 = 16;

/// What came of a request.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// The exit code for whoever asked.
    exit: u8,
    /// Why it failed, if it did.
    error: Option<String>,
    /// What whoever asked should know.
    pub(crate) warnings: Vec<String>,
    /// What was changed, each in a line.
    pub(crate) changes: Vec<String>,
}

impl Answer {
    /// Says that it was done.
    pub(crate) fn done(changes: Vec<String>, warnings: Vec<String>) -> Self {
        Self { exit: Exit::Success as u8, error: None, warnings, changes }
    }

    /// Says that it failed.
    pub(crate) fn failed(error: &anyhow::Error) -> Self {
        Self { exit: exit::of(error) as u8, error: Some(exit::chain(error)), ..Self::default() }
    }

    /// Returns the failure, if it is one.
    pub(crate) fn failure(&self) -> Option<anyhow::Error> {
        let error = self.error.as_deref()?;
        Some(Failure::error(Exit::from_code(self.exit).unwrap_or(Exit::Failure), error))
    }
}

/// A request to read the file again.
#[derive(Debug)]
pub(crate) struct Request {
    /// The file that whoever asks has in mind; `None` if any.
    pub(crate) file: Option<PathBuf>,
    /// Where the answer goes; nowhere if a signal asked.
    reply: Option<oneshot::Sender<Answer>>,
}

impl Request {
    /// Answers it. Nobody may be waiting any more.
    pub(crate) fn answer(self, answer: Answer) {
        if let Some(reply) = self.reply {
            let _ = reply.send(answer);
        }
    }
}

/// What asks a tunnel to read its file again: the socket, and the signal.
#[derive(Debug)]
pub(crate) struct Control {
    path: PathBuf,
    requests: mpsc::Receiver<Request>,
    signal: ReloadSignal,
    /// One task, which takes requests one by one.
    _listener: JoinSet<()>,
}

impl Control {
    /// Listens for the tunnel that is claimed: what an earlier one left is nobody's.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub(crate) fn new(claim: &Claim, signal: ReloadSignal) -> anyhow::Result<Self> {
        Self::new_in(claim.directory(), claim.name(), signal)
    }

    fn new_in(directory: &Path, name: &str, signal: ReloadSignal) -> anyhow::Result<Self> {
        let path = path_in(directory, name);
        let listener = listen(&path).with_context(|| format!("cannot make the socket {}", path.display()))?;
        let (sender, requests) = mpsc::channel(1);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, sender));
        Ok(Self { path, requests, signal, _listener: tasks })
    }

    /// Waits for the next request. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Request {
        tokio::select! {
            () = self.signal.recv() => Request { file: None, reply: None },
            Some(request) = self.requests.recv() => request,
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // The next tunnel of this name replaces one that stays.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns where the socket is of the tunnel called `name`.
pub(super) fn path_in(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.control"))
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)?;
    // Linux gives the file the mode of the socket, less the umask: it is never more open than this.
    fchmod(socket.as_fd(), Mode::S_IRUSR | Mode::S_IWUSR)?;
    socket.bind(&SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    UnixListener::from_std(socket.into())
}

/// Takes requests, one by one, and passes on what is answered.
async fn serve(listener: UnixListener, requests: mpsc::Sender<Request>) {
    loop {
        let asked = async {
            let (mut stream, _) = listener.accept().await?;
            let mut file = Vec::new();
            let mut asking = (&mut stream).take(MAX_REQUEST);
            tokio::time::timeout(PATIENCE, asking.read_to_end(&mut file))
                .await
                .map_err(|_| io::ErrorKind::TimedOut)??;
            io::Result::Ok((stream, file))
        };
        match asked.await {
            Ok((mut stream, file)) => {
                let file = Some(file).filter(|file| !file.is_empty()).map(|file| OsString::from_vec(file).into());
                let (reply, answer) = oneshot::channel();
                if requests.send(Request { file, reply: Some(reply) }).await.is_err() {
                    return;
                }
                // Without an answer the tunnel is ending, which whoever asked sees by the silence.
                if let Ok(answer) = answer.await {
                    let text = serde_json::to_vec(&answer).unwrap_or_default();
                    // Whoever asked may be gone.
                    let _ = tokio::time::timeout(PATIENCE, stream.write_all(&text)).await;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "nobody was heard on the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Asks the tunnel called `name` to read its file again, which is to be `file` if that is said, and waits for the answer.
///
/// # Errors
/// [`io::ErrorKind::NotFound`] and [`io::ErrorKind::ConnectionRefused`] if there is nobody to ask; or when the tunnel ends
/// meanwhile.
pub(crate) fn ask(name: &str, file: Option<&Path>) -> io::Result<Answer> {
    ask_in(&place::directory(), name, file)
}

fn ask_in(directory: &Path, name: &str, file: Option<&Path>) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path_in(directory, name))?;
    stream.write_all(file.map_or(&[], |file| file.as_os_str().as_bytes()))?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut text = String::new();
    stream.take(MAX_ANSWER).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(|_| io::Error::other("the tunnel ended before it answered"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::Hangup;
    use std::os::unix::fs::PermissionsExt as _;

    fn control(directory: &Path) -> Control {
        Control::new_in(directory, "wg0", ReloadSignal::new(Hangup::Ignored).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn whoever_asks_hears_what_came_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_owned();
        let mut control = control(&place);
        let mode = fs::metadata(path_in(&place, "wg0")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let asks = tokio::task::spawn_blocking(move || ask_in(&place, "wg0", Some(Path::new("/x/wg0.conf"))));
        let request = control.next().await;
        assert_eq!(request.file.as_deref(), Some(Path::new("/x/wg0.conf")));
        request.answer(Answer::failed(&Failure::error(Exit::Config, "no such file")));
        let failure = asks.await.unwrap().unwrap().failure().unwrap();
        assert_eq!((exit::of(&failure), failure.to_string().as_str()), (Exit::Config, "no such file"));
    }

    #[tokio::test]
    async fn a_tunnel_that_ends_is_no_answer_and_neither_is_one_that_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().to_owned();
        let mut control = control(&place);
        let asks = tokio::task::spawn_blocking(move || ask_in(&place, "wg0", None));
        let request = control.next().await;
        assert_eq!(request.file, None);
        drop((request, control));
        assert!(asks.await.unwrap().unwrap_err().to_string().contains("ended"));
        let error = ask_in(directory.path(), "wg0", None).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn what_an_earlier_tunnel_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let left = std::os::unix::net::UnixListener::bind(path_in(directory.path(), "wg0")).unwrap();
        drop(left);
        drop(control(directory.path()));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

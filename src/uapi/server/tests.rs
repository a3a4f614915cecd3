//! The server and the client, face to face over a socket in a directory of their own.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::{JoinHandle, spawn_blocking};

use super::super::conversations::MAX_CONVERSATIONS;
use super::*;
use crate::device::ApplyError;
use crate::keys::{PrivateKey, PublicKey};
use crate::settings::{PeerUpdate, Status, Update};
use crate::uapi::client::{self, ClientError};
use crate::uapi::response::{self, ResponseError};

/// Keeps what it was told, and refuses one port.
#[derive(Clone, Default)]
struct Fake {
    status: Arc<Mutex<Status>>,
    applied: Arc<Mutex<Vec<Update>>>,
}

const PORT_IN_USE: u16 = 7;

impl Configure for Fake {
    fn apply(&self, update: Update) -> Result<(), ApplyError> {
        if update.listen_port == Some(PORT_IN_USE) {
            return Err(ApplyError::Bind { port: PORT_IN_USE, source: io::Error::from_raw_os_error(98) });
        }
        self.applied.lock().unwrap().push(update);
        Ok(())
    }

    fn status(&self) -> Status {
        self.status.lock().unwrap().clone()
    }
}

/// A server that runs in a directory of its own.
struct Running {
    directory: TempDir,
    device: Fake,
    task: JoinHandle<ServeEnd>,
}

impl Running {
    fn start(deadline: Duration) -> Self {
        let (directory, device) = (tempfile::tempdir().unwrap(), Fake::default());
        let mut server = Server::bind_in(directory.path(), "wg0").unwrap();
        server.deadline = deadline;
        let task = tokio::spawn(server.serve(device.clone()));
        Self { directory, device, task }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("wg0.sock")).await.unwrap()
    }

    /// Sends `request` over a connection of its own and returns everything that comes back.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        response
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Lets time pass for the server without waiting for it. What was written before is read first: the clock stands only while it
/// is set, for it would run ahead of sockets.
async fn pass(time: Duration) {
    tokio::time::sleep(Duration::from_millis(20)).await;
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn several_requests_share_a_connection() {
    let server = Running::start(DEADLINE);
    server.device.status.lock().unwrap().listen_port = 51820;
    let response = server.exchange(b"get=1\n\nset=1\nfwmark=4\n\nget=1\n\n").await;
    assert_eq!(response, "listen_port=51820\nerrno=0\n\nerrno=0\n\nlisten_port=51820\nerrno=0\n\n");
    assert_eq!(*server.device.applied.lock().unwrap(), [Update { fwmark: Some(4), ..Update::default() }]);
}

#[tokio::test]
async fn a_malformed_request_gets_its_errno_and_ends_the_connection() {
    let server = Running::start(DEADLINE);
    assert_eq!(server.exchange(b"set=1\nfoo=1\n\nget=1\n\n").await, "errno=-22\n\n");
    assert_eq!(server.exchange(b"hello\n\nget=1\n\n").await, "errno=-71\n\n");
    assert_eq!(server.exchange(b"set=1\nfwmark=4\n").await, "errno=-71\n\n");
    assert_eq!(server.exchange(b"\xff\xfe\n\n").await, "errno=-71\n\n");
    assert_eq!(server.exchange(b"").await, "");
    assert!(server.device.applied.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_update_that_the_device_refuses_does_not_end_the_connection() {
    let server = Running::start(DEADLINE);
    assert_eq!(server.exchange(b"set=1\nlisten_port=7\n\nget=1\n\n").await, "errno=-98\n\nerrno=0\n\n");
}

#[tokio::test]
async fn a_line_without_end_is_cut_off() {
    let server = Running::start(DEADLINE);
    let mut stream = server.connect().await;
    let line = vec![b'x'; 2 * super::super::request::MAX_LINE];
    stream.write_all(&line).await.unwrap();
    let mut response = [0; 11];
    stream.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"errno=-90\n\n");
}

#[tokio::test]
async fn clients_that_hang_give_way_to_others() {
    let server = Running::start(Duration::from_millis(100));
    let mut hanging = Vec::new();
    for _ in 0..MAX_CONVERSATIONS {
        let mut stream = server.connect().await;
        stream.write_all(b"set=1\n").await.unwrap();
        hanging.push(stream);
    }
    assert_eq!(server.exchange(b"get=1\n\n").await, "errno=0\n\n");
    for mut stream in hanging {
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn clients_with_nothing_to_say_keep_nobody_waiting() {
    let server = Running::start(DEADLINE);
    let mut idle = Vec::new();
    for _ in 0..MAX_CONVERSATIONS {
        let mut stream = server.connect().await;
        stream.write_all(b"get=1\n\n").await.unwrap();
        assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
        idle.push(stream);
    }
    // The first has just asked again: the second is the one that has waited longest.
    pass(Duration::from_secs(1)).await;
    idle[0].write_all(b"get=1\n\n").await.unwrap();
    assert_ne!(idle[0].read(&mut [0; 64]).await.unwrap(), 0);
    let before = std::time::Instant::now();
    assert_eq!(server.exchange(b"get=1\n\n").await, "errno=0\n\n");
    assert!(before.elapsed() < DEADLINE / 2, "{:?}", before.elapsed());
    assert_eq!(idle[1].read(&mut [0; 64]).await.unwrap(), 0, "it gave way");
    for stream in [0, 2, MAX_CONVERSATIONS - 1] {
        idle[stream].write_all(b"get=1\n\n").await.unwrap();
        assert_ne!(idle[stream].read(&mut [0; 64]).await.unwrap(), 0, "{stream} is still answered");
    }
}

/// Has the server talk to others until it takes no more, each of whom has spoken after whoever spoke before.
async fn fill(server: &Running) -> Vec<UnixStream> {
    let mut others = Vec::new();
    for _ in 1..MAX_CONVERSATIONS {
        let mut stream = server.connect().await;
        stream.write_all(b"get=1\n\n").await.unwrap();
        assert_ne!(stream.read(&mut [0; 64]).await.unwrap(), 0);
        others.push(stream);
    }
    others
}

#[tokio::test]
async fn a_client_that_goes_on_with_its_request_does_not_give_way() {
    let server = Running::start(DEADLINE);
    let mut slow = server.connect().await;
    slow.write_all(b"set=1\n").await.unwrap();
    let mut others = fill(&server).await;
    slow.write_all(b"fwmark=4\n").await.unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(server.exchange(b"get=1\n\n").await, "errno=0\n\n");
    slow.write_all(b"\n").await.unwrap();
    let mut response = [0; 9];
    slow.read_exact(&mut response).await.unwrap();
    assert_eq!(&response, b"errno=0\n\n");
    assert_eq!(others[0].read(&mut [0; 64]).await.unwrap(), 0, "another gave way");
}

#[tokio::test]
async fn a_client_that_goes_on_reading_a_response_does_not_give_way() {
    /// More than a socket holds, in bytes: whoever has read it had more written to it.
    const READ: usize = 1 << 20;
    let key = PublicKey::from_bytes(&[9; 32]).unwrap().to_hex();
    let prefixes = (0..150_000_u32).map(|host| format!("allowed_ip={}/32\n", Ipv4Addr::from(host)));
    let text = format!("public_key={key}\n{}errno=0\n\n", prefixes.collect::<String>());
    let large = response::parse(&text, |_| None).unwrap();
    let server = Running::start(DEADLINE);
    let mut slow = server.connect().await;
    *server.device.status.lock().unwrap() = large;
    slow.write_all(b"get=1\n\n").await.unwrap();
    slow.read_exact(&mut [0]).await.unwrap();
    *server.device.status.lock().unwrap() = Status::default();
    let mut others = fill(&server).await;
    slow.read_exact(&mut vec![0; READ]).await.unwrap();
    pass(Duration::from_secs(1)).await;
    assert_eq!(server.exchange(b"get=1\n\n").await, "errno=0\n\n");
    let mut rest = Vec::new();
    while !rest.ends_with(b"errno=0\n\n") {
        let mut chunk = vec![0; 1 << 16];
        let count = slow.read(&mut chunk).await.unwrap();
        assert_ne!(count, 0, "cut off after {} bytes", READ + rest.len());
        rest.extend_from_slice(&chunk[..count]);
    }
    assert_eq!(others[0].read(&mut [0; 64]).await.unwrap(), 0, "another gave way");
}

#[tokio::test]
async fn many_clients_at_once_are_all_answered() {
    let server = Running::start(DEADLINE);
    let ask = |directory: std::path::PathBuf| spawn_blocking(move || client::get_in(&directory, "wg0"));
    let clients: Vec<_> = (0..4 * MAX_CONVERSATIONS).map(|_| ask(server.directory.path().to_owned())).collect();
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn it_ends_when_the_socket_is_removed() {
    let mut server = Running::start(DEADLINE);
    assert_eq!(server.exchange(b"get=1\n\n").await, "errno=0\n\n");
    std::fs::remove_file(server.directory.path().join("wg0.sock")).unwrap();
    assert!(matches!((&mut server.task).await.unwrap(), ServeEnd::SocketRemoved));
}

#[tokio::test]
async fn it_ends_when_the_socket_was_removed_before_it_served() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::bind_in(directory.path(), "wg0").unwrap();
    std::fs::remove_file(server.path()).unwrap();
    assert!(matches!(server.serve(Fake::default()).await, ServeEnd::SocketRemoved));
}

#[tokio::test]
async fn it_ends_when_either_of_its_names_is_removed_and_leaves_none() {
    for removed in 0..2 {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let paths = directories.each_ref().map(|directory| directory.path().join("wg0.sock"));
        // What a dead process left has the second name.
        drop(StdUnixListener::bind(&paths[1]).unwrap());
        let mut server = Server::bind_in(directories[0].path(), "wg0").unwrap();
        server.link_in(directories[1].path(), "wg0").unwrap();
        assert!(paths.iter().all(|path| std::os::unix::net::UnixStream::connect(path).is_ok()));
        let task = tokio::spawn(server.serve(Fake::default()));
        std::fs::remove_file(&paths[removed]).unwrap();
        assert!(matches!(task.await.unwrap(), ServeEnd::SocketRemoved));
        assert_eq!(paths.map(|path| path.exists()), [false, false]);
        assert!(directories.iter().all(|directory| std::fs::read_dir(directory.path()).unwrap().next().is_none()));
    }
}

#[test]
fn a_second_name_that_another_server_answers_on_is_not_taken() {
    let [own, shared] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let _other = Server::bind_in(shared.path(), "wg0").unwrap();
    let mut server = Server::bind_in(own.path(), "wg0").unwrap();
    let error = server.link_in(shared.path(), "wg0").unwrap_err();
    assert!(matches!(error, BindError::InUse(_)), "{error}");
    drop(server);
    assert!(shared.path().join("wg0.sock").exists());
}

#[tokio::test]
async fn a_socket_that_replaced_its_own_is_left_alone() {
    let mut server = Running::start(DEADLINE);
    let path = server.directory.path().join("wg0.sock");
    let other = server.directory.path().join("other");
    std::fs::write(&other, "").unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert!(matches!((&mut server.task).await.unwrap(), ServeEnd::SocketRemoved));
    assert!(path.exists());
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_server() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("wireguard");
    let server = Server::bind_in(&directory, "wg0").unwrap();
    let path = server.path().to_owned();
    assert_eq!(std::fs::metadata(&directory).unwrap().mode() & 0o777, 0o700);
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no temporary file stays");
    drop(server);
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn what_a_process_that_crashed_left_is_in_nobodys_way() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join(format!(".wg0.{}.0", std::process::id()))).unwrap();
    let server = Server::bind_in(directory.path(), "wg0").unwrap();
    assert_eq!(std::fs::metadata(server.path()).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_directory_that_is_there_keeps_its_mode() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _server = Server::bind_in(directory.path(), "wg0").unwrap();
    assert_eq!(std::fs::metadata(directory.path()).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let directory = tempfile::tempdir().unwrap();
    drop(StdUnixListener::bind(directory.path().join("wg0.sock")).unwrap());
    let server = Server::bind_in(directory.path(), "wg0").unwrap();
    assert!(matches!(Server::bind_in(directory.path(), "wg0"), Err(BindError::InUse(path)) if path == server.path()));
    assert!(server.path().exists());
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file stays");
}

#[test]
fn what_is_not_a_socket_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("wg0.sock"), "precious").unwrap();
    assert!(matches!(Server::bind_in(directory.path(), "wg0"), Err(BindError::NotASocket(_))));
}

#[test]
fn a_name_that_leads_out_of_the_directory_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Server::bind_in(directory.path(), "../wg0"), Err(BindError::Name(_))));
}

#[tokio::test]
async fn the_client_gets_and_sets() {
    let server = Running::start(DEADLINE);
    let path = server.directory.path().to_owned();
    let update = Update {
        private_key: Some(Some(PrivateKey::generate_from_os())),
        peers: vec![PeerUpdate::new(PublicKey::from_bytes(&[9; 32]).unwrap())],
        ..Update::default()
    };
    server.device.status.lock().unwrap().listen_port = 5;
    let (sent, directory) = (update.clone(), path.clone());
    spawn_blocking(move || client::set_in(&directory, "wg0", &sent)).await.unwrap().unwrap();
    assert_eq!(*server.device.applied.lock().unwrap(), [update]);
    let directory = path.clone();
    let status = spawn_blocking(move || client::get_in(&directory, "wg0")).await.unwrap().unwrap();
    assert_eq!(status, *server.device.status.lock().unwrap());
    let refused = Update { listen_port: Some(PORT_IN_USE), ..Update::default() };
    let error = spawn_blocking(move || client::set_in(&path, "wg0", &refused)).await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Response { source: ResponseError::Refused(98), .. }), "{error}");
}

#[tokio::test]
async fn only_interfaces_that_answer_are_listed() {
    let server = Running::start(DEADLINE);
    let path = server.directory.path().to_owned();
    drop(StdUnixListener::bind(path.join("stale.sock")).unwrap());
    std::fs::write(path.join("file.sock"), "").unwrap();
    let names = spawn_blocking(move || client::list_interfaces_in(&path)).await.unwrap().unwrap();
    assert_eq!(names, ["wg0"]);
}

#[test]
fn without_a_tunnel_the_client_says_so() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(client::get_in(directory.path(), "wg0"), Err(ClientError::NotRunning(_))));
    drop(StdUnixListener::bind(directory.path().join("wg0.sock")).unwrap());
    assert!(matches!(client::get_in(directory.path(), "wg0"), Err(ClientError::NotRunning(_))));
    assert!(matches!(client::get_in(directory.path(), "../wg0"), Err(ClientError::Name(_))));
    assert_eq!(client::list_interfaces_in(&directory.path().join("none")).unwrap(), Vec::<String>::new());
}

//! The threads that move packets: one reads the TUN device, one the socket of each IP version.
//!
//! Each has an event loop of its own, and waits in the system for just what it reads: a packet wakes one thread, which
//! carries it all the way. The system spreads the threads over the cores.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use maybetun_tun::Tun;
use tokio::runtime;

use super::outbound::Outbound;
use super::shared::Shared;
use super::sockets::Sockets;
use super::{StopReason, inbound, pacer};

/// Every thread of a device.
pub(super) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts the threads; they end when the device is to stop.
    ///
    /// # Panics
    /// Panics outside a tokio runtime, or if the system starts no more threads.
    pub(super) fn start<T: Tun>(tun: &Arc<T>, shared: &Arc<Shared>) -> Self {
        let outbound = Arc::new(Outbound::new(Arc::clone(tun)));
        let receive = |name, which: inbound::Which| {
            let (tun, answers) = (Arc::clone(tun), Arc::clone(&outbound));
            mover(name, shared, async move |shared| inbound::run(&*tun, &answers, shared, which).await)
        };
        let sender = Arc::clone(&outbound);
        Self(vec![
            mover("maybetun-tun", shared, async move |shared| sender.run(shared).await),
            receive("maybetun-udp4", |sockets: &Sockets| sockets.v4.as_ref()),
            receive("maybetun-udp6", |sockets: &Sockets| sockets.v6.as_ref()),
            pacer::spawn(Arc::clone(shared)),
        ])
    }

    /// Waits until all have ended. One that panicked has stopped the device already.
    pub(super) async fn join(self) {
        let join = || self.0.into_iter().for_each(|thread| drop(thread.join()));
        // It fails only with the runtime.
        let _ = tokio::task::spawn_blocking(join).await;
    }
}

/// Starts a thread that does `work` until the device is to stop. When the work ends by itself, the device stops.
fn mover<W>(name: &str, shared: &Arc<Shared>, work: W) -> JoinHandle<()>
where
    W: AsyncFnOnce(&Shared) -> io::Error + Send + 'static,
{
    let shared = Arc::clone(shared);
    spawn(name, move || {
        let _guard = StopOnPanic(&shared);
        let mut stopping = shared.stopping();
        let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => return shared.stop(StopReason::TunFailed(error.to_string())),
        };
        runtime.block_on(async {
            tokio::select! {
                _ = stopping.wait_for(Option::is_some) => {}
                error = work(&shared) => shared.stop(reason_of(&error)),
            }
        });
    })
}

/// Starts a thread.
///
/// # Panics
/// Panics if the system starts no more.
pub(super) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).expect("the system starts a thread")
}

/// Stops the device when its thread panics: a device that lost one would look alive and be deaf, dumb or blind.
pub(super) struct StopOnPanic<'a>(pub(super) &'a Shared);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(StopReason::TunFailed("a thread of the device panicked".to_owned()));
        }
    }
}

fn reason_of(error: &io::Error) -> StopReason {
    use rustix::io::Errno;
    let gone = [Errno::BADFD, Errno::BADF, Errno::NODEV].map(|errno| Some(errno.raw_os_error()));
    if error.kind() == io::ErrorKind::BrokenPipe || gone.contains(&error.raw_os_error()) {
        StopReason::TunGone
    } else {
        StopReason::TunFailed(error.to_string())
    }
}

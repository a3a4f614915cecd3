//! The threads that move packets: one reads each queue of the TUN device, one each socket.
//!
//! Each has an event loop of its own, and waits in the system for just what it reads: a packet wakes one thread, which
//! carries it all the way. With several queues the system spreads what comes from the TUN device by its flows, and
//! what comes from the network by its senders: packets of one stay on one thread, and in order.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use maybetun_tun::Tun;
use tokio::runtime;

use super::outbound::Outbound;
use super::shared::Shared;
use super::sockets::{IpVersion, Place};
use super::threads::{self, StopOnPanic};
use super::{StopReason, inbound, pacer};

/// Every thread of a device.
pub(super) struct Workers(Vec<JoinHandle<()>>);

impl Workers {
    /// Starts the threads; they end when the device is to stop.
    ///
    /// # Panics
    /// Panics outside a tokio runtime, or if the system starts no more threads.
    pub(super) fn start<T: Tun>(queues: &[Arc<T>], shared: &Arc<Shared>) -> Self {
        let mut threads = vec![pacer::spawn(Arc::clone(shared))];
        let mut outbound = Vec::new();
        for (index, tun) in queues.iter().enumerate() {
            let sender = Arc::new(Outbound::new(Arc::clone(tun)));
            outbound.push(Arc::clone(&sender));
            let name = format!("maybetun-tun{index}");
            threads.push(mover(&name, shared, async move |shared| sender.run(shared).await));
        }
        // There may be fewer queues than sockets, where the kernel has but one.
        for (index, (tun, answers)) in queues.iter().zip(&outbound).cycle().take(shared.options.queues).enumerate() {
            for (version, name) in [(IpVersion::V4, "udp4"), (IpVersion::V6, "udp6")] {
                let (tun, answers, place) = (Arc::clone(tun), Arc::clone(answers), Place { version, index });
                let receive = async move |shared: &Shared| inbound::run(&*tun, &answers, shared, place).await;
                threads.push(mover(&format!("mt-{name}.{index}"), shared, receive));
            }
        }
        Self(threads)
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
    threads::spawn(name, move || {
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

fn reason_of(error: &io::Error) -> StopReason {
    if maybetun_tun::is_gone(error) { StopReason::TunGone } else { StopReason::TunFailed(error.to_string()) }
}

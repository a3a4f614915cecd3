//! The server beside the relay, on a thread of its own.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::{Builder, JoinHandle};

use nix::sys::eventfd::{EfdFlags, EventFd};

use super::host;
use super::sockets::KernelSockets;
use crate::workload::Server;

/// What the thread is asked to do.
type Order = Box<dyn FnOnce(&mut Server) + Send>;

/// A server that runs. Dropping it ends it.
#[derive(Debug)]
pub(super) struct Serving {
    orders: Option<Sender<Order>>,
    woken: Arc<EventFd>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Serving {
    /// Starts one. Its sockets are made now, in the network namespace of this thread, and never again.
    ///
    /// # Errors
    /// When the system has no thread for it.
    pub(super) fn start(mut server: Server, mut sockets: KernelSockets) -> io::Result<Self> {
        host::act(&mut server, &mut sockets);
        let woken = Arc::new(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?);
        let (orders, asked) = channel();
        let waker = Arc::clone(&woken);
        let thread = Builder::new().name("server".into()).spawn(move || serve(server, sockets, &asked, &waker))?;
        Ok(Self { orders: Some(orders), woken, thread: Some(thread) })
    }

    /// Tells whether it goes on.
    pub(super) fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Has something happen to the server, and returns what came of it; nothing if it has ended.
    pub(super) fn ask<T: Send + 'static>(&self, act: impl FnOnce(&mut Server) -> T + Send + 'static) -> Option<T> {
        let (answer, answered) = channel();
        let order: Order = Box::new(move |server| {
            // Who asked waits for it.
            let _ = answer.send(act(server));
        });
        self.orders.as_ref()?.send(order).ok()?;
        self.wake();
        answered.recv().ok()
    }

    fn wake(&self) {
        // It fails when it would overflow, and then it is woken already.
        let _ = self.woken.write(1);
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.orders = None;
        self.wake();
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(mut server: Server, mut sockets: KernelSockets, asked: &Receiver<Order>, woken: &EventFd) -> io::Result<()> {
    loop {
        host::act(&mut server, &mut sockets);
        match asked.try_recv() {
            Ok(order) => order(&mut server),
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {
                host::wait(&server, &mut sockets, None, Some(woken.as_fd()))?;
                // Nothing is in it most often.
                let _ = woken.read();
            }
        }
    }
}

//! A host as its director sees it: a child process that takes orders.

use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};

use super::message::{Order, Reply};

/// The part that a host plays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// The user's device.
    Client,
    /// The VPN server.
    Relay,
    /// The web server behind the relay.
    Server,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Relay => "relay",
            Self::Server => "server",
        })
    }
}

/// A running host. Dropping it ends the process, and with it the host's network.
#[derive(Debug)]
pub(super) struct HostProcess {
    part: Part,
    child: Child,
    orders: ChildStdin,
    replies: Receiver<Reply>,
    deadline: Instant,
}

impl HostProcess {
    /// Starts a host that has to answer everything before `deadline`.
    ///
    /// # Errors
    /// When the process cannot be started.
    pub(super) fn spawn(part: Part, deadline: Instant) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file: is /proc mounted?")?;
        let mut child = Command::new(program)
            .args(["demo", "--part", &part.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start the {part}"))?;
        let (Some(orders), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("the {part} has no pipes");
        };
        let (sender, replies) = sync_channel(1);
        std::thread::spawn(move || {
            // What is not a reply ends the conversation, as the end of the pipe does.
            for line in BufReader::new(answers).lines().map_while(Result::ok) {
                let Ok(reply) = serde_json::from_str(&line) else { return };
                if sender.send(reply).is_err() {
                    return;
                }
            }
        });
        Ok(Self { part, child, orders, replies, deadline })
    }

    /// Returns the process's id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the host has its network and returns its public key, in base64.
    ///
    /// # Errors
    /// When the host failed.
    pub(super) fn ready(&mut self) -> anyhow::Result<String> {
        let reply = self.reply()?;
        let Reply::Ready { public_key } = reply else { return Err(self.unexpected(&reply)) };
        Ok(public_key)
    }

    /// Gives an order that has no result and waits until it is carried out.
    ///
    /// # Errors
    /// When the host failed.
    pub(super) fn tell(&mut self, order: &Order) -> anyhow::Result<()> {
        let reply = self.ask(order)?;
        if matches!(reply, Reply::Done) { Ok(()) } else { Err(self.unexpected(&reply)) }
    }

    /// Gives an order and waits for the answer.
    ///
    /// # Errors
    /// When the host failed or did not answer in time.
    pub(super) fn ask(&mut self, order: &Order) -> anyhow::Result<Reply> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.orders.write_all(&line).with_context(|| format!("the {} ended early", self.part))?;
        self.reply()
    }

    /// Makes the error for a reply that does not answer the order.
    pub(super) fn unexpected(&self, reply: &Reply) -> anyhow::Error {
        anyhow!("the {} answered what was not asked: {reply:?}", self.part)
    }

    fn reply(&mut self) -> anyhow::Result<Reply> {
        let left = self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        match self.replies.recv_timeout(left) {
            Ok(Reply::Failed { message }) => bail!("the {} failed: {message}", self.part),
            Ok(reply) => Ok(reply),
            Err(RecvTimeoutError::Timeout) => bail!("the {} did not answer in time", self.part),
            Err(RecvTimeoutError::Disconnected) => bail!("the {} ended early", self.part),
        }
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // Neither can fail in a way that matters: the child is ours, and either alive or waiting to be reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! What the kernel tells of tables and chains that go: `nft flush ruleset` takes everybody's.

use std::io;

use nix::errno::Errno;
use rtnetlink::sys::protocols::NETLINK_NETFILTER;
use rtnetlink::sys::{AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket};

use super::ruleset::TABLE;

/// The group of notices on nftables, as a bit: `NFNLGRP_NFTABLES` of Linux, 7, counted from 1.
const GROUP: u32 = 1 << (7 - 1);

/// Types of notices that something is gone: `NFNL_SUBSYS_NFTABLES`, with `NFT_MSG_DELTABLE` and `NFT_MSG_DELCHAIN`.
const TABLE_GONE: u16 = 10 << 8 | 2;
const CHAIN_GONE: u16 = 10 << 8 | 5;

/// Bytes of a message's header, `struct nlmsghdr`: its length, its type and more.
const HEADER: usize = 16;

/// Bytes read at once: the kernel's notices are of a page or two (`NLMSG_GOODSIZE`).
const BUFFER: usize = 32 * 1024;

/// The notices, from when it was opened.
pub(super) struct Notices {
    socket: TokioSocket,
}

impl Notices {
    /// Begins to listen.
    ///
    /// # Errors
    /// When the kernel gives no such socket, as without `CAP_NET_ADMIN`.
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind(&SocketAddr::new(0, GROUP))?;
        Ok(Self { socket })
    }

    /// Waits until something of the kill switch's table may be gone. May be dropped and called again.
    ///
    /// # Errors
    /// When the socket fails.
    pub(super) async fn something_gone(&mut self) -> io::Result<()> {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            match self.socket.recv(&mut buffer).await {
                Ok(_) if tells(&buffer) => return Ok(()),
                Ok(_) => {}
                // What was lost may have been any notice.
                Err(error) if error.raw_os_error() == Some(Errno::ENOBUFS as i32) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Tells whether one of the messages is of a table or chain that is gone, and names our table.
fn tells(mut messages: &[u8]) -> bool {
    while let Some(header) = messages.first_chunk::<HEADER>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let Some(message) = messages.get(..length).filter(|message| message.len() >= HEADER) else { return false };
        let names_ours = message.windows(TABLE.len()).any(|window| window == TABLE.as_bytes());
        if [TABLE_GONE, CHAIN_GONE].contains(&kind) && names_ours {
            return true;
        }
        messages = messages.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, body: &str) -> Vec<u8> {
        let mut message = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.resize(HEADER, 0);
        message.extend(body.as_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn only_what_takes_from_our_table_is_told() {
        let ours = format!("....{TABLE}");
        assert!(tells(&message(TABLE_GONE, &ours)) && tells(&message(CHAIN_GONE, &ours)));
        assert!(tells(&[message(TABLE_GONE, "...other"), message(TABLE_GONE, &ours)].concat()), "the second");
        assert!(!tells(&message(10 << 8, &ours)), "a new table");
        assert!(!tells(&message(TABLE_GONE, "....other")));
    }

    #[test]
    fn what_is_no_message_is_not_read_beyond_its_end() {
        let whole = message(TABLE_GONE, &format!("....{TABLE}"));
        for end in 0..whole.len() - 4 {
            assert!(!tells(&whole[..end]), "{end}");
        }
        for length in [0, 1, 15, u32::MAX] {
            let mut wrong = whole.clone();
            wrong[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(!tells(&wrong), "{length}");
        }
    }
}

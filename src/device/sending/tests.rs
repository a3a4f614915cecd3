//! Every error that `sendmsg(2)` gives, given to a sender.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

use super::*;
use crate::tunnel::Ecn;

/// What a send may say, but for a full socket (EAGAIN): of the destination, of the way there, of the machine.
const ERRORS: [Errno; 19] = [
    Errno::EINVAL,
    Errno::EMSGSIZE,
    Errno::EIO,
    Errno::ENOBUFS,
    Errno::ENOMEM,
    Errno::ENETUNREACH,
    Errno::EHOSTUNREACH,
    Errno::ENETDOWN,
    Errno::EPERM,
    Errno::EACCES,
    Errno::ECONNREFUSED,
    Errno::EINTR,
    Errno::EAFNOSUPPORT,
    Errno::EADDRNOTAVAIL,
    Errno::EOPNOTSUPP,
    Errno::ENOPROTOOPT,
    Errno::EDESTADDRREQ,
    Errno::ENODEV,
    Errno::EBADF,
];

const SEGMENT: usize = 100;
const COUNT: usize = 10;

/// A socket on the way to whose destinations some things are refused.
#[derive(Default)]
struct Scripted {
    refuses_whole: Vec<(SocketAddr, Errno)>,
    refuses_each: Vec<(SocketAddr, Errno)>,
    /// What was taken: for whom, and how many datagrams in one call.
    taken: RefCell<Vec<(SocketAddr, usize)>>,
}

impl Scripted {
    fn take(&self, refusals: &[(SocketAddr, Errno)], to: Endpoint, count: usize) -> io::Result<()> {
        if let Some((_, errno)) = refusals.iter().find(|(by, _)| *by == to.remote) {
            return Err((*errno).into());
        }
        self.taken.borrow_mut().push((to.remote, count));
        Ok(())
    }

    fn calls_for(&self, to: SocketAddr) -> Vec<usize> {
        self.taken.borrow().iter().filter(|(by, _)| *by == to).map(|(_, count)| *count).collect()
    }
}

impl Transmit for Scripted {
    fn send_whole(&self, run: Run<'_>, to: Endpoint) -> io::Result<()> {
        self.take(&self.refuses_whole, to, run.datagrams().count())
    }

    fn send_each(&self, _: Run<'_>, to: Endpoint) -> io::Result<usize> {
        self.take(&self.refuses_each, to, 1).map(|()| 1)
    }
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 51820))
}

/// Sends ten datagrams, and returns how many were taken or refused.
fn send_ten(socket: &Scripted, to: SocketAddr, offload: &mut Offload, sent: &mut Sent, now: Instant) -> usize {
    let run = Run { contents: &[7; COUNT * SEGMENT], segment_size: SEGMENT, mark: Ecn::NotCapable.into() };
    send(socket, run, Segmentation::Kernel, to.into(), offload, sent, now)
}

#[test]
fn what_one_destination_does_not_take_at_once_it_takes_one_by_one_and_others_at_once() {
    for errno in ERRORS {
        let (socket, now) =
            (Scripted { refuses_whole: vec![(address(1), errno)], ..Scripted::default() }, Instant::now());
        let (mut narrow, mut wide, mut sent) = (Offload::default(), Offload::default(), Sent::default());
        for _ in 0..200 {
            assert_eq!(send_ten(&socket, address(1), &mut narrow, &mut sent, now), COUNT);
            assert_eq!(send_ten(&socket, address(2), &mut wide, &mut sent, now), COUNT);
        }
        assert_eq!((sent.failed, sent.is_full), (0, false), "{errno}");
        assert_eq!(socket.calls_for(address(1)), [1; 200 * COUNT], "{errno}");
        assert_eq!(socket.calls_for(address(2)), [COUNT; 200], "{errno}");
    }
}

#[test]
fn what_a_destination_refuses_in_any_way_costs_itself_alone() {
    for errno in ERRORS {
        let mut socket = Scripted {
            refuses_whole: vec![(address(1), errno)],
            refuses_each: vec![(address(1), errno)],
            ..Scripted::default()
        };
        let (mut refused, mut other, now) = (Offload::default(), Offload::default(), Instant::now());
        let (mut lost, mut kept) = (Sent::default(), Sent::default());
        for _ in 0..200 {
            assert_eq!(send_ten(&socket, address(1), &mut refused, &mut lost, now), COUNT);
            assert_eq!(send_ten(&socket, address(2), &mut other, &mut kept, now), COUNT);
        }
        let all = 200 * COUNT as u64;
        assert_eq!((lost.failed, lost.failed_bytes, lost.charged), (all, all * SEGMENT as u64, 0), "{errno}");
        assert_eq!(kept.failed, 0, "{errno}");
        assert_eq!(socket.calls_for(address(2)), [COUNT; 200], "{errno}");
        // It was not for being many: as soon as it takes datagrams, it gets them at once.
        (socket.refuses_whole, socket.refuses_each) = Default::default();
        send_ten(&socket, address(1), &mut refused, &mut lost, now);
        assert_eq!(socket.calls_for(address(1)), [COUNT], "{errno}");
    }
}

#[test]
fn a_way_that_refused_many_at_once_is_tried_again() {
    let mut socket = Scripted { refuses_whole: vec![(address(1), Errno::EINVAL)], ..Scripted::default() };
    let (mut offload, mut sent, start) = (Offload::default(), Sent::default(), Instant::now());
    send_ten(&socket, address(1), &mut offload, &mut sent, start);
    socket.refuses_whole.clear();
    send_ten(&socket, address(1), &mut offload, &mut sent, start + Duration::from_secs(1));
    assert_eq!(socket.calls_for(address(1)), [1; 2 * COUNT]);
    send_ten(&socket, address(1), &mut offload, &mut sent, start + super::offload::RETRY);
    assert_eq!(socket.calls_for(address(1)).last(), Some(&COUNT));
}

#[test]
fn a_full_socket_keeps_what_it_did_not_take() {
    let (full, now) = (vec![(address(1), Errno::EAGAIN)], Instant::now());
    let (mut offload, mut sent) = (Offload::default(), Sent::default());
    let socket = Scripted { refuses_whole: full.clone(), ..Scripted::default() };
    assert_eq!(send_ten(&socket, address(1), &mut offload, &mut sent, now), 0);
    assert_eq!((sent.failed, sent.is_full), (0, true));
    // Refused at once for another reason, and then full.
    let socket = Scripted { refuses_whole: vec![(address(1), Errno::EIO)], refuses_each: full, ..Scripted::default() };
    assert_eq!(send_ten(&socket, address(1), &mut offload, &mut sent, now), 0);
    assert!(offload.is_on(address(1), now), "nothing tells that it was for being many");
}

#[test]
fn what_must_not_look_like_many_is_never_sent_at_once() {
    let (socket, mut offload, mut sent) = (Scripted::default(), Offload::default(), Sent::default());
    let run = Run { contents: &[7; COUNT * SEGMENT], segment_size: SEGMENT, mark: Ecn::NotCapable.into() };
    send(&socket, run, Segmentation::Sender, address(1).into(), &mut offload, &mut sent, Instant::now());
    assert_eq!(socket.calls_for(address(1)), [1; COUNT]);
}

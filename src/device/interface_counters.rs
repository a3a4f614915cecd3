//! What has passed an interface, as the kernel counts it: a monitor's source beside a tunnel that is not ours.

use std::fs;
use std::io;
use std::path::Path;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::MsgFlags;
use rtnetlink::packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage};
use rtnetlink::sys::{Socket, SocketAddr as KernelAddr, protocols::NETLINK_ROUTE};

use crate::masking::Counted;

/// Where the kernel shows interfaces as files.
const FILES: &str = "/sys/class/net";

/// The largest answer about an interface, in bytes.
const MAX_ANSWER: usize = 1 << 16;

/// Reads what has passed an interface since it is there: from the files of the kernel, or else by rtnetlink(7).
///
/// Files that show another network namespace than that of this thread are passed over.
///
/// # Errors
/// When neither tells: most often, the interface is not there.
pub fn interface_counters(interface: &str) -> io::Result<Counted> {
    of_files(Path::new(FILES), interface).or_else(|of_files| {
        by_netlink(interface).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("no counters of interface {interface:?}: {error}; {FILES}: {of_files}"),
            )
        })
    })
}

fn of_files(files: &Path, interface: &str) -> io::Result<Counted> {
    // What is no name must not lead elsewhere.
    if interface.is_empty() || interface == "." || interface == ".." || interface.contains('/') {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let directory = files.join(interface);
    let number = |file: &str| -> io::Result<u64> {
        let text = fs::read_to_string(directory.join(file))?;
        text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{file} is no number")))
    };
    if number("ifindex")? != u64::from(if_nametoindex(interface)?) {
        return Err(io::Error::other("the files are of another network namespace"));
    }
    Ok(Counted {
        sent_packets: number("statistics/tx_packets")?,
        sent_bytes: number("statistics/tx_bytes")?,
        received_packets: number("statistics/rx_packets")?,
        received_bytes: number("statistics/rx_bytes")?,
    })
}

fn by_netlink(interface: &str) -> io::Result<Counted> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    socket.connect(&KernelAddr::new(0, 0))?;
    let mut question = LinkMessage::default();
    question.attributes.push(LinkAttribute::IfName(interface.to_owned()));
    let mut question = NetlinkMessage::from(RouteNetlinkMessage::GetLink(question));
    question.header.flags = NLM_F_REQUEST;
    question.finalize();
    let mut bytes = vec![0; question.buffer_len()];
    question.serialize(&mut bytes);
    socket.send(&bytes, 0)?;
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    socket.recv(&mut answer, MsgFlags::MSG_DONTWAIT.bits())?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer).map_err(io::Error::other)?;
    if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = answer.payload {
        let counted = link.attributes.iter().find_map(counted_of);
        return counted.ok_or_else(|| io::Error::other("the kernel tells of it, but not what it has counted"));
    }
    let NetlinkPayload::Error(error) = answer.payload else {
        return Err(io::Error::other(format!("expected an interface, but the kernel says {answer:?}")));
    };
    Err(error.to_io())
}

fn counted_of(attribute: &LinkAttribute) -> Option<Counted> {
    let LinkAttribute::Stats64(counted) = attribute else { return None };
    Some(Counted {
        sent_packets: counted.tx_packets,
        sent_bytes: counted.tx_bytes,
        received_packets: counted.rx_packets,
        received_bytes: counted.rx_bytes,
    })
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    /// Has something pass the loopback.
    fn pass() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(&[0; 1_000], socket.local_addr().unwrap()).unwrap();
    }

    #[test]
    fn files_and_netlink_tell_the_same_and_both_count_on() {
        for read in [of_lo, || by_netlink("lo"), || interface_counters("lo")] {
            let before = read().unwrap();
            pass();
            let after = read().unwrap();
            assert!(after.sent_bytes >= before.sent_bytes + 1_028 && after.received_packets > before.received_packets);
        }
        // Others use the loopback, too: what was counted between two readings lies between.
        let (first, second, third) = (by_netlink("lo").unwrap(), of_lo().unwrap(), by_netlink("lo").unwrap());
        assert!((first.sent_bytes..=third.sent_bytes).contains(&second.sent_bytes));
    }

    fn of_lo() -> io::Result<Counted> {
        of_files(Path::new(FILES), "lo")
    }

    #[test]
    fn without_files_the_kernel_is_asked_and_only_where_that_fails_too_it_is_an_error() {
        let empty = tempfile::tempdir().unwrap();
        assert!(of_files(empty.path(), "lo").is_err());
        let error = interface_counters("maybe-none0").unwrap_err();
        assert!(error.to_string().contains("maybe-none0"), "{error}");
    }

    #[test]
    fn files_of_another_namespace_or_without_numbers_are_passed_over() {
        let files = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(files.path().join("lo").join(file), text).unwrap();
        fs::create_dir_all(files.path().join("lo/statistics")).unwrap();
        for file in ["tx_packets", "tx_bytes", "rx_packets", "rx_bytes"] {
            write(&format!("statistics/{file}"), "7\n");
        }
        write("ifindex", "123456\n");
        assert!(of_files(files.path(), "lo").is_err());
        write("ifindex", &format!("{}\n", if_nametoindex("lo").unwrap()));
        assert_eq!(of_files(files.path(), "lo").unwrap().sent_bytes, 7);
        write("statistics/tx_bytes", "-7\n");
        assert!(of_files(files.path(), "lo").is_err());
        for name in ["", ".", "..", "../lo", "lo/statistics"] {
            assert!(of_files(files.path(), name).is_err(), "{name:?}");
        }
    }
}

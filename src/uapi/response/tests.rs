use proptest::prelude::*;

use super::*;
use crate::uapi::strategies;

const A: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";

fn parse(response: &str) -> Result<Status, ResponseError> {
    super::parse(response, |zone| (zone == "eth0").then_some(3))
}

#[test]
fn a_zone_may_be_the_name_of_an_interface() {
    let response = |zone: &str| format!("public_key={A}\nendpoint=[fe80::1%{zone}]:9\nerrno=0\n\n");
    let status = parse(&response("eth0")).unwrap();
    assert_eq!(status.peers[0].endpoint, Some("[fe80::1%3]:9".parse().unwrap()));
    assert_eq!(parse(&response("eth1")), Err(ResponseError::Value { line: 2, key: "endpoint" }));
}

#[test]
fn a_device_without_anything_is_an_errno() {
    assert_eq!(*format(&Status::default()), "errno=0\n\n");
}

#[test]
fn a_peer_is_told_in_the_order_of_wireguard_go() {
    let mut peer = new_peer(PublicKey::from_hex(A).unwrap());
    peer.endpoint = Some("[fe80::1%2]:51820".parse().unwrap());
    peer.last_handshake = Some(SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 5));
    peer.statistics.sent_bytes = 7;
    peer.statistics.received_bytes = 9;
    peer.persistent_keepalive = 25;
    peer.allowed_ips = vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()];
    let status = Status { listen_port: 51820, fwmark: 4, peers: vec![peer], ..Status::default() };
    let zeros = "0".repeat(64);
    assert_eq!(
        *format(&status),
        format!(
            "listen_port=51820\nfwmark=4\npublic_key={A}\npreshared_key={zeros}\nprotocol_version=1\n\
             endpoint=[fe80::1%2]:51820\nlast_handshake_time_sec=1700000000\nlast_handshake_time_nsec=5\n\
             tx_bytes=7\nrx_bytes=9\npersistent_keepalive_interval=25\nallowed_ip=10.0.0.0/8\nallowed_ip=::/0\n\
             errno=0\n\n"
        )
    );
}

#[test]
fn errno_is_sent_negated_and_read_with_either_sign() {
    assert_eq!(format_errno(0), "errno=0\n\n");
    assert_eq!(format_errno(22), "errno=-22\n\n");
    assert_eq!(parse_errno("errno=0\n\n"), Ok(()));
    assert_eq!(parse_errno("errno=-22\n\n"), Err(ResponseError::Refused(22)));
    assert_eq!(parse_errno("errno=98\n\n"), Err(ResponseError::Refused(98)));
    assert_eq!(parse("errno=-22\n\n"), Err(ResponseError::Refused(22)));
}

#[test]
fn keys_of_other_implementations_are_ignored() {
    let status = parse(&format!("jc=4\nlisten_port=1\npublic_key={A}\ndaita=1\ntx_bytes=3\nerrno=0\n\n")).unwrap();
    assert_eq!(status.listen_port, 1);
    assert_eq!(status.peers[0].statistics.sent_bytes, 3);
}

#[test]
fn keys_of_zeros_are_none() {
    let zeros = "0".repeat(64);
    let status = parse(&format!("private_key={zeros}\npublic_key={A}\npreshared_key={zeros}\nerrno=0\n\n")).unwrap();
    assert_eq!((&status.private_key, &status.peers[0].preshared_key), (&None, &None));
}

#[test]
fn what_is_not_a_response_is_refused() {
    assert_eq!(parse(""), Err(ResponseError::Malformed));
    assert_eq!(parse("errno=0\n"), Err(ResponseError::Malformed));
    assert_eq!(parse("listen_port\nerrno=0\n\n"), Err(ResponseError::Malformed));
    assert_eq!(parse("listen_port=1\n\n"), Err(ResponseError::NoErrno));
    for (lines, line, key) in [
        ("listen_port=x\n".to_owned(), 1, "listen_port"),
        ("tx_bytes=1\n".to_owned(), 1, "tx_bytes"),
        (format!("public_key={A}\nlisten_port=1\n"), 2, "listen_port"),
        (format!("public_key={A}\nlast_handshake_time_nsec=1000000000\n"), 2, "last_handshake_time_nsec"),
        (format!("public_key={A}\nlast_handshake_time_sec={}\n", u64::MAX), 2, "last_handshake_time_sec"),
        ("errno=x\n".to_owned(), 1, "errno"),
    ] {
        assert_eq!(parse(&format!("{lines}errno=0\n\n")), Err(ResponseError::Value { line, key }));
    }
}

proptest! {
    #[test]
    fn what_is_formatted_parses_back_equal(status in strategies::status()) {
        prop_assert_eq!(parse(&format(&status)), Ok(status));
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,300}") {
        let _ = parse(&text);
        let _ = parse(&format!("public_key={A}\n{text}\nerrno=0\n\n"));
    }
}

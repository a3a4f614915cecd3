//! What the parser of requests takes and refuses.

use proptest::prelude::*;

use super::*;
use crate::uapi::strategies;

const A: &str = "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33";
const B: &str = "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376";

fn no_zone(_: &str) -> Option<u32> {
    None
}

fn set(lines: &str) -> Result<Update, RequestError> {
    match parse(&format!("set=1\n{lines}\n"), no_zone) {
        Ok(Request::Set(update)) => Ok(update),
        Ok(Request::Get) => panic!("a set became a get"),
        Err(error) => Err(error),
    }
}

fn peer(lines: &str) -> Result<PeerUpdate, RequestError> {
    set(&format!("public_key={A}\n{lines}")).map(|mut update| update.peers.remove(0))
}

fn prefix(text: &str) -> ipnet::IpNet {
    text.parse().unwrap()
}

#[test]
fn host_and_port_wants_brackets_exactly_around_colons() {
    assert_eq!(host_and_port("192.0.2.1:51820"), Some(("192.0.2.1", 51820)));
    assert_eq!(host_and_port("[fe80::1%eth0]:1"), Some(("fe80::1%eth0", 1)));
    for text in ["", ":1", "host", "host:", "host:x", "host:65536", "::1:51820", "[::1]", "[::1]1", "[host]:1", "[]:1"]
    {
        assert_eq!(host_and_port(text), None, "{text:?}");
    }
}

#[test]
fn get_is_two_lines() {
    assert_eq!(parse("get=1\n\n", no_zone), Ok(Request::Get));
    assert_eq!(parse("get=1\nx=1\n\n", no_zone), Err(RequestError::Trailing));
    assert_eq!(parse("get=1\n", no_zone), Err(RequestError::Unfinished));
}

#[test]
fn an_empty_set_changes_nothing() {
    assert_eq!(parse("set=1\n\n", no_zone), Ok(Request::Set(Update::default())));
}

#[test]
fn the_example_of_the_protocol_page_shape_parses() {
    let update = set(&format!(
        "private_key={A}\nfwmark=0\nlisten_port=12912\nreplace_peers=true\npublic_key={B}\npreshared_key={A}\n\
         replace_allowed_ips=true\nallowed_ip=192.168.4.4/32\nendpoint=[abcd:23::33%2]:51820\npublic_key={A}\nremove=true\n",
    ))
    .unwrap();
    assert_eq!(update.private_key, Some(Some(PrivateKey::from_hex(A).unwrap())));
    assert_eq!((update.fwmark, update.listen_port, update.replace_peers), (Some(0), Some(12912), true));
    let [first, second] = &update.peers[..] else { panic!("two peers") };
    assert_eq!(first.public_key, PublicKey::from_hex(B).unwrap());
    assert_eq!(first.preshared_key, Some(PresharedKey::from_hex(A).unwrap()));
    assert!(first.replace_allowed_ips);
    assert_eq!(first.allowed_ips, [AllowedIpChange::Add(prefix("192.168.4.4/32"))]);
    assert_eq!(first.endpoint, Some("[abcd:23::33%2]:51820".parse().unwrap()));
    assert_eq!(second.action, PeerAction::Remove);
}

#[test]
fn a_private_key_of_zeros_takes_the_key_away() {
    assert_eq!(set(&format!("private_key={}\n", "0".repeat(64))).unwrap().private_key, Some(None));
}

#[test]
fn keys_that_keep_nothing_secret_are_refused() {
    let errors = [
        set(&format!("public_key={}\n", "0".repeat(64))),
        set(&format!("public_key=01{}\nremove=true\n", "0".repeat(62))),
        set(&format!("private_key={}40\n", "0".repeat(62))),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.errno(), 22);
        assert!(error.to_string().contains("_key: expected a p"), "{error}");
    }
}

#[test]
fn marks_are_decimal_or_hexadecimal_and_empty_is_none() {
    for (text, mark) in [("51820", 51820), ("0xca6c", 0xca6c), ("", 0), ("0", 0), ("4294967295", u32::MAX)] {
        assert_eq!(set(&format!("fwmark={text}\n")).unwrap().fwmark, Some(mark), "{text:?}");
    }
}

#[test]
fn endpoints_are_addresses_with_ports() {
    for text in ["192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%7]:65535"] {
        assert_eq!(peer(&format!("endpoint={text}\n")).unwrap().endpoint, Some(text.parse().unwrap()));
    }
}

#[test]
fn a_zone_may_be_the_name_of_an_interface() {
    let request = format!("set=1\npublic_key={A}\nendpoint=[fe80::1%eth0]:9\n\n");
    let Ok(Request::Set(update)) = parse(&request, |name| (name == "eth0").then_some(3)) else { panic!("parses") };
    assert_eq!(update.peers[0].endpoint, Some("[fe80::1%3]:9".parse().unwrap()));
    assert!(parse(&request, no_zone).is_err());
}

#[test]
fn host_bits_of_allowed_ips_are_cleared() {
    let peer = peer("allowed_ip=10.1.2.3/8\nallowed_ip=-fd00::1/64\n").unwrap();
    assert_eq!(
        peer.allowed_ips,
        [AllowedIpChange::Add(prefix("10.0.0.0/8")), AllowedIpChange::Remove(prefix("fd00::/64"))]
    );
}

#[test]
fn replacing_allowed_ips_discards_those_before_it() {
    let peer = peer("allowed_ip=10.0.0.0/8\nreplace_allowed_ips=true\nallowed_ip=10.0.0.1/32\n").unwrap();
    assert!(peer.replace_allowed_ips);
    assert_eq!(peer.allowed_ips, [AllowedIpChange::Add(prefix("10.0.0.1/32"))]);
}

#[test]
fn remove_outweighs_update_only_in_either_order() {
    assert_eq!(peer("update_only=true\n").unwrap().action, PeerAction::UpdateOnly);
    assert_eq!(peer("update_only=true\nremove=true\n").unwrap().action, PeerAction::Remove);
    assert_eq!(peer("remove=true\nupdate_only=true\n").unwrap().action, PeerAction::Remove);
}

#[test]
fn bad_values_name_their_key() {
    let short = "0".repeat(63);
    let device =
        ["private_key=", &format!("private_key={short}"), "listen_port=65536", "listen_port=", "listen_port=+1"];
    let device = device.into_iter().chain(["fwmark=4294967296", "fwmark=x", "replace_peers=false", "replace_peers="]);
    for line in device {
        let Err(RequestError::Value { line: 2, key, .. }) = set(&format!("{line}\n")) else { panic!("{line}") };
        assert_eq!(key, line.split_once('=').unwrap().0);
    }
    let of_peer = [
        "public_key=00",
        "remove=1",
        "update_only=yes",
        "preshared_key=",
        "endpoint=",
        "endpoint=host:1",
        "endpoint=::1:51820",
        "endpoint=[192.0.2.1]:1",
        "endpoint=192.0.2.1",
        "endpoint=[::1]:65536",
        "endpoint=192.0.2.1:0",
        "endpoint=[2001:db8::1]:0",
        "endpoint=[fe80::1%]:1",
        "persistent_keepalive_interval=65536",
        "persistent_keepalive_interval=off",
        "replace_allowed_ips=false",
        "allowed_ip=10.0.0.1",
        "allowed_ip=10.0.0.0/33",
        "allowed_ip=--10.0.0.0/8",
        "allowed_ip=",
        "protocol_version=2",
    ];
    for line in of_peer {
        let Err(RequestError::Value { line: 3, key, .. }) = peer(&format!("{line}\n")) else { panic!("{line}") };
        assert_eq!(key, line.split_once('=').unwrap().0);
    }
}

#[test]
fn keys_stay_in_their_place() {
    let late = set(&format!("public_key={A}\nlisten_port=1\n")).unwrap_err();
    assert!(matches!(late, RequestError::Misplaced { line: 3, key: "listen_port", .. }));
    let early = set("endpoint=192.0.2.1:1\n").unwrap_err();
    assert!(matches!(early, RequestError::Misplaced { line: 2, key: "endpoint", .. }));
}

#[test]
fn what_is_not_of_the_protocol_is_refused_with_its_errno() {
    for (request, errno) in [
        ("set=1\nfoo=1\n\n", 22),
        ("set=1\n\nlisten_port=1\n\n", 22),
        ("set=1\nlisten_port\n\n", 71),
        ("set=2\n\n", 71),
        ("\n\n", 71),
        ("", 71),
        ("set=1\nlisten_port=1\n", 71),
        ("set=1\r\n\r\n", 71),
    ] {
        assert_eq!(parse(request, no_zone).unwrap_err().errno(), errno, "{request:?}");
    }
    assert_eq!(set(&format!("fwmark={}\n", "0".repeat(MAX_LINE))).unwrap_err().errno(), 90);
    assert_eq!(parse(&"x".repeat(MAX_REQUEST + 1), no_zone).unwrap_err().errno(), 90);
}

#[test]
fn errors_repeat_no_secret() {
    for lines in [format!("private_key={A}0\n"), format!("{A}=x\n"), format!("{A}\n")] {
        let error = set(&lines).unwrap_err();
        assert!(!error.to_string().contains(&A[..16]), "{error}");
    }
}

proptest! {
    #[test]
    fn what_is_formatted_parses_back_equal(update in strategies::update()) {
        let request = Request::Set(update);
        prop_assert_eq!(parse(&format(&request), no_zone), Ok(request));
    }

    #[test]
    fn any_text_parses_or_is_refused(text in ".{0,300}") {
        let _ = parse(&text, no_zone);
        let _ = parse(&format!("set=1\npublic_key={A}\n{text}\n\n"), no_zone);
    }
}

//! Peers that change, and those that do not.

use std::collections::BTreeMap;
use std::time::Duration;

use maybetun_integration_tests::{Capture, ClientFile, Datagram, Message, Stream, count, defense, eventually};

use super::{INNER, add_peer, down, edit, reload, shown, up};

/// What both ends agreed on, once they have.
fn fingerprint(file: &ClientFile) -> String {
    let mut found = String::new();
    eventually("both ends agree", Duration::from_secs(60), || {
        let peer = shown(file, &file.relay.public_key);
        found = peer["negotiation"]["epoch"]["fingerprint"].as_str().unwrap_or_default().to_owned();
        peer["protection"] == "protected"
    });
    found
}

#[test]
fn a_peer_that_the_file_says_the_same_of_notices_nothing() {
    let file = ClientFile::new(INNER, "");
    edit(&file, "AllowedIPs", "Defense = ephemeral\nDefenseTier = size\nAllowedIPs");
    defense(&file.relay, "on ephemeral").success();
    let _daemon = up(&file, &[]);
    let before = (fingerprint(&file), shown(&file, &file.relay.public_key));
    let capture = Capture::start(&file.client, &file.wire.left);
    let pings = {
        let address = file.relay.v4();
        let host = file.client.namespace().to_owned();
        std::thread::spawn(move || {
            let mut command = std::process::Command::new("ip");
            command.args(["netns", "exec", &host, "ping", "-n", "-q", "-i", "0.02", "-c", "150", "-W", "5", &address]);
            maybetun_integration_tests::run(&mut command, "").success()
        })
    };
    let stream = Stream::start(&file.client, &file.relay.host, file.relay.inner(5000));
    stream.advance(100_000);

    let other = add_peer(&file, "AllowedIPs = 198.18.0.0/24\nDefense = front\n");
    edit(&file, "Address = 10.9.0.1/24", "Address = 10.9.7.1/24, 10.9.0.1/24");
    let said = reload(&file).success();
    assert!(said.contains(&format!("peer {other}: added")) && said.contains("Address"), "{said}");
    assert!(!said.contains(&file.relay.public_key), "{said}");
    stream.advance(100_000);
    assert!(file.client.ip("route get 198.18.0.1").contains(&file.interface));
    assert_eq!(shown(&file, &other)["defense"]["name"], "front");

    edit(&file, "198.18.0.0/24", "198.18.4.0/24\nPersistentKeepalive = 9");
    edit(&file, "Defense = front\n", "");
    let said = reload(&file).success();
    assert!(said.contains(&format!("peer {other}: AllowedIPs, PersistentKeepalive, Defense")), "{said}");
    let routes = file.client.ip("route");
    assert!(routes.contains("198.18.4.0/24") && !routes.contains("198.18.0.0/24"), "{routes}");
    assert!(shown(&file, &other)["defense"].is_null());
    stream.advance(100_000);

    let text = file.read();
    file.write(text.rsplit_once("\n[Peer]").unwrap().0);
    let said = reload(&file).success();
    assert!(said.contains(&format!("peer {other}: removed")), "{said}");
    assert_eq!(reload(&file).success(), format!("{}: nothing to change\n", file.interface));
    stream.advance(100_000);
    stream.finish();
    assert!(pings.join().unwrap().contains("150 received"), "a ping was lost");

    let after = (fingerprint(&file), shown(&file, &file.relay.public_key));
    assert_eq!(before.0, after.0, "they agreed anew");
    assert_eq!(before.1["endpoint"], after.1["endpoint"]);
    assert_eq!(
        (&before.1["handshakes"], &before.1["last_handshake"]),
        (&after.1["handshakes"], &after.1["last_handshake"])
    );
    assert!(count(&after.1["defense"], "normal_sent_bytes") > count(&before.1["defense"], "normal_sent_bytes"));
    // One session each way, whose counters go on.
    let datagrams = capture.finish();
    assert!(datagrams.len() > 300 && datagrams.iter().all(Datagram::is_data), "a handshake was made");
    let mut counters: BTreeMap<_, Vec<u64>> = BTreeMap::new();
    for Message { receiver, counter, .. } in datagrams.iter().map(|datagram| datagram.message) {
        counters.entry(receiver).or_default().push(counter.unwrap());
    }
    assert_eq!(counters.len(), 2, "{:?}", counters.keys());
    for counters in counters.values() {
        assert!(counters.windows(2).all(|pair| pair[1] == pair[0] + 1));
    }
    down(&file);
}

#[test]
fn a_peer_that_moved_stays_where_it_is_until_the_file_says_another_place() {
    let file = ClientFile::new(INNER, "");
    file.relay.host.ip(&format!("addr add 192.0.2.7/24 dev {}", file.wire.right));
    let _daemon = up(&file, &[]);
    // As if it had called from there.
    file.client
        .run(&format!("wg set {} peer {} endpoint 192.0.2.7:51820", file.interface, file.relay.public_key))
        .success();
    add_peer(&file, "AllowedIPs = 198.18.0.0/24\n");
    reload(&file).success();
    assert_eq!(shown(&file, &file.relay.public_key)["endpoint"], "192.0.2.7:51820");
    edit(&file, "192.0.2.2:51820", "192.0.2.2:51821");
    reload(&file).success();
    assert_eq!(shown(&file, &file.relay.public_key)["endpoint"], "192.0.2.2:51821");
    down(&file);
}

#[test]
fn a_defense_comes_and_goes_under_a_stream() {
    let file = ClientFile::new(INNER, "");
    defense(&file.relay, "on ephemeral").success();
    let _daemon = up(&file, &[]);
    let stream = Stream::start(&file.client, &file.relay.host, file.relay.inner(5000));
    stream.advance(100_000);
    let mut before = "AllowedIPs".to_owned();
    for says in
        ["Defense = ephemeral\nDefenseTier = size\n", "Defense = ephemeral\nBundling = off\n", "Defense = front\n", ""]
    {
        let after = format!("{says}AllowedIPs");
        edit(&file, &before, &after);
        before = after;
        let said = reload(&file).success();
        assert_eq!(said, format!("{}: peer {}: Defense\n", file.interface, file.relay.public_key));
        stream.advance(100_000);
    }
    stream.finish();
    assert_eq!(shown(&file, &file.relay.public_key)["handshakes"], 1);
    down(&file);
}

#[test]
fn keys_and_port_change_and_the_tunnel_goes_on_with_them() {
    let file = ClientFile::new(INNER, "ListenPort = 7000\n");
    let _daemon = up(&file, &[]);
    let preshared = maybetun_integration_tests::preshared_key();
    edit(&file, "ListenPort = 7000", "ListenPort = 7001");
    edit(&file, "AllowedIPs", &format!("PresharedKey = {preshared}\nAllowedIPs"));
    let said = reload(&file).success();
    assert!(said.contains("ListenPort") && said.contains("PresharedKey"), "{said}");
    assert!(file.client.run("ss -Hulpn").success().contains(":7001"));
    let keys = maybetun_integration_tests::Keys::new();
    let own = file.read().lines().find(|line| line.starts_with("PrivateKey")).unwrap().to_owned();
    edit(&file, &own, &format!("PrivateKey = {}", keys.private));
    let peer = format!("peer {} allowed-ips 10.9.0.1/32,fd09::1/128 preshared-key /dev/stdin", keys.public);
    file.relay.daemon.wg_with_input(&file.relay.host, "set", &peer, &preshared).success();
    assert!(reload(&file).success().contains("PrivateKey"));
    file.client.reaches(&file.relay.v4());
    down(&file);
}

#[test]
fn a_key_that_only_a_hook_gave_stays() {
    let file = ClientFile::new(INNER, "");
    let line = file.read().lines().find(|line| line.starts_with("PrivateKey = ")).unwrap().to_owned();
    let key = file.client.tunnels().with_extension("key");
    std::fs::write(&key, line.trim_start_matches("PrivateKey = ")).unwrap();
    edit(&file, &line, &format!("PostUp = wg set %i private-key {}", key.display()));
    let _daemon = up(&file, &["--allow-hooks"]);
    file.client.reaches(&file.relay.v4());
    edit(&file, "MTU = 1400", "MTU = 1300");
    reload(&file).success();
    file.client.reaches(&file.relay.v4());
    std::fs::remove_file(key).unwrap();
    down(&file);
}

//! Endpoint names: looked up for a reload, and again for a peer that does not answer.

use std::time::Duration;

use maybetun_integration_tests::{ClientFile, Etc, eventually};

use super::{INNER, add_peer, down, edit, maybetun, reload, shown, up};

#[test]
fn only_the_names_of_endpoints_that_changed_are_looked_up() {
    let file = ClientFile::new(INNER, "");
    let etc = Etc::of(&file.client);
    etc.write("hosts", "192.0.2.2 relay.example\n192.0.2.3 other.example\n");
    etc.write("resolv.conf", "");
    edit(&file, "192.0.2.2:51820", "relay.example:51820");
    let _daemon = up(&file, &[]);
    // Now it would have another address, and the next has one for the first time.
    etc.write("hosts", "192.0.2.9 relay.example\n192.0.2.3 other.example\n");
    let key = add_peer(&file, "Endpoint = other.example:7\nAllowedIPs = 198.18.0.0/24\n");
    reload(&file).success();
    assert_eq!(shown(&file, &key)["endpoint"], "192.0.2.3:7");
    assert_eq!(shown(&file, &file.relay.public_key)["endpoint"], "192.0.2.2:51820");
    edit(&file, "relay.example:51820", "relay.example:51821");
    reload(&file).success();
    assert_eq!(shown(&file, &file.relay.public_key)["endpoint"], "192.0.2.9:51821");
    down(&file);
}

#[test]
fn a_relay_that_moved_is_found_by_its_name_without_a_restart() {
    let file = ClientFile::new(INNER, "KillSwitch = on\nSaveConfig = true\n");
    let etc = Etc::of(&file.client);
    etc.write("hosts", "192.0.2.2 relay.example\n");
    etc.write("resolv.conf", "");
    edit(&file, "192.0.2.2:51820", "relay.example:51820");
    // It moves before it was ever called: while there is a session, 15 s of silence come first.
    file.relay.host.ip(&format!("addr del 192.0.2.2/24 dev {}", file.wire.right));
    file.relay.host.ip(&format!("addr add 192.0.2.7/24 dev {}", file.wire.right));
    maybetun(&file.client, &format!("up -d {}", file.path().display())).success();
    assert_eq!(shown(&file, &file.relay.public_key)["endpoint"], "192.0.2.2:51820");
    etc.write("hosts", "192.0.2.7 relay.example\n");
    // Pings have it call. A handshake is given up after 90 s.
    let ping = format!("ping -n -q -c 1 -W 1 {}", file.relay.v4());
    eventually("the relay is called where it is", Duration::from_secs(300), || file.client.run(&ping).is_success());
    assert_eq!(shown(&file, &file.relay.public_key)["endpoint"], "192.0.2.7:51820");
    let remembered =
        std::fs::read_to_string(file.client.tunnels().join(format!("{}.endpoints", file.interface))).unwrap();
    assert!(remembered.contains("192.0.2.7"), "{remembered}");
    down(&file);
    assert!(file.read().contains("Endpoint = relay.example:51820"), "what is saved has its name: {}", file.read());
}

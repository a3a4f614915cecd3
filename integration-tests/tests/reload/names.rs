//! Endpoint names: looked up for a reload.

use maybetun_integration_tests::{ClientFile, Etc};

use super::{INNER, add_peer, down, edit, reload, shown, up};

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

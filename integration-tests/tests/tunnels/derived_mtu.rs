//! The MTU that `up` derives where the file says none: never too small for the file's IPv6, never the loopback's.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use maybetun_integration_tests::{Background, ClientFile, Finished, Host, eventually, maybetun_program, run};

const INNER: &str = "10.9.0.0/24, fd09::/64";

/// Runs `maybetun COMMAND FILE`.
fn maybetun(file: &ClientFile, command: &str) -> Finished {
    run(file.client.command(maybetun_program()).args(command.split(' ')).arg(file.path()), "")
}

fn down(file: &ClientFile) {
    run(file.client.command(maybetun_program()).args(["down", &file.interface]), "").success();
    file.assert_gone();
}

/// Writes the file without the lines that begin with `key`.
fn without(file: &ClientFile, key: &str) {
    let lines: Vec<_> = file.read().lines().filter(|line| !line.starts_with(key)).map(str::to_owned).collect();
    file.write(&(lines.join("\n") + "\n"));
}

/// Returns the MTU of the tunnel's interface in bytes.
fn mtu(file: &ClientFile) -> u16 {
    let link = file.client.ip(&format!("-o link show dev {}", file.interface));
    let (_, rest) = link.split_once(" mtu ").unwrap();
    rest.split(' ').next().unwrap().parse().unwrap()
}

fn narrow_the_wire(file: &ClientFile, mtu: u16) {
    file.client.ip(&format!("link set {} mtu {mtu}", file.wire.left));
    file.relay.host.ip(&format!("link set {} mtu {mtu}", file.wire.right));
}

#[test]
fn over_a_link_of_1280_bytes_a_file_keeps_its_ipv6_address() {
    for endpoint in ["192.0.2.2:51820", "[2001:db8:1::2]:51820"] {
        let file = ClientFile::new(INNER, "SaveConfig = true\n");
        without(&file, "MTU");
        file.write(&file.read().replace("192.0.2.2:51820", endpoint));
        narrow_the_wire(&file, 1_280);
        let up = maybetun(&file, "up -d");
        assert!(up.is_success(), "{up:#?}");
        let said: Vec<_> = up.stderr.lines().filter(|line| line.contains("MTU of 1200")).collect();
        assert!(matches!(said[..], [line] if line.contains("1280")), "{up:#?}");
        assert_eq!(mtu(&file), 1_280);
        // The largest packets get through, in datagrams that are cut; the relay's are none larger.
        file.relay.host.ip(&format!("link set {} mtu 1280", file.relay.daemon.interface()));
        file.client.reaches(&file.relay.v4());
        file.client.reaches(&file.relay.v6());
        file.client.ping_sized(&file.relay.v4(), 1_280 - 28);
        file.client.ping_sized(&file.relay.v6(), 1_280 - 48);
        down(&file);
        assert!(file.read().contains("fd09::1/64"), "the file has lost its address:\n{}", file.read());
    }
}

#[test]
fn without_ipv6_the_tunnel_is_as_narrow_as_the_link_asks_for() {
    let file = ClientFile::new("10.9.0.0/24", "");
    without(&file, "MTU");
    file.write(&file.read().replace(", fd09::1/64", ""));
    narrow_the_wire(&file, 1_280);
    maybetun(&file, "up -d").success();
    assert_eq!(mtu(&file), 1_200);
    file.client.reaches(&file.relay.v4());
    down(&file);
}

/// Carries datagrams between a port of the client's loopback and the relay, as programs that hide WireGuard do.
struct Proxy {
    stop: Arc<AtomicBool>,
    work: Option<Background<()>>,
}

impl Proxy {
    fn start(client: &Host) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        let work = client.spawn(move || {
            let inside = UdpSocket::bind("127.0.0.1:5555").unwrap();
            let outside = UdpSocket::bind("0.0.0.0:0").unwrap();
            outside.connect("192.0.2.2:51820").unwrap();
            for socket in [&inside, &outside] {
                socket.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            }
            let mut buffer = vec![0; 65_536];
            let mut tunnel = None;
            while !told.load(Ordering::Relaxed) {
                while let Ok((length, from)) = inside.recv_from(&mut buffer) {
                    tunnel = Some(from);
                    // What does not fit the wire whole is cut by this host's kernel.
                    outside.send(&buffer[..length]).ok();
                }
                while let Ok(length) = outside.recv(&mut buffer) {
                    inside.send_to(&buffer[..length], tunnel.unwrap()).ok();
                }
            }
        });
        Self { stop, work: Some(work) }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(work) = self.work.take() {
            work.finish();
        }
    }
}

#[test]
fn behind_a_proxy_on_the_loopback_it_is_that_of_ethernet() {
    let file = ClientFile::new(INNER, "");
    without(&file, "MTU");
    file.write(&file.read().replace("192.0.2.2:51820", "127.0.0.1:5555"));
    let proxy = Proxy::start(&file.client);
    maybetun(&file, "up -d").success();
    assert_eq!(mtu(&file), 1_420);
    file.client.reaches(&file.relay.v4());
    let large = format!("ping -n -q -c 3 -W 5 -s 60000 {}", file.relay.v4());
    file.client.run(&large).success();
    drop(proxy);
    down(&file);
}

#[test]
fn behind_a_proxy_on_the_loopback_a_narrow_default_route_counts() {
    let file = ClientFile::new(INNER, "");
    without(&file, "MTU");
    narrow_the_wire(&file, 1_400);
    file.client.ip("route add default via 192.0.2.2");
    // An address of the host's own is no path either.
    for endpoint in ["127.0.0.1:5555", "[::1]:5555", "192.0.2.1:5555", "[2001:db8:1::1]:5555"] {
        file.write(&file.read().replace("192.0.2.2:51820", endpoint));
        maybetun(&file, "up -d").success();
        assert_eq!(mtu(&file), 1_320, "{endpoint}");
        down(&file);
        file.write(&file.read().replace(endpoint, "192.0.2.2:51820"));
    }
}

#[test]
fn the_interface_follows_a_path_that_narrows_and_widens() {
    for (inner, least) in [("10.9.0.0/24", 1_240), (INNER, 1_280)] {
        let file = ClientFile::new(inner, "");
        if inner != INNER {
            file.write(&file.read().replace(", fd09::1/64", ""));
        }
        maybetun(&file, "up -d").success();
        file.client.reaches(&file.relay.v4());
        for (wire, expected) in [(1_300, least), (1_500, 1_400), (1_400, 1_340)] {
            narrow_the_wire(&file, wire);
            eventually(&format!("the interface takes {expected} bytes"), Duration::from_secs(60), || {
                file.client.reaches(&file.relay.v4());
                mtu(&file) == expected
            });
        }
        // What the user sets is what the tunnel goes by.
        file.client.ip(&format!("link set {} mtu 1330", file.interface));
        file.client.reaches(&file.relay.v4());
        assert_eq!(mtu(&file), 1_330);
        down(&file);
    }
}

/// A file may route the peer's own address to the peer: nothing comes of that, and nothing is learned of the path.
#[test]
fn the_interface_does_not_follow_itself() {
    let file = ClientFile::new("192.0.2.2/32, 10.9.0.0/24", "");
    maybetun(&file, "up -d").success();
    let file_says = mtu(&file);
    // The path is looked at as something is sent.
    eventually("the peer is called", Duration::from_secs(60), || {
        file.client.run(&format!("ping -n -q -c 1 -W 1 {}", file.relay.v4()));
        let command = ["status", "--json", &file.interface];
        let status = run(file.client.command(maybetun_program()).args(command), "").success();
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        let interface = &status["interfaces"][0];
        let peer = &interface["peers"][0];
        assert!(peer["path_mtu"].is_null(), "{peer}");
        interface["dropped"]["came_back"].as_u64().is_some_and(|dropped| dropped >= 1)
    });
    assert_eq!(mtu(&file), file_says);
    down(&file);
}

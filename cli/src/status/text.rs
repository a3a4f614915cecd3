//! The state of tunnels as text, in the form that `wg show` made familiar.

use std::cmp::Reverse;
use std::time::{Duration, SystemTime};

use maybetun::settings::{HandshakeLoad, PeerStatus, Statistics};

use super::block::{Block, bytes, lines_of, span};
use super::{Named, Paint, defense, masking};

/// What stands in for a secret key.
const HIDDEN: &str = "(hidden)";

/// Renders every interface, its peers by their last handshake, the latest first.
pub(super) fn render(interfaces: &[Named], now: SystemTime, paint: Paint) -> String {
    let blocks: Vec<String> = interfaces.iter().map(|named| interface_block(named, now, paint)).collect();
    blocks.join("\n")
}

fn interface_block(named: &Named, now: SystemTime, paint: Paint) -> String {
    let status = &named.status;
    let mut block = Block::new(paint.interface(format_args!("interface: {}", named.name)), paint);
    if let Some(key) = &status.private_key {
        block.line("public key", key.public_key());
        block.line("private key", HIDDEN);
    }
    if status.listen_port != 0 {
        block.line("listening port", status.listen_port);
    }
    if status.fwmark != 0 {
        block.line("fwmark", format_args!("{:#x}", status.fwmark));
    }
    if named.kill_switch == Some(true) {
        block.line("kill switch", "closed");
    }
    block.counters(&status.dropped);
    block.optional_line("handshakes", handshake_load(&status.handshakes));

    let mut peers: Vec<&PeerStatus> = status.peers.iter().collect();
    peers.sort_by_key(|peer| Reverse(peer.last_handshake));
    peers.iter().fold(block.text, |text, peer| text + "\n" + &peer_block(peer, now, paint))
}

fn peer_block(peer: &PeerStatus, now: SystemTime, paint: Paint) -> String {
    let mut block = Block::new(paint.peer(format_args!("peer: {}", peer.public_key)), paint);
    if peer.preshared_key.is_some() {
        block.line("preshared key", HIDDEN);
    }
    if let Some(endpoint) = peer.endpoint {
        block.line("endpoint", endpoint);
    }
    let allowed: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    block.line("allowed ips", if allowed.is_empty() { "(none)".to_owned() } else { allowed.join(", ") });
    if let Some(at) = peer.last_handshake {
        block.line("latest handshake", ago(at, now));
    }
    let Statistics { received_bytes, sent_bytes, received_packets, sent_packets, .. } = peer.statistics;
    if received_bytes != 0 || sent_bytes != 0 {
        block.line("transfer", format_args!("{} received, {} sent", bytes(received_bytes), bytes(sent_bytes)));
    }
    if received_packets != 0 || sent_packets != 0 {
        block.line("packets", format_args!("{received_packets} received, {sent_packets} sent"));
    }
    block.counters(&peer.statistics);
    if peer.persistent_keepalive != 0 {
        let interval = Duration::from_secs(u64::from(peer.persistent_keepalive));
        block.line("persistent keepalive", format_args!("every {}", span(interval)));
    }
    block.optional_line("path", peer.path_mtu.map(|mtu| format!("takes {mtu} bytes, less than the MTU asks for")));
    if let Some(running) = &peer.defense {
        defense::describe(&mut block, running);
    }
    masking::describe(&mut block, peer);
    defense::describe_agreement(&mut block, peer);
    block.text
}

/// Says what a flood of handshake messages came to; `None` if there was none.
fn handshake_load(load: &HandshakeLoad) -> Option<String> {
    let HandshakeLoad { is_under_load, per_second, max_per_second, .. } = *load;
    let load_now =
        is_under_load.then(|| format!("under load with {per_second} a second, which is over {max_per_second}"));
    let refused = lines_of(load).into_iter().map(|(_, counts)| counts);
    let parts: Vec<_> = load_now.into_iter().chain(refused).collect();
    if parts.is_empty() { None } else { Some(parts.join("; ")) }
}

fn ago(at: SystemTime, now: SystemTime) -> String {
    match now.duration_since(at) {
        Ok(age) if age.as_secs() == 0 => "Now".to_owned(),
        Ok(age) => format!("{} ago", span(age)),
        Err(_) => "(the system clock went backward)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use maybetun::settings::{Counters, DefenseOptions, DefenseStatistics, DeviceDrops, SettingTold, Spelling, Told};

    use super::super::tests_support::{clock, sample};
    use super::*;

    #[test]
    fn the_state_of_a_tunnel_reads_like_wg_show() {
        let expected = "\
interface: wg0
  public key: hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
  private key: (hidden)
  listening port: 51820
  fwmark: 0xca6c
  kill switch: closed
  dropped: 3 unknown
  handshakes: under load with 182 a second, which is over 100; 90 answered by a cookie, 4 over the share of their source, 3 without a valid mac1

peer: AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=
  preshared key: (hidden)
  endpoint: [2001:db8::1]:51820
  allowed ips: 10.0.0.2/32, fd00::/64
  latest handshake: 1 minute, 3 seconds ago
  transfer: 1.21 KiB received, 2.00 MiB sent
  packets: 11 received, 12 sent
  dropped: 5 from a source not allowed, 6 replayed
  persistent keepalive: every 25 seconds
  path: takes 1400 bytes, less than the MTU asks for
  defense: sample, as client: 1 machine, padding at most 0.5 of packets
  limits: padding at most 0.25 of packets, 16.00 MiB/s
  normal: 2 B received, 1 B sent
  padding: 8 B received in 7 packets, 6 B sent in 5
  constant size: 4 B received, 3 B sent
  bundles: 19 packets received in 18, 17 sent in 16
  actions: 11 padding, 12 blocking, 13 capped
  blocked: 14.000 ms, at most 15 packets waiting
  timers late: 20 \u{b5}s (median), 125 \u{b5}s (99th percentile)
  padding not sent: 21 without a session, 22 queue full, 9 socket full, 23 over your fraction of packets, 24 over your rate, 25 over the rate of all peers together, 26 to an address that has not shown that it receives, 27 while the peer was silent
  defense dropped: 10 larger than the MTU
  marks ignored: 19 set by somebody on the path
  masking: adaptive, both ends
  activity: interactive
  target: video
  upload ratio: 5.2 % (kept in 3-8%)
  outer rates: 5.2 kB/s up, 100.0 kB/s down
  target rates: 4.0 kB/s up, 1.2 MB/s down
  budget: 12.0 MB of 20.0 MB a day, this end's part
  class visible: over the budget of masking
  protection: both ends run a defense that only they know
  negotiation: prefer, padding, medium, anew after 1 hour
  epoch: 4, agreed on 1 minute, 1 second ago: padding, high
  seed fingerprint: 05050505050505050505050505050505
  defense digest: 0606060606060606060606060606060606060606060606060606060606060606
  renewals: 3

peer: AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=
  allowed ips: (none)
";
        assert_eq!(render(&[sample()], clock(), Paint::Plain), expected);
    }

    /// Makes every counter of the sample 1, but for that of `key`, which is 7.
    fn counted<T: Counters + Default>(key: &str) -> T {
        let mut counters = T::default();
        for counter in T::all() {
            counters.set(counter.key, if counter.key == key { 7 } else { 1 });
        }
        counters
    }

    fn texts_of<T: Counters>(of: &mut Named, place: impl Fn(&mut Named, &str)) {
        let mut text = |key: &str| {
            place(of, key);
            render(std::slice::from_ref(of), clock(), Paint::Plain)
        };
        let mut texts = vec![text("none")];
        for counter in T::all() {
            if counter.told == Told::Unsaid {
                assert_eq!(text(counter.key), texts[0], "{}", counter.key);
            } else {
                let told = text(counter.key);
                assert!(!texts.contains(&told), "{} is not told, or as another", counter.key);
                texts.push(told);
            }
        }
    }

    #[test]
    fn each_counter_is_told_by_words_of_its_own() {
        let mut named = sample();
        texts_of::<DeviceDrops>(&mut named, |named, key| named.status.dropped = counted(key));
        texts_of::<HandshakeLoad>(&mut named, |named, key| {
            named.status.handshakes = HandshakeLoad { is_under_load: true, ..counted(key) };
        });
        texts_of::<Statistics>(&mut named, |named, key| named.status.peers[1].statistics = counted(key));
        texts_of::<DefenseStatistics>(&mut named, |named, key| {
            named.status.peers[1].defense.as_mut().unwrap().statistics = counted(key);
        });
    }

    #[test]
    fn each_setting_is_told() {
        let mut named = sample();
        for setting in DefenseOptions::SETTINGS.iter().filter(|setting| setting.told != SettingTold::Elsewhere) {
            let mut texts = BTreeSet::new();
            for example in setting.examples {
                let mut options = DefenseOptions::default();
                setting.set(&mut options, example, Spelling::File).unwrap();
                let peer = &mut named.status.peers[1];
                peer.negotiation.as_mut().unwrap().settings = options.ephemeral();
                peer.defense.as_mut().unwrap().settings.limits = options.limits();
                texts.insert(render(std::slice::from_ref(&named), clock(), Paint::Plain));
            }
            assert_eq!(texts.len(), setting.examples.len(), "{}", setting.key);
        }
    }

    #[test]
    fn interfaces_are_set_apart_and_none_is_nothing() {
        let bare = |name: &str| Named { name: name.to_owned(), status: Default::default(), kill_switch: None };
        assert_eq!(render(&[bare("a"), bare("b")], clock(), Paint::Plain), "interface: a\n\ninterface: b\n");
        assert_eq!(render(&[], clock(), Paint::Plain), "");
    }

    #[test]
    fn colour_changes_nothing_but_colour() {
        let painted = render(&[sample()], clock(), Paint::Ansi);
        let codes = ["\x1b[1;32m", "\x1b[1;33m", "\x1b[1m", "\x1b[0m"];
        let stripped = codes.iter().fold(painted.clone(), |text, code| text.replace(code, ""));
        assert_ne!(painted, stripped);
        assert_eq!(stripped, render(&[sample()], clock(), Paint::Plain));
    }

    #[test]
    fn a_handshake_now_or_in_the_future_is_told_so() {
        assert_eq!(ago(clock(), clock()), "Now");
        assert_eq!(ago(clock() + Duration::from_secs(9), clock()), "(the system clock went backward)");
    }
}

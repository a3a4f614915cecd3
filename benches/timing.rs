//! How exact a defense's timers are: two devices on loopback, one of which pads every 1,000 µs.
//!
//! `cargo bench --bench timing [-- SECONDS]`, 10 s by default. The figures are the process's own: lateness is counted where
//! a timer fires, and the rate is that of padding packets sealed. A busy machine shows in the 99th percentile.

use std::io::{self, Write as _};
use std::time::{Duration, Instant};

use maybetun::device::Options;
use maybetun::settings::{DefenseChange, DefenseSettings, DefenseStatistics, Role};
use maybetun_lab::devices::Side;

fn statistics(side: &Side) -> DefenseStatistics {
    let status = side.device.status();
    let defense = status.peers.first().and_then(|peer| peer.defense.as_ref());
    defense.map(|defense| defense.statistics).unwrap_or_default()
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> io::Result<()> {
    let seconds = std::env::args().filter_map(|argument| argument.parse().ok()).next().unwrap_or(10);
    let metronome = maybetun_machines::find("metronome").ok_or_else(|| io::Error::other("no metronome"))?;
    let start = async |last| Side::start([10, 0, 0, last].into(), Options::default()).await.map_err(io::Error::other);
    let (client, relay) = (start(1).await?, start(2).await?);
    let defense = DefenseChange::On(DefenseSettings::of(metronome, Role::Client));
    client.add(&relay, Some(defense)).await.map_err(io::Error::other)?;
    relay.add(&client, None).await.map_err(io::Error::other)?;
    // The first packet makes the session, and starts the machine.
    client.host.send_packet(client.packet_to(&relay, 20)).await?;
    relay.host.recv_packet().await;

    let (start, before) = (Instant::now(), statistics(&client));
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (elapsed, after) = (start.elapsed(), statistics(&client));
    let packets = after.padding_sent_packets - before.padding_sent_packets;
    let mut out = io::stdout().lock();
    writeln!(out, "asked   every 1,000 µs for {seconds} s")?;
    writeln!(out, "sent    {:.1} padding packets a second", packets as f64 / elapsed.as_secs_f64())?;
    writeln!(out, "late    p50 {:?}, p99 {:?}", after.lateness_p50, after.lateness_p99)
}

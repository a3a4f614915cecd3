//! `profile derive`: a profile of what was captured.

use std::fs::{self, File};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maybetun_machines::profile::capture::{self, Capture};
use maybetun_machines::profile::derive::{About, derive};
use maybetun_machines::profile::{Direction, Profile};

use super::summary;
use crate::exit::{Exit, Failure, OrExit as _};

/// Derives a profile from a capture of traffic, and prints its file.
///
/// The capture is one that tcpdump or Wireshark wrote (pcap or pcapng, of Ethernet, Linux cooked or IP frames), of at least half
/// a minute of one use; 96 bytes of each packet are enough. It is read for times, addresses and lengths alone, and may be of any
/// size; of what lies six hours behind its beginning, nothing is taken. Packets count with the length of their IP packet: a capture
/// of the tunnel's own datagrams is what a tunnel can imitate to the byte.
#[derive(Debug, clap::Args)]
pub(super) struct DeriveArgs {
    /// The capture.
    #[arg(long, value_name = "FILE")]
    pcap: PathBuf,

    /// An address of the client, whose upload and download it is; may be repeated. By default, whoever sent the first packet.
    #[arg(long, value_name = "ADDRESS")]
    client: Vec<IpAddr>,

    /// The profile's name: 1 to 32 of a-z, 0-9 and `-`.
    #[arg(long, default_value = "mine")]
    name: String,

    /// What it is a profile of.
    #[arg(long, default_value = "")]
    description: String,

    /// What was captured, when and how. By default, the name of the capture with how much is in it.
    #[arg(long)]
    source: Option<String>,

    /// Bytes up for bytes down, as `3-8%`. By default, the 5th to the 95th percentile of what passed in ten seconds.
    #[arg(long, value_name = "LOW-HIGH%", value_parser = parse_ratio)]
    ratio: Option<Ratio>,

    /// Where to write the file; what was derived is then summed up on standard output.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Low and high, in hundredths of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ratio(u16, u16);

/// Derives, and returns what to print.
pub(super) fn run(args: &DeriveArgs) -> anyhow::Result<String> {
    let path = args.pcap.display();
    let file = File::open(&args.pcap).or_exit(Exit::Config, format!("cannot read {path}"))?;
    let wrong = |error: &dyn std::fmt::Display| Failure::error(Exit::Config, format!("{path}: {error}"));
    let capture = capture::read(file, &args.client).map_err(|error| wrong(&error))?;
    let source = args.source.clone().unwrap_or_else(|| source(&args.pcap, &capture));
    let about = About {
        name: &args.name,
        description: &args.description,
        source: &source,
        upload_ratio: args.ratio.map(|Ratio(low, high)| (low, high)),
    };
    let profile = derive(&capture.traffic, &about).map_err(|error| wrong(&error))?;
    let Some(output) = &args.output else { return Ok(text(&profile)) };
    fs::write(output, text(&profile)).or_exit(Exit::Failure, format!("cannot write {}", output.display()))?;
    Ok(told(&capture) + &summary::details(&profile))
}

/// Returns the file's text, as `profile derive` writes it.
fn text(profile: &Profile) -> String {
    format!("# Made by `maybetun profile derive`.\n\n{}", profile.to_toml())
}

/// Says what was derived from.
fn source(path: &Path, capture: &Capture) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().replace(char::is_control, "?");
    let seconds = capture.traffic.duration().as_secs();
    format!("A capture, {name}: {} packets in {seconds} s", capture.traffic.packets())
}

fn told(capture: &Capture) -> String {
    let Capture { traffic, clients, others } = capture;
    let clients: Vec<_> = clients.iter().map(ToString::to_string).collect();
    let [up, down] = Direction::ALL.map(|direction| traffic.bytes(direction));
    let mut text = format!(
        "{} packets in {} s, of {}: {up} bytes up, {down} bytes down\n",
        traffic.packets(),
        traffic.duration().as_secs(),
        clients.join(", ")
    );
    if *others > 0 {
        text += &format!("{others} packets of others, or without a whole IP header\n");
    }
    if traffic.left_out() > 0 {
        text += &format!("{} packets left out, which came too late\n", traffic.left_out());
    }
    text
}

fn parse_ratio(text: &str) -> Result<Ratio, &'static str> {
    const EXPECTED: &str = "expected LOW-HIGH%, as 3-8% or 2.5-7.25%, at most 655.35%";
    let (low, high) = text.strip_suffix('%').and_then(|text| text.split_once('-')).ok_or(EXPECTED)?;
    let [low, high] = [low, high].map(|number| hundredths(number).ok_or(EXPECTED));
    let ratio = Ratio(low?, high?);
    if ratio.0 > ratio.1 {
        return Err("expected the lower number first");
    }
    Ok(ratio)
}

/// Reads a number with at most two decimals.
fn hundredths(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_plain = !whole.is_empty() && decimals.len() <= 2;
    if !is_plain || !whole.bytes().chain(decimals.bytes()).all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let decimals = format!("{decimals:0<2}").parse::<u16>().ok()?;
    whole.parse::<u16>().ok()?.checked_mul(100)?.checked_add(decimals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;

    /// A capture of raw IP: each 100 ms for a minute, 100 bytes up and 1,400 down.
    fn sample() -> Vec<u8> {
        let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
        let mut bytes = words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, 101]);
        for tick in 0..600 {
            for (from, to, length) in [(2, 1, 100u16), (1, 2, 1_400)] {
                let [high, low] = length.to_be_bytes();
                bytes.extend(words(&[tick / 10, tick % 10 * 100_000, 20, length.into()]));
                bytes.extend([0x45, 0, high, low, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, from, 10, 0, 0, to]);
            }
        }
        bytes
    }

    fn args(pcap: PathBuf, output: Option<PathBuf>) -> DeriveArgs {
        DeriveArgs {
            pcap,
            client: Vec::new(),
            name: "mine".to_owned(),
            description: "A tick".to_owned(),
            source: None,
            ratio: None,
            output,
        }
    }

    #[test]
    fn a_capture_becomes_a_file_that_is_valid() {
        let directory = tempfile::tempdir().unwrap();
        let [pcap, output] = ["tick.pcap", "tick.toml"].map(|name| directory.path().join(name));
        fs::write(&pcap, sample()).unwrap();
        let printed = run(&args(pcap.clone(), None)).unwrap();
        let told = run(&args(pcap, Some(output.clone()))).unwrap();
        assert_eq!(fs::read_to_string(output).unwrap(), printed);
        assert!(
            told.starts_with("1200 packets in 59 s, of 10.0.0.2: 60000 bytes up, 840000 bytes down\nmine: A tick\n"),
            "{told}"
        );
        let profile = Profile::parse(&printed).unwrap();
        assert_eq!(profile.source(), "A capture, tick.pcap: 1200 packets in 59 s");
        assert_eq!(profile.upload_ratio(), (714, 714));
        assert!(profile.mean_rates().download.abs_diff(14_000) < 300, "{:?}", profile.mean_rates());
    }

    #[test]
    fn what_cannot_be_derived_from_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let pcap = directory.path().join("x.pcap");
        fs::write(&pcap, sample()).unwrap();
        let other = DeriveArgs { client: vec![[10, 0, 0, 3].into()], ..args(pcap.clone(), None) };
        let error = run(&other).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{}: no packets of the client in it: is its address right?", pcap.display())
        );
        assert_eq!(exit::of(&error), Exit::Config);
        fs::write(&pcap, "no capture").unwrap();
        let error = run(&args(pcap.clone(), None)).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: neither pcap nor pcapng", pcap.display()));
        assert_eq!(exit::of(&run(&args(directory.path().join("none"), None)).unwrap_err()), Exit::Config);
    }

    #[test]
    fn a_ratio_is_two_percentages() {
        for (text, ratio) in
            [("3-8%", Ratio(300, 800)), ("2.5-7.25%", Ratio(250, 725)), ("0-655.35%", Ratio(0, u16::MAX))]
        {
            assert_eq!(parse_ratio(text), Ok(ratio), "{text}");
        }
        for text in ["", "%", "3%", "3-8", "-3-8%", "3-655.36%", "3.001-8%", "a-b%", "3--8%", "8-3%", "+3-8%", ".5-1%"]
        {
            assert!(parse_ratio(text).is_err(), "{text}");
        }
    }
}

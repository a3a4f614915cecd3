//! Real tunnels between hosts in network namespaces: the tools that the tests of this crate share.
//!
//! A test makes [`Host`]s, joins them by a [`Wire`], starts an [`Implementation`] of WireGuard on each, and looks at what
//! crosses the tunnel. [`Setup`] does all of it for the usual case: a client and a relay. Everything a test makes bears
//! the test's process id in its name and is taken away when it is dropped, also while a test panics.
//!
//! The functions here panic, with a message that says what was run and what came of it: that is how a test fails.
//! They need root, `ip`, `ping`, `wg` and the programs under test:
//!
//! | variable | names | without it |
//! |---|---|---|
//! | `MAYBETUN_BIN` | the `maybetun` to test | `target/release/maybetun` |
//! | `GOTATUN_BIN` | gotatun, built with its feature `daita-uapi` | `target/peers/bin/gotatun` |
//! | `WIREGUARD_GO_BIN` | wireguard-go | `wireguard-go`, from the path |

mod call;
mod capture;
mod client_file;
mod command;
mod crowd;
mod daemon;
mod defense;
mod differential;
mod echo;
mod etc;
mod flood;
mod heavy;
mod host;
pub mod initiator;
mod leaving;
pub mod lies;
mod machine;
mod meddler;
mod memory;
mod names;
mod narrow;
mod pair;
mod played;
pub mod raw;
mod resident;
mod sink;
mod stage;
mod star;
mod status;
mod stream;
mod tunnel;
mod uapi;
mod udp_flood;
mod uplinks;
mod wait;
mod wire;

pub use call::Call;
pub use capture::Capture;
pub use client_file::ClientFile;
pub use command::{Finished, run};
pub use crowd::{Crowd, Measured, Member};
pub use daemon::{Daemon, Implementation, maybetun_program};
pub use defense::{count, defense, enable_machines, shown_defense, shown_peer, transfer};
pub use differential::Differential;
pub use echo::{echo_reply, echo_request};
pub use etc::Etc;
pub use flood::{Flood, handshake_initiation};
pub use heavy::{Heavy, alone};
pub use host::{Background, Host};
pub use leaving::{Leaving, Left, Prober};
pub use machine::{block_and_pause, metronome, padding_bursts, random_padding, runaway};
pub use maybetun_lab::classifier::{Sample, Told, tell};
pub use maybetun_lab::datagram::{Datagram, IpFields, Message};
pub use meddler::{Meddler, Meddling};
pub use memory::{Copies, copies};
pub use names::interface_name;
pub use narrow::Narrow;
pub use pair::{End, Outer, Pair, Setup};
pub use played::{Carried, PlayedRelay, Read};
pub use resident::resident;
pub use sink::Sink;
pub use stage::Stage;
pub use star::Star;
pub use status::{PeerDump, dump, status_json};
pub use stream::{MEGABYTE, Stream};
pub use tunnel::{Config, Keys, PeerConfig, preshared_key};
pub use uapi::{ask, errno, key_in_hex, value_of};
pub use udp_flood::{Offered, UdpFlood};
pub use uplinks::{Multihomed, Twofold, Uplinks};
pub use wait::eventually;
pub use wire::{Network, Wire};

/// Defines one test for each pair of implementations in which maybetun takes part, for each function named.
///
/// Each function takes the [`Setup`] of a pair and says what must hold of it.
#[macro_export]
macro_rules! for_every_pair {
    ($($behaviour:ident),+ $(,)?) => {
        $(
            mod $behaviour {
                use $crate::Implementation::{Gotatun, Maybetun, WireguardGo};
                use $crate::Setup;

                #[test]
                fn maybetun_to_maybetun() {
                    super::$behaviour(Setup::between(Maybetun, Maybetun));
                }

                #[test]
                fn maybetun_to_wireguard_go() {
                    super::$behaviour(Setup::between(Maybetun, WireguardGo));
                }

                #[test]
                fn wireguard_go_to_maybetun() {
                    super::$behaviour(Setup::between(WireguardGo, Maybetun));
                }

                #[test]
                fn maybetun_to_gotatun() {
                    super::$behaviour(Setup::between(Maybetun, Gotatun));
                }

                #[test]
                fn gotatun_to_maybetun() {
                    super::$behaviour(Setup::between(Gotatun, Maybetun));
                }
            }
        )+
    };
}

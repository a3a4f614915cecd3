//! When the kill switch is closed and opened, from the first look to the last hook.

use ipnet::IpNet;
use maybetun::config::Interface;
use tokio::task::JoinSet;

use crate::exit::{Exit, Failure};
use crate::network::kill_switch::{self, Addresses, Settings};
use crate::service::End;

/// What the command line says of the kill switch, beside the file.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct KillSwitchArgs {
    /// Lets nothing leave the machine but the tunnel, from now until `maybetun down`, as KillSwitch = on in the file.
    #[arg(long)]
    kill_switch: bool,

    /// Networks that the kill switch lets through, beside the file's KillSwitchAllow.
    #[arg(long, value_name = "CIDR", value_delimiter = ',', value_parser = parse_network)]
    kill_switch_allow: Vec<IpNet>,
}

fn parse_network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse().map(|address: std::net::IpAddr| address.into()));
    match network {
        Ok(network) if network.prefix_len() > 0 => Ok(network.trunc()),
        Ok(_) => Err("a network of length 0 would leave nothing of the kill switch".to_owned()),
        Err(_) => Err("expected ADDRESS/LENGTH".to_owned()),
    }
}

impl KillSwitchArgs {
    /// Returns the networks to let through, or `None` if no switch is asked for.
    ///
    /// # Errors
    /// When there are exceptions to a switch that nobody asked for.
    fn allowed(&self, interface: &Interface) -> anyhow::Result<Option<Vec<IpNet>>> {
        if self.kill_switch || interface.kill_switch {
            return Ok(Some(interface.kill_switch_allow.iter().chain(&self.kill_switch_allow).copied().collect()));
        }
        if self.kill_switch_allow.is_empty() {
            return Ok(None);
        }
        let message = "--kill-switch-allow: expected --kill-switch, or KillSwitch = on in the file";
        Err(Failure::error(Exit::Usage, message))
    }
}

/// How far a switch that is asked for has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is as it was found.
    Untouched,
    /// It is closed, or about to be.
    Closing,
    /// It is closed, and the tunnel came up.
    Up,
}

/// How a switch was before it was tightened.
#[derive(Debug)]
pub(super) struct Before {
    allowed: Option<Vec<IpNet>>,
    settings: Option<Settings>,
    stage: Stage,
}

/// The kill switch of one tunnel.
#[derive(Debug)]
pub(super) struct KillSwitch {
    name: String,
    args: KillSwitchArgs,
    /// The networks to let through; `None` if no switch is asked for.
    allowed: Option<Vec<IpNet>>,
    /// What it is closed for, once it is.
    settings: Option<Settings>,
    /// Whether a tunnel of this name had left it closed.
    was_closed: bool,
    stage: Stage,
    /// One task, which keeps it closed.
    keeper: JoinSet<()>,
}

impl KillSwitch {
    /// Looks how the switch is, and changes nothing.
    ///
    /// # Errors
    /// When it is asked for and cannot be had, or was left closed and is not asked for.
    pub(super) async fn find(name: &str, args: &KillSwitchArgs, interface: &Interface) -> anyhow::Result<Self> {
        let allowed = args.allowed(interface)?;
        let closed = if allowed.is_some() {
            kill_switch::check()?;
            kill_switch::closed().await?
        } else {
            // Whoever may not look may not make an interface either, and that has the clearer message.
            kill_switch::closed().await.unwrap_or_default()
        };
        let was_closed = closed.iter().any(|other| other == name);
        if was_closed && allowed.is_none() {
            let message = format!(
                "the kill switch of {name} is still closed: `maybetun down {name}` opens it, and --kill-switch, or \
                 KillSwitch = on, goes on with it"
            );
            return Err(Failure::error(Exit::InUse, message));
        }
        if let Some(other) = closed.iter().find(|other| *other != name).filter(|_| allowed.is_none()) {
            tracing::warn!("the kill switch of {other} is closed: it drops the datagrams of {name}");
        }
        Ok(Self {
            name: name.to_owned(),
            args: args.clone(),
            allowed,
            settings: None,
            was_closed,
            stage: Stage::Untouched,
            keeper: JoinSet::new(),
        })
    }

    /// Tells whether a switch is asked for.
    pub(super) fn is_wanted(&self) -> bool {
        self.allowed.is_some()
    }

    /// Returns the addresses of endpoints as they were when the switch was closed by the tunnel before; none if it was not.
    pub(super) fn remembered(&self) -> Addresses {
        if self.was_closed { kill_switch::endpoints(&self.name) } else { Addresses::new() }
    }

    /// Warns of endpoint names that have to be looked up, if the switch is closed: that may be in vain, and takes long.
    pub(super) fn warn_of_lookups(&self, names: usize) {
        if self.was_closed && names > 0 {
            let name = &self.name;
            tracing::warn!(
                "the kill switch is closed, and {names} endpoint name(s) had no address when it was: if they cannot be \
                 looked up, `maybetun down {name}` opens it"
            );
        }
    }

    /// Closes the switch, if one is asked for. The tunnel's datagrams have `mark`.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(super) async fn close(&mut self, mark: u32, endpoints: &Addresses) -> anyhow::Result<()> {
        let Some(allowed) = &self.allowed else { return Ok(()) };
        // Before it is done: what is cut short may be done all the same.
        self.stage = Stage::Closing;
        let settings =
            Settings { interface: self.name.clone(), mark, allowed: allowed.clone(), endpoints: endpoints.clone() };
        self.close_as(settings).await?;
        tracing::info!("the kill switch is closed");
        Ok(())
    }

    /// Closes it, or gives it other rules without a gap, and keeps it so.
    async fn close_as(&mut self, settings: Settings) -> anyhow::Result<()> {
        kill_switch::close(&settings).await?;
        self.keeper.shutdown().await;
        self.keeper.spawn(kill_switch::keep(settings.clone()));
        self.settings = Some(settings);
        Ok(())
    }

    /// Returns what another file, and the command line as it was, ask for: the networks to let through, or `None` for no
    /// switch.
    ///
    /// # Errors
    /// When it is asked for and cannot be had.
    pub(super) fn asked(&self, interface: &Interface) -> anyhow::Result<Option<Vec<IpNet>>> {
        let allowed = self.args.allowed(interface)?;
        if allowed.is_some() {
            kill_switch::check()?;
        }
        Ok(allowed)
    }

    /// Has it be closed as another file asks for. One that is asked for no more stays closed, as it was, until
    /// [`loosen`](Self::loosen). What is returned takes it [`back`](Self::back).
    ///
    /// # Errors
    /// When the kernel refuses it. Then nothing has changed.
    pub(super) async fn tighten(
        &mut self,
        asked: Option<&Vec<IpNet>>,
        mark: u32,
        endpoints: Addresses,
    ) -> anyhow::Result<Before> {
        let before = Before { allowed: self.allowed.clone(), settings: self.settings.clone(), stage: self.stage };
        let Some(allowed) = asked.or(self.allowed.as_ref()).cloned() else { return Ok(before) };
        let settings = Settings { interface: self.name.clone(), mark, allowed: allowed.clone(), endpoints };
        if self.settings.as_ref() == Some(&settings) {
            return Ok(before);
        }
        let is_new = self.settings.is_none();
        self.allowed = Some(allowed);
        if is_new {
            self.stage = Stage::Closing;
        }
        if let Err(error) = self.close_as(settings).await {
            (self.allowed, self.stage) = (before.allowed, before.stage);
            return Err(error);
        }
        self.stage = Stage::Up;
        if is_new {
            tracing::info!("the kill switch is closed");
        }
        Ok(before)
    }

    /// Makes it what it was: what it was tightened for did not come about.
    pub(super) async fn back(&mut self, before: Before) {
        let Before { allowed, settings, stage } = before;
        let result = match settings {
            Some(settings) if self.settings.as_ref() != Some(&settings) => self.close_as(settings).await,
            None if self.settings.is_some() => self.open().await,
            Some(_) | None => Ok(()),
        };
        match result {
            Ok(()) => (self.allowed, self.stage) = (allowed, stage),
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    /// Opens it if another file asks for it no more; the last thing to be done for that.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) async fn loosen(&mut self, asked: Option<&Vec<IpNet>>) -> anyhow::Result<()> {
        if asked.is_some() || self.allowed.is_none() {
            return Ok(());
        }
        self.open().await?;
        (self.allowed, self.stage, self.was_closed) = (None, Stage::Untouched, false);
        tracing::info!("the kill switch is open");
        Ok(())
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        self.keeper.shutdown().await;
        if let Err(error) = kill_switch::open(&self.name).await {
            // It is closed, and stays so.
            if let Some(settings) = self.settings.clone() {
                self.keeper.spawn(kill_switch::keep(settings));
            }
            return Err(error);
        }
        self.settings = None;
        Ok(())
    }

    /// Remembers where endpoints are from now on, while it is closed.
    pub(super) async fn remember(&mut self, endpoints: Addresses) {
        let Some(settings) = self.settings.clone().filter(|settings| settings.endpoints != endpoints) else { return };
        if let Err(error) = self.close_as(Settings { endpoints, ..settings }).await {
            tracing::error!("{error:#}");
        }
    }

    /// Notes that the tunnel came up.
    pub(super) fn came_up(&mut self) {
        if self.stage == Stage::Closing {
            self.stage = Stage::Up;
        }
    }

    /// Opens the switch, or leaves it closed, as the end of the tunnel asks for. It is the last thing that is undone.
    pub(super) async fn finish(&mut self, outcome: &anyhow::Result<End>) {
        if self.allowed.is_none() {
            return;
        }
        self.keeper.shutdown().await;
        if self.opens(outcome.as_ref().ok().copied()) {
            match kill_switch::open(&self.name).await {
                Ok(true) => tracing::info!("the kill switch is open"),
                Ok(false) => {}
                Err(error) => tracing::error!("{error:#}"),
            }
        } else if self.was_closed || self.stage == Stage::Up {
            let name = &self.name;
            tracing::warn!(
                "the kill switch stays closed: `maybetun up` goes on with it, `maybetun down {name}` opens it"
            );
        }
    }

    /// Tells whether `end`, or a failure, opens the switch.
    fn opens(&self, end: Option<End>) -> bool {
        // A tunnel that did not come up leaves things as it found them.
        let is_from_before = self.was_closed && self.stage != Stage::Up;
        match end {
            Some(End::SocketRemoved) => true,
            // A terminal that is closed asks for no opening, and SIGQUIT asks for none.
            Some(End::Signal("SIGHUP" | "SIGQUIT")) | Some(End::InterfaceDeleted) | None => {
                self.stage == Stage::Closing && !self.was_closed
            }
            Some(End::Signal(_)) => self.stage != Stage::Untouched && !is_from_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use maybetun::keys::PrivateKey;

    fn opens(was_closed: bool, stage: Stage, end: Option<End>) -> bool {
        let args = KillSwitchArgs { kill_switch: true, kill_switch_allow: Vec::new() };
        let (name, allowed, keeper) = ("wg0".to_owned(), Some(Vec::new()), JoinSet::new());
        KillSwitch { name, args, allowed, settings: None, was_closed, stage, keeper }.opens(end)
    }

    #[test]
    fn a_tunnel_that_was_up_opens_it_only_when_asked_to_stop() {
        for was_closed in [false, true] {
            let opens = |end| opens(was_closed, Stage::Up, end);
            assert!(opens(Some(End::SocketRemoved)));
            assert!(opens(Some(End::Signal("SIGTERM"))) && opens(Some(End::Signal("SIGINT"))));
            assert!(!opens(Some(End::Signal("SIGHUP"))), "a closed terminal");
            assert!(!opens(Some(End::Signal("SIGQUIT"))));
            assert!(!opens(Some(End::InterfaceDeleted)) && !opens(None));
        }
    }

    #[test]
    fn a_tunnel_that_did_not_come_up_leaves_it_as_it_was() {
        for end in [Some(End::Signal("SIGTERM")), Some(End::Signal("SIGHUP")), Some(End::InterfaceDeleted), None] {
            assert!(opens(false, Stage::Closing, end), "{end:?}");
            assert!(!opens(true, Stage::Closing, end), "{end:?}");
            assert!(!opens(false, Stage::Untouched, end) && !opens(true, Stage::Untouched, end), "{end:?}");
        }
        assert!(opens(true, Stage::Untouched, Some(End::SocketRemoved)), "`down` was said");
    }

    #[test]
    fn the_command_line_adds_to_the_file() {
        let args = |kill_switch, allow: &[&str]| KillSwitchArgs {
            kill_switch,
            kill_switch_allow: allow.iter().map(|text| parse_network(text).unwrap()).collect(),
        };
        let mut interface = Interface::new(PrivateKey::from_bytes(&[7; 32]).unwrap());
        interface.kill_switch_allow = vec!["10.0.0.0/8".parse().unwrap()];
        assert_eq!(args(false, &[]).allowed(&interface).unwrap(), None);
        assert!(args(false, &["192.0.2.1"]).allowed(&interface).is_err());
        let both = ["10.0.0.0/8", "192.0.2.1/32"].map(|text| text.parse().unwrap());
        assert_eq!(args(true, &["192.0.2.1"]).allowed(&interface).unwrap().as_deref(), Some(&both[..]));
        interface.kill_switch = true;
        assert_eq!(args(false, &["192.0.2.1"]).allowed(&interface).unwrap().as_deref(), Some(&both[..]));
    }

    #[test]
    fn networks_are_prefixes_that_leave_something() {
        assert_eq!(parse_network("192.168.3.4/16"), Ok("192.168.0.0/16".parse().unwrap()));
        for text in ["0.0.0.0/0", "::/0", "lan", "10.0.0.0/33", ""] {
            assert!(parse_network(text).is_err(), "{text}");
        }
    }
}

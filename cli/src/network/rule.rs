//! Routing policy rules: which table a packet is routed by.

use std::io;

use anyhow::Context as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::plan::{Family, MAIN_TABLE, Rule, RuleKind};
use super::{Network, os_error};

/// What became of a rule that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is ours to remove.
    ByUs,
    /// Somebody else had added the same one, and relies on it.
    ByOthers,
}

impl Network {
    /// Adds `rule` before every rule there is.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(crate) async fn add_rule(&self, rule: &Rule) -> anyhow::Result<Added> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = message(rule);
        match request.execute().await.map_err(os_error) {
            Ok(()) => Ok(Added::ByUs),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Added::ByOthers),
            Err(error) => Err(error).with_context(|| format!("cannot add the routing rule `{rule}`")),
        }
    }

    /// Removes `rule`, if it is there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn delete_rule(&self, rule: &Rule) -> anyhow::Result<()> {
        match self.handle.rule().del(message(rule)).execute().await.map_err(os_error) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot remove the routing rule `{rule}`")),
        }
    }
}

fn message(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = match rule.family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.header.action = RuleAction::ToTable;
    match rule.kind {
        RuleKind::Unmarked { mark, table } => {
            message.header.flags = RuleFlags::Invert;
            message.attributes = vec![RuleAttribute::FwMark(mark), RuleAttribute::Table(table)];
        }
        RuleKind::MainWithoutDefault => {
            message.attributes = vec![RuleAttribute::SuppressPrefixLen(0), RuleAttribute::Table(MAIN_TABLE)];
        }
    }
    message
}

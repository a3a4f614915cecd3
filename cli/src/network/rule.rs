//! Routing policy rules: which table a packet is routed by.
//!
//! A rule is known by all that it is: its priority, its mark, what it says, and a protocol number that only we use. So none is
//! removed but the one that was added, whatever others say the same.

use std::io;

use anyhow::Context as _;
use futures_util::TryStreamExt as _;
use rtnetlink::IpVersion;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteProtocol;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

use super::plan::{Family, MAIN_TABLE, Rule, RuleKind};
use super::{Network, os_error};

/// Who made a rule, `FRA_PROTOCOL` of Linux: "m" in ASCII. Nobody has it in iproute2's `rt_protos`.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(b'm');

/// Priority of the main table's rule, before which rules go where there is no other.
const MAIN_PRIORITY: u32 = 32_766;

/// How many rules a tunnel has for a family, one of them while its mark changes. What has a priority as low as this stays
/// before them, as the local table does.
const ROOM: u32 = 3;

impl Network {
    /// Adds `rule`. The same one may be there: then it is ours.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub(crate) async fn add_rule(&self, rule: &Rule) -> anyhow::Result<()> {
        let mut request = self.handle.rule().add();
        *request.message_mut() = message(rule);
        match request.execute().await.map_err(os_error) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot add the routing rule `{rule}`")),
        }
    }

    /// Removes `rule`, if it is there. Nothing else is, however alike.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(crate) async fn delete_rule(&self, rule: &Rule) -> anyhow::Result<()> {
        let place = || format!("cannot remove the routing rule `{rule}`");
        // The kernel takes a rule that has no protocol, or more conditions, for the same.
        if !self.own_rules(rule.family).await?.contains(rule) {
            return Ok(());
        }
        match self.handle.rule().del(message(rule)).execute().await.map_err(os_error) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error).with_context(place),
        }
    }

    /// Returns every rule of `family` that a tunnel of ours has, or had.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) async fn own_rules(&self, family: Family) -> anyhow::Result<Vec<Rule>> {
        Ok(self.rules(family).await?.iter().filter_map(|message| own(family, message)).collect())
    }

    /// Returns the lowest priority that a rule of `family` has and that leaves room for a tunnel's rules before it.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub(crate) async fn first_priority(&self, family: Family) -> anyhow::Result<u32> {
        Ok(first(self.rules(family).await?.iter().map(priority_of)))
    }

    async fn rules(&self, family: Family) -> anyhow::Result<Vec<RuleMessage>> {
        let version = match family {
            Family::V4 => IpVersion::V4,
            Family::V6 => IpVersion::V6,
        };
        let answer: Result<Vec<_>, _> = self.handle.rule().get(version).execute().try_collect().await;
        match answer.map_err(os_error) {
            // A kernel without IPv6.
            Err(error) if family == Family::V6 && error.kind() == io::ErrorKind::Unsupported => Ok(Vec::new()),
            answer => answer.context("cannot read the routing rules"),
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
    if rule.kind != RuleKind::Marked {
        message.header.flags = RuleFlags::Invert;
    }
    message.attributes = vec![
        RuleAttribute::Priority(rule.priority),
        RuleAttribute::Protocol(PROTOCOL),
        RuleAttribute::FwMark(rule.mark),
    ];
    message.attributes.extend(match rule.kind {
        RuleKind::Table(table) => vec![RuleAttribute::Table(table)],
        RuleKind::MainWithoutDefault => vec![RuleAttribute::SuppressPrefixLen(0), RuleAttribute::Table(MAIN_TABLE)],
        RuleKind::Marked => vec![RuleAttribute::Table(MAIN_TABLE)],
    });
    message
}

/// Returns the lowest of `priorities`, but for those that are as low as the local table's.
fn first(priorities: impl Iterator<Item = u32>) -> u32 {
    priorities.filter(|&priority| priority > ROOM).min().unwrap_or(MAIN_PRIORITY)
}

fn priority_of(message: &RuleMessage) -> u32 {
    let priority = message
        .attributes
        .iter()
        .find_map(|attribute| if let RuleAttribute::Priority(priority) = attribute { Some(*priority) } else { None });
    priority.unwrap_or(0)
}

/// Returns the rule of ours that the kernel tells of; `None` of others' rules.
fn own(family: Family, told: &RuleMessage) -> Option<Rule> {
    let (mut mark, mut table, mut suppressed) = (None, None, None);
    for attribute in &told.attributes {
        if let RuleAttribute::FwMark(value) = attribute {
            mark = Some(*value);
        } else if let RuleAttribute::Table(value) = attribute {
            table = Some(*value);
        } else if let RuleAttribute::SuppressPrefixLen(value) = attribute {
            // The kernel's word for none.
            suppressed = Some(*value).filter(|&length| length != u32::MAX);
        }
    }
    let kind = match (table?, suppressed, told.header.flags.contains(RuleFlags::Invert)) {
        (MAIN_TABLE, Some(0), true) => RuleKind::MainWithoutDefault,
        (table, None, true) => RuleKind::Table(table),
        (MAIN_TABLE, None, false) => RuleKind::Marked,
        _ => return None,
    };
    let is_ours =
        told.attributes.contains(&RuleAttribute::Protocol(PROTOCOL)) && told.header.action == RuleAction::ToTable;
    is_ours.then_some(Rule { family, priority: priority_of(told), mark: mark?, kind })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(kind: RuleKind) -> Rule {
        Rule { family: Family::V4, priority: 32_765, mark: 7, kind }
    }

    #[test]
    fn what_is_asked_for_is_known_again() {
        for kind in [RuleKind::Table(51_820), RuleKind::MainWithoutDefault, RuleKind::Marked] {
            assert_eq!(own(Family::V4, &message(&rule(kind))), Some(rule(kind)));
        }
    }

    #[test]
    fn rules_go_before_the_first_that_leaves_room() {
        assert_eq!(first([0, 32_766, 32_767].into_iter()), 32_766);
        assert_eq!(first([0, 1, 2, 3, 4, 100].into_iter()), 4);
        assert_eq!(first([0].into_iter()), 32_766);
    }

    #[test]
    fn what_others_made_is_not_ours_however_alike() {
        for kind in [RuleKind::Table(51_820), RuleKind::MainWithoutDefault] {
            let ours = message(&rule(kind));
            let mut theirs = ours.clone();
            theirs.attributes.retain(|attribute| !matches!(attribute, RuleAttribute::Protocol(_)));
            assert_eq!(own(Family::V4, &theirs), None);
            theirs.attributes.push(RuleAttribute::Protocol(RouteProtocol::Boot));
            assert_eq!(own(Family::V4, &theirs), None);
            let mut plain = ours.clone();
            plain.header.flags = RuleFlags::empty();
            assert_eq!(own(Family::V4, &plain), None);
        }
    }
}

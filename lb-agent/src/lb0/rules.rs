//! Routing rules that send single ports to `lb0`: a load balancer's address may be another node's,
//! where everything but the Service's own port must stay reachable. Rules of our table and protocol
//! are ours; no other rule is touched.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Error, Result};
use futures::TryStreamExt as _;
use lb_common::lb0::DEVICE;
use nix::errno::Errno;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        AddressFamily, IpProtocol,
        route::RouteProtocol,
        rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange},
    },
};

use super::desired::Port;
use crate::netlink::is_error;

/// Their protocol, as `ip rule` shows it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);
/// Their table, which holds only the route to the device. Without that route the kernel goes on to
/// the next rule.
pub(super) const TABLE: u8 = 108;
/// After the local table, so that this machine's own addresses stay local; before the rules of most
/// pod networks.
const PRIORITY: u32 = 108;

/// Rules of ours and their ports; `None` for a rule that this version would not write.
type Actual = Vec<(Option<Port>, RuleMessage)>;

/// What becomes of rules of ours that are not desired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Stray {
    /// They may turn out to be desired.
    Keep,
    /// Every Service is listed.
    Remove,
}

/// Brings the rules up to date. What fails is returned, and the rest goes on.
pub(super) async fn update(
    handle: &Handle,
    desired: impl Iterator<Item = Port>,
    stray: Stray,
) -> Result<Vec<Error>> {
    let (missing, extra) = steps(list(handle).await?, desired);
    let mut problems = Vec::new();
    for port in missing {
        let mut request = handle.rule().add();
        *request.message_mut() = message(port);
        let done = request.execute().await;
        problems.extend(explain("add", port, done).err());
    }
    if stray == Stray::Remove {
        problems.extend(remove(handle, extra).await);
    }
    Ok(problems)
}

/// Removes all of them.
pub(super) async fn clear(handle: &Handle) -> Result<()> {
    let all = list(handle).await?.into_iter().map(|(_, rule)| rule);
    match remove(handle, all.collect()).await.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// Whether a rule is one of ours.
pub(super) fn is_ours(rule: &RuleMessage) -> bool {
    rule.header.table == TABLE && rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL))
}

/// Ports without a rule, and rules that are not desired.
fn steps(actual: Actual, desired: impl Iterator<Item = Port>) -> (Vec<Port>, Vec<RuleMessage>) {
    let mut missing: BTreeSet<Port> = desired.collect();
    let mut extra = Vec::new();
    for (port, rule) in actual {
        // Of two equal rules the second is one too many.
        if !port.is_some_and(|port| missing.remove(&port)) {
            extra.push(rule);
        }
    }
    (missing.into_iter().collect(), extra)
}

async fn list(handle: &Handle) -> Result<Actual> {
    let mut found = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let rules: Vec<RuleMessage> = handle
            .rule()
            .get(version)
            .execute()
            .try_collect()
            .await
            .context("cannot list the routing rules")?;
        let ours = rules.into_iter().filter(is_ours);
        found.extend(ours.map(|rule| (port(&rule), rule)));
    }
    Ok(found)
}

async fn remove(handle: &Handle, rules: Vec<RuleMessage>) -> Vec<Error> {
    let mut problems = Vec::new();
    for rule in rules {
        let done = handle.rule().del(rule).execute().await;
        if let Err(error) = done
            && !is_error(&error, Errno::ENOENT)
        {
            let problem = Error::from(error);
            problems.push(problem.context(format!("cannot remove a routing rule of {DEVICE}")));
        }
    }
    problems
}

fn explain(what: &str, port: Port, done: Result<(), rtnetlink::Error>) -> Result<()> {
    match done {
        Err(error) if is_error(&error, Errno::EEXIST) => Ok(()),
        other => other.with_context(|| {
            format!("cannot {what} the routing rule of {port}: clients on this node reach the load balancer itself there")
        }),
    }
}

fn message(port: Port) -> RuleMessage {
    let mut rule = RuleMessage::default();
    let (family, bits) = match port.addr {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    rule.header.family = family;
    rule.header.dst_len = bits;
    rule.header.table = TABLE;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![
        RuleAttribute::Destination(port.addr),
        RuleAttribute::Priority(PRIORITY),
        RuleAttribute::Protocol(PROTOCOL),
        RuleAttribute::IpProtocol(IpProtocol::from(port.proto)),
        RuleAttribute::DestinationPortRange(RulePortRange {
            start: port.port,
            end: port.port,
        }),
    ];
    rule
}

/// The port of a rule, if it is exactly a rule that this version would write.
fn port(rule: &RuleMessage) -> Option<Port> {
    let (mut addr, mut proto, mut ports) = (None, None, None);
    for attribute in &rule.attributes {
        match attribute {
            RuleAttribute::Destination(ip) => addr = Some(*ip),
            RuleAttribute::IpProtocol(number) => proto = Some(u8::from(*number)),
            RuleAttribute::DestinationPortRange(range) => ports = Some(*range),
            _ => {}
        }
    }
    let port = Port {
        addr: addr?,
        proto: proto?,
        port: ports?.start,
    };
    let ours = message(port);
    let same = rule.header == ours.header;
    let all = ours.attributes.iter().all(|a| rule.attributes.contains(a));
    // Conditions beyond those narrow it.
    let narrow = rule.attributes.iter().any(|a| {
        matches!(
            a,
            RuleAttribute::Source(_)
                | RuleAttribute::Iifname(_)
                | RuleAttribute::Oifname(_)
                | RuleAttribute::FwMark(1..)
                | RuleAttribute::SourcePortRange(_)
                | RuleAttribute::UidRange(_)
        )
    });
    (same && all && !narrow).then_some(port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(text: &str, proto: u8, number: u16) -> Port {
        Port {
            addr: text.parse().unwrap(),
            proto,
            port: number,
        }
    }

    #[test]
    fn a_rule_names_its_port() {
        for port_ in [a("203.0.113.7", 6, 443), a("fd66::7", 17, 53)] {
            let rule = message(port_);
            assert!(is_ours(&rule));
            assert_eq!(port(&rule), Some(port_));
        }
        let mut narrow = message(a("203.0.113.7", 6, 443));
        narrow
            .attributes
            .push(RuleAttribute::Iifname("eth0".into()));
        assert_eq!(port(&narrow), None);
        let mut wide = message(a("203.0.113.7", 6, 443));
        wide.header.dst_len = 24;
        assert_eq!(port(&wide), None);
    }

    #[test]
    fn a_desired_rule_stays_and_a_double_or_foreign_one_goes() {
        let [one, two, three] = [80, 81, 82].map(|n| a("203.0.113.7", 6, n));
        let rule = |port| (Some(port), message(port));
        let mut foreign = message(three);
        foreign.attributes.pop();
        let actual = vec![rule(one), rule(one), rule(two), (None, foreign.clone())];
        let (missing, extra) = steps(actual, [one, three].into_iter());
        assert_eq!(missing, [three]);
        assert_eq!(extra, [message(one), message(two), foreign]);
    }
}

//! Rules that lead single ports to `lb0`: a load balancer's address may be another node's, where everything but the
//! Service's own port must stay within reach. Owns which rules are ours: those of our table and protocol.

use std::{collections::BTreeSet, net::IpAddr};

use anyhow::{Context as _, Error, Result};
use futures::TryStreamExt as _;
use lb_common::lb0::DEVICE;
use rtnetlink::{
    Handle, IpVersion,
    packet_route::{
        AddressFamily, IpProtocol,
        route::RouteProtocol,
        rule::{RuleAction, RuleAttribute, RuleMessage, RulePortRange},
    },
};

use super::wanted::Port;

/// Who made them, as `ip rule` shows it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);
/// Their table, with nothing in it but the way to the device: without that the next rule is asked.
pub(super) const TABLE: u8 = 108;
/// After the local table, so that what is this machine's own stays so; before those of most pod networks.
const PRIORITY: u32 = 108;

/// Rules of ours by what they lead; `None`: none of those that we make.
type There = Vec<(Option<Port>, RuleMessage)>;

/// Brings the rules up to date; returns what failed, and does the rest. Nothing is taken away unless `whole`.
pub(super) async fn bring(
    netlink: &Handle,
    wanted: impl Iterator<Item = Port>,
    whole: bool,
) -> Result<Vec<Error>> {
    let (missing, stray) = steps(list(netlink).await?, wanted);
    let mut problems = Vec::new();
    for port in missing {
        let mut request = netlink.rule().add();
        *request.message_mut() = message(port);
        let done = request.execute().await;
        problems.extend(explain("add", port, done).err());
    }
    if whole {
        problems.extend(remove(netlink, stray).await);
    }
    Ok(problems)
}

/// Takes all of them away.
pub(super) async fn clear(netlink: &Handle) -> Result<()> {
    let stray = list(netlink).await?.into_iter().map(|(_, rule)| rule);
    match remove(netlink, stray.collect()).await.into_iter().next() {
        Some(problem) => Err(problem),
        None => Ok(()),
    }
}

/// Is it one of ours?
pub(super) fn is_ours(rule: &RuleMessage) -> bool {
    rule.header.table == TABLE && rule.attributes.contains(&RuleAttribute::Protocol(PROTOCOL))
}

/// What is missing, and what is not wanted.
fn steps(there: There, wanted: impl Iterator<Item = Port>) -> (Vec<Port>, Vec<RuleMessage>) {
    let mut missing: BTreeSet<Port> = wanted.collect();
    let mut stray = Vec::new();
    for (leads, rule) in there {
        // The second of two alike is one too many.
        if !leads.is_some_and(|port| missing.remove(&port)) {
            stray.push(rule);
        }
    }
    (missing.into_iter().collect(), stray)
}

async fn list(netlink: &Handle) -> Result<There> {
    let mut found = Vec::new();
    for version in [IpVersion::V4, IpVersion::V6] {
        let rules: Vec<RuleMessage> = netlink
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

async fn remove(netlink: &Handle, rules: Vec<RuleMessage>) -> Vec<Error> {
    let mut problems = Vec::new();
    for rule in rules {
        let done = netlink.rule().del(rule).execute().await;
        if let Err(error) = done
            && !is_error(&error, nix::libc::ENOENT)
        {
            let problem = Error::from(error);
            problems.push(problem.context(format!("cannot remove a routing rule of {DEVICE}")));
        }
    }
    problems
}

fn explain(what: &str, port: Port, done: Result<(), rtnetlink::Error>) -> Result<()> {
    match done {
        Err(error) if is_error(&error, nix::libc::EEXIST) => Ok(()),
        other => other.with_context(|| {
            format!("cannot {what} the routing rule of {port}: this node's own clients reach the load balancer itself there")
        }),
    }
}

fn is_error(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(e) if e.raw_code() == -errno)
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

/// What a rule leads, if it is to the letter one that we make.
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
    // What narrows it beyond that.
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
    fn a_rule_says_what_it_leads() {
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
    fn what_is_right_stays_what_is_double_or_strange_goes() {
        let [one, two, three] = [80, 81, 82].map(|n| a("203.0.113.7", 6, n));
        let standing = |port| (Some(port), message(port));
        let mut strange = message(three);
        strange.attributes.pop();
        let there = vec![
            standing(one),
            standing(one),
            standing(two),
            (None, strange.clone()),
        ];
        let (missing, stray) = steps(there, [one, three].into_iter());
        assert_eq!(missing, [three]);
        assert_eq!(stray, [message(one), message(two), strange]);
    }
}

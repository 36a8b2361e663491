//! What is in the calling thread's network namespace. It is another's, who may put any number of
//! things there and change them all the time: no more than so many are read.

use std::{collections::BTreeSet, io, net::IpAddr, ops::ControlFlow};

use rtnetlink::{
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
    },
    sys::protocols::NETLINK_ROUTE,
};

use super::{Finding, Reason, Unread};
use crate::{netfilter::tables, netlink};

/// A node of a nested cluster whose kube-proxy works by IPVS has one for each of its Services.
const MOST_ADDRESSES: usize = 4096;

/// What is there. Of a part that cannot be read, what was known `before` stands.
pub(super) fn judge(
    before: Option<&Finding>,
    is_cluster_ip: impl Fn(IpAddr) -> io::Result<bool>,
) -> Finding {
    conclude(
        before,
        tables::translate_output(),
        addresses(),
        is_cluster_ip,
    )
}

/// Addresses that are not read to the end count as if a cluster IP were among them: to leave a
/// namespace alone does no harm.
pub(super) fn conclude(
    before: Option<&Finding>,
    has_rules: io::Result<bool>,
    addresses: io::Result<(BTreeSet<IpAddr>, bool)>,
    is_cluster_ip: impl Fn(IpAddr) -> io::Result<bool>,
) -> Finding {
    let mut finding = before.cloned().unwrap_or_default();
    let mut unread_addresses = None;
    let mut has_cluster_ip = false;
    match addresses {
        Ok((addresses, are_all)) => {
            finding.addresses = addresses;
            has_cluster_ip = !are_all;
        }
        Err(error) => unread_addresses = Some(error),
    }
    let (has_rules, unread_rules) = match has_rules {
        Ok(has_rules) => (has_rules, None),
        Err(error) => (false, Some(error)),
    };
    if !has_rules && !has_cluster_ip {
        for ip in &finding.addresses {
            match is_cluster_ip(*ip) {
                Ok(false) => {}
                Ok(true) => {
                    has_cluster_ip = true;
                    break;
                }
                Err(error) => unread_addresses = Some(error),
            }
        }
    }
    // Rules stand before an address, which they hide.
    let stands = match finding.reason {
        Some(Reason::Rules) => unread_rules.is_some() || unread_addresses.is_some(),
        Some(Reason::Address) => unread_addresses.is_some(),
        None => false,
    };
    if !stands {
        finding.reason = match (has_rules, has_cluster_ip) {
            (true, _) => Some(Reason::Rules),
            (false, true) => Some(Reason::Address),
            (false, false) => None,
        };
    }
    finding.unread = unread_rules.or(unread_addresses).map(|error| Unread {
        why: error.to_string(),
        always: before.is_none_or(Finding::is_unknown),
    });
    finding
}

/// Those of its devices, and whether these are all.
fn addresses() -> io::Result<(BTreeSet<IpAddr>, bool)> {
    let mut all = BTreeSet::new();
    let mut count = 0;
    let request = RouteNetlinkMessage::GetAddress(AddressMessage::default());
    netlink::scan(NETLINK_ROUTE, request, |message: RouteNetlinkMessage| {
        let RouteNetlinkMessage::NewAddress(message) = message else {
            return ControlFlow::Continue(());
        };
        count += 1;
        if count > MOST_ADDRESSES {
            return ControlFlow::Break(());
        }
        all.extend(ip(&message));
        ControlFlow::Continue(())
    })?;
    Ok((all, count <= MOST_ADDRESSES))
}

/// Its own: of a device with a peer, the attribute `Address` is the peer's.
fn ip(message: &AddressMessage) -> Option<IpAddr> {
    let mut found = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(ip) => return Some(*ip),
            AddressAttribute::Address(ip) => found = Some(*ip),
            _ => {}
        }
    }
    found
}

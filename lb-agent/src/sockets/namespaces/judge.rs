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

use super::{Finding, Reason};
use crate::{
    netfilter::{Socket, tables},
    netlink,
};

/// A node of a nested cluster whose kube-proxy works by IPVS has one for each of its Services.
const MOST_ADDRESSES: usize = 4096;

/// What is there, and why a part of it could not be read: of that, what was known `before` stands.
pub(super) fn judge(
    before: Option<&Finding>,
    is_cluster_ip: impl Fn(IpAddr) -> io::Result<bool>,
) -> (Finding, Option<io::Error>) {
    let mut finding = before.cloned().unwrap_or_default();
    let mut failed = None;
    let mut has_too_many = false;
    match addresses() {
        Ok((addresses, are_all)) => {
            finding.addresses = addresses;
            has_too_many = !are_all;
        }
        Err(error) => failed = Some(error),
    }
    match reason(&finding.addresses, has_too_many, is_cluster_ip) {
        Ok(reason) if failed.is_none() || reason.is_some() => finding.reason = reason,
        Ok(_) => {}
        Err(error) => failed = Some(error),
    }
    (finding, failed)
}

/// Addresses that are not read to the end count as if a cluster IP were among them: to leave a
/// namespace alone does no harm.
fn reason(
    addresses: &BTreeSet<IpAddr>,
    has_too_many: bool,
    is_cluster_ip: impl Fn(IpAddr) -> io::Result<bool>,
) -> io::Result<Option<Reason>> {
    if Socket::open().and_then(tables::translate_output)? {
        return Ok(Some(Reason::Rules));
    }
    let mut is_one = has_too_many;
    for ip in addresses {
        is_one = is_one || is_cluster_ip(*ip)?;
    }
    Ok(is_one.then_some(Reason::Address))
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

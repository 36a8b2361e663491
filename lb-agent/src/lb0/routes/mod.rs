//! Routes to the pair: compared with what exists, so that nothing is written when nothing changed.
//! Routes that lead to our devices are ours.

mod message;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Error, Result};
use lb_common::lb0::{
    DEVICE, ICMP_SOURCE_V4, LOOPBACK_V4, LOOPBACK_V6, PEER, SOURCE_V4, SOURCE_V6,
};
use message::{MAIN, message, ours};
use nix::errno::Errno;
use rtnetlink::{
    Handle,
    packet_route::route::{RouteProtocol, RouteScope},
};

use super::{Desired, rules};
use crate::{
    model::{Cidr, VethPair},
    netlink::{self, is_error},
};

/// The table of a route, and its network.
type Destination = (u8, Cidr);
type Routes = BTreeMap<Destination, NextHop>;

/// Where a route leads, and the source that it prefers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct NextHop {
    ifindex: u32,
    source: Option<IpAddr>,
}

/// A step from the actual routes to the desired ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    Add(Destination, NextHop),
    Replace(Destination, NextHop),
    Remove(Destination, NextHop),
}

/// What is routed to the device beside the networks: see [`ICMP_SOURCE_V4`] and [`LOOPBACK_V4`].
fn beside() -> [Cidr; 3] {
    [ICMP_SOURCE_V4, LOOPBACK_V4, LOOPBACK_V6].map(|addr| Cidr::host(addr.into()))
}

/// Brings the routes up to date. What fails is returned, and the rest goes on.
pub(super) async fn update(
    handle: &Handle,
    pair: VethPair,
    desired: &Desired,
) -> Result<Vec<Error>> {
    let actual = list(handle, pair).await?;
    let mut problems = Vec::new();
    for change in changes(&actual, &routes(pair, desired), desired) {
        problems.extend(carry_out(handle, pair, change).await.err());
    }
    Ok(problems)
}

/// How many networks are routed to the device.
pub(super) async fn count(handle: &Handle, pair: VethPair) -> Result<usize> {
    let all = list(handle, pair).await?;
    let counts = |((table, net), next): &(&Destination, &NextHop)| {
        *table == MAIN && next.ifindex == pair.device && !beside().contains(net)
    };
    Ok(all.iter().filter(counts).count())
}

/// The desired routes. The networks, and everything that the rules send to their table, are routed
/// to `lb0`; the source of packets to local backends is routed to its other end.
fn routes(pair: VethPair, desired: &Desired) -> Routes {
    let whole = desired.networks.iter().map(|net| (MAIN, *net));
    let by_rule = desired.ports.iter().map(|port| match port.addr {
        IpAddr::V4(_) => (rules::TABLE, Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0)),
        IpAddr::V6(_) => (rules::TABLE, Cidr::new(Ipv6Addr::UNSPECIFIED.into(), 0)),
    });
    let mut routes = Routes::new();
    for (table, net) in whole.chain(by_rule) {
        let back = Cidr::host(match net.net {
            IpAddr::V4(_) => SOURCE_V4.into(),
            IpAddr::V6(_) => SOURCE_V6.into(),
        });
        let source = desired.source(net);
        let to = |ifindex, source| NextHop { ifindex, source };
        routes.insert((table, net), to(pair.device, source));
        routes.insert((MAIN, back), to(pair.peer, None));
        let of_family = |other: &Cidr| other.net.is_ipv4() == net.net.is_ipv4();
        for other in beside().into_iter().filter(of_family) {
            routes.insert((MAIN, other), to(pair.device, None));
        }
    }
    routes
}

/// From the actual routes to the desired ones, those for replies first. A route stays if it may
/// turn out to be desired.
fn changes(actual: &Routes, routes: &Routes, desired: &Desired) -> Vec<Change> {
    let mut changes = Vec::new();
    let back = |to: &Destination| [SOURCE_V4, SOURCE_V6].map(IpAddr::from).contains(&to.1.net);
    let (first, rest): (Vec<_>, Vec<_>) = routes.iter().partition(|(to, _)| back(to));
    for (to, next) in first.into_iter().chain(rest) {
        match actual.get(to) {
            Some(known) if known == next => {}
            Some(_) => changes.push(Change::Replace(*to, *next)),
            None => changes.push(Change::Add(*to, *next)),
        }
    }
    if desired.services_listed {
        let extra = |(_, net): &Destination| desired.networks_known || *net == Cidr::host(net.net);
        let extra = actual
            .iter()
            .filter(|(to, _)| !routes.contains_key(to) && extra(to));
        changes.extend(extra.map(|(to, next)| Change::Remove(*to, *next)));
    }
    changes
}

/// Routes of the main table, and of the rules' table, that lead to the pair.
async fn list(handle: &Handle, pair: VethPair) -> Result<Routes> {
    let all = netlink::routes(handle).await?;
    Ok(all.iter().filter_map(|route| ours(route, pair)).collect())
}

async fn carry_out(handle: &Handle, pair: VethPair, change: Change) -> Result<()> {
    let (verb, to, next) = match change {
        Change::Add(to, next) => ("add", to, next),
        Change::Replace(to, next) => ("replace", to, next),
        Change::Remove(to, next) => ("remove", to, next),
    };
    let mut route = message(to, next);
    let result = match change {
        Change::Add(..) => handle.route().add(route).execute().await,
        Change::Replace(..) => handle.route().add(route).replace().execute().await,
        Change::Remove(..) => {
            // Whichever program added it.
            route.header.protocol = RouteProtocol::Unspec;
            route.header.scope = RouteScope::NoWhere;
            handle.route().del(route).execute().await
        }
    };
    let device = if next.ifindex == pair.peer {
        PEER
    } else {
        DEVICE
    };
    let result = match result {
        Err(error) if is_error(&error, Errno::EEXIST) => Err(Error::msg(
            "another route to it is there already: see `ip route`",
        )),
        Err(error) if is_error(&error, Errno::ESRCH) => Ok(()),
        other => other.map_err(Error::from),
    };
    let (_, net) = to;
    result.with_context(|| format!("cannot {verb} the route {net} of the device {device}"))?;
    tracing::debug!(?change, "route");
    Ok(())
}

//! Routes to the pair: compared with what is there, so that nothing is written when nothing has changed. Owns which routes
//! are ours: those that lead to our devices.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Error, Result};
use futures::TryStreamExt as _;
use lb_common::lb0::{DEVICE, PEER, SOURCE_V4, SOURCE_V6};
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
        RouteType,
    },
};

use super::{Net, Pair, Wanted};

/// Who made them, as `ip route` shows it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);

/// Where a route leads, and what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Way {
    ifindex: u32,
    source: Option<IpAddr>,
}

/// A step towards what is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Add(Net, Way),
    Replace(Net, Way),
    Remove(Net, Way),
}

/// Brings the routes up to date; returns what failed, and does the rest.
pub(super) async fn bring(netlink: &Handle, pair: Pair, wanted: &Wanted) -> Result<Vec<Error>> {
    let there = list(netlink, pair).await?;
    let mut problems = Vec::new();
    for step in steps(&there, &desired(pair, wanted), wanted.whole) {
        if let Err(e) = carry_out(netlink, pair, step).await {
            problems.push(e);
        }
    }
    Ok(problems)
}

/// How many networks are routed to the device.
pub(super) async fn count(netlink: &Handle, pair: Pair) -> Result<usize> {
    let all = list(netlink, pair).await?;
    Ok(all.values().filter(|w| w.ifindex == pair.device).count())
}

/// Which route is to lead where: the wanted networks to `lb0`, the source of what goes to local backends to its other end.
fn desired(pair: Pair, wanted: &Wanted) -> BTreeMap<Net, Way> {
    let mut ways = BTreeMap::new();
    for net in &wanted.networks {
        let back: Net = match net.0 {
            IpAddr::V4(_) => (SOURCE_V4.into(), 32),
            IpAddr::V6(_) => (SOURCE_V6.into(), 128),
        };
        let source = wanted.source(*net);
        let to = |ifindex, source| Way { ifindex, source };
        ways.insert(*net, to(pair.device, source));
        ways.insert(back, to(pair.peer, None));
    }
    ways
}

/// From what is there to what is desired; the ways back first. Nothing is taken away unless `whole`.
fn steps(there: &BTreeMap<Net, Way>, desired: &BTreeMap<Net, Way>, whole: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    let back = |net: &Net| [SOURCE_V4, SOURCE_V6].map(IpAddr::from).contains(&net.0);
    let (first, rest): (Vec<_>, Vec<_>) = desired.iter().partition(|(net, _)| back(net));
    for (net, way) in first.into_iter().chain(rest) {
        match there.get(net) {
            Some(known) if known == way => {}
            Some(_) => steps.push(Step::Replace(*net, *way)),
            None => steps.push(Step::Add(*net, *way)),
        }
    }
    if whole {
        let gone = there.iter().filter(|(net, _)| !desired.contains_key(net));
        steps.extend(gone.map(|(net, way)| Step::Remove(*net, *way)));
    }
    steps
}

/// Routes of the main table that lead to the pair.
async fn list(netlink: &Handle, pair: Pair) -> Result<BTreeMap<Net, Way>> {
    let mut found = BTreeMap::new();
    for query in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let routes: Vec<RouteMessage> = netlink
            .route()
            .get(query)
            .execute()
            .try_collect()
            .await
            .context("cannot list the routes")?;
        found.extend(routes.iter().filter_map(|route| ours(route, pair)));
    }
    Ok(found)
}

/// The route, if it leads to the pair and is none of those that the kernel makes for each device.
fn ours(message: &RouteMessage, pair: Pair) -> Option<(Net, Way)> {
    let header = &message.header;
    if header.kind != RouteType::Unicast
        || header.table != RouteHeader::RT_TABLE_MAIN
        || header.protocol == RouteProtocol::Kernel
    {
        return None;
    }
    let (mut net, mut ifindex, mut source) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(a) => net = ip(a),
            RouteAttribute::Oif(index) => ifindex = Some(*index),
            RouteAttribute::PrefSource(a) => source = ip(a),
            _ => {}
        }
    }
    let ifindex = ifindex.filter(|i| *i == pair.device || *i == pair.peer)?;
    let net = (net?, header.destination_prefix_length);
    Some((net, Way { ifindex, source }))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}

async fn carry_out(netlink: &Handle, pair: Pair, step: Step) -> Result<()> {
    let (what, (net, prefix), way) = match step {
        Step::Add(net, way) => ("add", net, way),
        Step::Replace(net, way) => ("replace", net, way),
        Step::Remove(net, way) => ("remove", net, way),
    };
    let mut route = message((net, prefix), way);
    if let Step::Remove(..) = step {
        // Whoever made it, and however.
        route.header.protocol = RouteProtocol::Unspec;
        route.header.scope = RouteScope::NoWhere;
    }
    let result = match step {
        Step::Add(..) => netlink.route().add(route).execute().await,
        Step::Replace(..) => netlink.route().add(route).replace().execute().await,
        Step::Remove(..) => netlink.route().del(route).execute().await,
    };
    let device = if way.ifindex == pair.peer {
        PEER
    } else {
        DEVICE
    };
    let result = match result {
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::EEXIST => Err(
            Error::msg("another route to it is there already: see `ip route`"),
        ),
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -nix::libc::ESRCH => Ok(()),
        other => other.map_err(Error::from),
    };
    result.with_context(|| {
        format!("cannot {what} the route {net}/{prefix} of the device {device}")
    })?;
    tracing::debug!(?step, "route");
    Ok(())
}

fn message((net, prefix): Net, way: Way) -> RouteMessage {
    let Way { ifindex, source } = way;
    match net {
        IpAddr::V4(net) => {
            let route = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(net, prefix)
                .output_interface(ifindex)
                .protocol(PROTOCOL)
                .scope(RouteScope::Link);
            match source {
                Some(IpAddr::V4(source)) => route.pref_source(source).build(),
                _ => route.build(),
            }
        }
        IpAddr::V6(net) => {
            let route = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(net, prefix)
                .output_interface(ifindex)
                .protocol(PROTOCOL);
            match source {
                Some(IpAddr::V6(source)) => route.pref_source(source).build(),
                _ => route.build(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAIR: Pair = Pair { device: 7, peer: 6 };

    fn net(text: &str) -> Net {
        crate::watch::ip::parse_cidr(text).unwrap()
    }

    fn wanted(networks: &[&str]) -> Wanted {
        Wanted {
            networks: networks.iter().map(|n| net(n)).collect(),
            source_v4: Some(Ipv4Addr::new(198, 18, 0, 11)),
            whole: true,
            ..Wanted::default()
        }
    }

    #[test]
    fn what_is_right_is_not_written_again_and_the_way_back_comes_first() {
        let desired = desired(PAIR, &wanted(&["10.96.0.0/16", "fd66:96::/112"]));
        let first = steps(&BTreeMap::new(), &desired, true);
        let backs = first[..2].iter();
        assert!(
            backs.into_iter().all(
                |s| matches!(s, Step::Add(_, way) if way.ifindex == 6 && way.source.is_none())
            ),
            "{first:?}"
        );
        assert_eq!(first.len(), 4);
        assert!(steps(&desired, &desired, true).is_empty());
    }

    #[test]
    fn left_overs_go_when_everything_is_known_and_another_source_replaces() {
        let there = desired(PAIR, &wanted(&["10.96.0.0/16", "10.97.0.1/32"]));
        let mut other = wanted(&["10.96.0.0/16"]);
        other.source_v4 = Some(Ipv4Addr::new(198, 18, 0, 12));
        let desired = desired(PAIR, &other);
        let some = steps(&there, &desired, false);
        assert!(
            matches!(some[..], [Step::Replace(n, _)] if n == net("10.96.0.0/16")),
            "{some:?}"
        );
        let all = steps(&there, &desired, true);
        assert!(
            matches!(all[..], [Step::Replace(..), Step::Remove(n, _)] if n == net("10.97.0.1/32")),
            "{all:?}"
        );
    }
}

//! Routes to the pair: compared with what is there, so that nothing is written when nothing has changed. Owns which routes
//! are ours: those that lead to our devices.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Context as _, Error, Result};
use futures::TryStreamExt as _;
use lb_common::lb0::{DEVICE, PEER, SOURCE_V4, SOURCE_V6, SPEAKER_V4};
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope,
            RouteType,
        },
    },
};

use super::{Wanted, rules};
use crate::model::{Cidr, VethPair};

/// Who made them, as `ip route` shows it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);
const MAIN: u8 = RouteHeader::RT_TABLE_MAIN;

/// The table that a route stands in, and its network.
type Goal = (u8, Cidr);

/// Where a route leads, and what it asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Way {
    ifindex: u32,
    source: Option<IpAddr>,
}

/// A step towards what is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Add(Goal, Way),
    Replace(Goal, Way),
    Remove(Goal, Way),
}

/// See [`SPEAKER_V4`].
fn speaker() -> Cidr {
    Cidr::host(SPEAKER_V4.into())
}

/// Brings the routes up to date; returns what failed, and does the rest.
pub(super) async fn bring(netlink: &Handle, pair: VethPair, wanted: &Wanted) -> Result<Vec<Error>> {
    let there = list(netlink, pair).await?;
    let mut problems = Vec::new();
    for step in steps(&there, &desired(pair, wanted), wanted) {
        if let Err(e) = carry_out(netlink, pair, step).await {
            problems.push(e);
        }
    }
    Ok(problems)
}

/// How many networks are routed to the device.
pub(super) async fn count(netlink: &Handle, pair: VethPair) -> Result<usize> {
    let all = list(netlink, pair).await?;
    let there = |((table, net), way): &(&Goal, &Way)| {
        *table == MAIN && way.ifindex == pair.device && *net != speaker()
    };
    Ok(all.iter().filter(there).count())
}

/// Which route is to lead where: the wanted networks to `lb0`, and whatever the rules lead into their table; the source of
/// what goes to local backends to its other end.
fn desired(pair: VethPair, wanted: &Wanted) -> BTreeMap<Goal, Way> {
    let whole = wanted.networks.iter().map(|net| (MAIN, *net));
    let by_rule = wanted.ports.iter().map(|port| match port.addr {
        IpAddr::V4(_) => (rules::TABLE, Cidr::new(Ipv4Addr::UNSPECIFIED.into(), 0)),
        IpAddr::V6(_) => (rules::TABLE, Cidr::new(Ipv6Addr::UNSPECIFIED.into(), 0)),
    });
    let mut ways = BTreeMap::new();
    for (table, net) in whole.chain(by_rule) {
        let back = Cidr::host(match net.net {
            IpAddr::V4(_) => SOURCE_V4.into(),
            IpAddr::V6(_) => SOURCE_V6.into(),
        });
        let source = wanted.source(net);
        let to = |ifindex, source| Way { ifindex, source };
        ways.insert((table, net), to(pair.device, source));
        ways.insert((MAIN, back), to(pair.peer, None));
        if net.net.is_ipv4() {
            ways.insert((MAIN, speaker()), to(pair.device, None));
        }
    }
    ways
}

/// From what is there to what is desired; the ways back first. Nothing is taken away that may be wanted and is not known yet.
fn steps(there: &BTreeMap<Goal, Way>, desired: &BTreeMap<Goal, Way>, wanted: &Wanted) -> Vec<Step> {
    let mut steps = Vec::new();
    let back = |goal: &Goal| {
        [SOURCE_V4, SOURCE_V6]
            .map(IpAddr::from)
            .contains(&goal.1.net)
    };
    let (first, rest): (Vec<_>, Vec<_>) = desired.iter().partition(|(net, _)| back(net));
    for (net, way) in first.into_iter().chain(rest) {
        match there.get(net) {
            Some(known) if known == way => {}
            Some(_) => steps.push(Step::Replace(*net, *way)),
            None => steps.push(Step::Add(*net, *way)),
        }
    }
    if wanted.whole {
        let left = |(_, net): &Goal| wanted.networks_known || *net == Cidr::host(net.net);
        let gone = there
            .iter()
            .filter(|(goal, _)| !desired.contains_key(goal) && left(goal));
        steps.extend(gone.map(|(net, way)| Step::Remove(*net, *way)));
    }
    steps
}

/// Routes of the main table and of the rules' that lead to the pair.
async fn list(netlink: &Handle, pair: VethPair) -> Result<BTreeMap<Goal, Way>> {
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
fn ours(message: &RouteMessage, pair: VethPair) -> Option<(Goal, Way)> {
    let header = &message.header;
    if header.kind != RouteType::Unicast
        || ![MAIN, rules::TABLE].contains(&header.table)
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
    let any = match header.address_family {
        AddressFamily::Inet => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        _ => Ipv6Addr::UNSPECIFIED.into(),
    };
    let net = Cidr::new(net.unwrap_or(any), header.destination_prefix_length);
    Some(((header.table, net), Way { ifindex, source }))
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}

async fn carry_out(netlink: &Handle, pair: VethPair, step: Step) -> Result<()> {
    let (what, (table, net), way) = match step {
        Step::Add(goal, way) => ("add", goal, way),
        Step::Replace(goal, way) => ("replace", goal, way),
        Step::Remove(goal, way) => ("remove", goal, way),
    };
    let mut route = message(net, way);
    route.header.table = table;
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
    result.with_context(|| format!("cannot {what} the route {net} of the device {device}"))?;
    tracing::debug!(?step, "route");
    Ok(())
}

fn message(Cidr { net, prefix }: Cidr, way: Way) -> RouteMessage {
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

    const PAIR: VethPair = VethPair { device: 7, peer: 6 };

    fn net(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn wanted(networks: &[&str]) -> Wanted {
        Wanted {
            networks: networks.iter().map(|n| net(n)).collect(),
            source_v4: Some(Ipv4Addr::new(198, 18, 0, 11)),
            whole: true,
            networks_known: true,
            ..Wanted::default()
        }
    }

    #[test]
    fn what_is_right_is_not_written_again_and_the_way_back_comes_first() {
        let wanted = wanted(&["10.96.0.0/16", "fd66:96::/112"]);
        let desired = desired(PAIR, &wanted);
        let first = steps(&BTreeMap::new(), &desired, &wanted);
        let backs = first[..2].iter();
        assert!(
            backs.into_iter().all(
                |s| matches!(s, Step::Add(_, way) if way.ifindex == 6 && way.source.is_none())
            ),
            "{first:?}"
        );
        assert_eq!(first.len(), 5, "the speaker's too: {first:?}");
        assert!(steps(&desired, &desired, &wanted).is_empty());
    }

    #[test]
    fn left_overs_go_when_everything_is_known_and_another_source_replaces() {
        let there = desired(PAIR, &wanted(&["10.96.0.0/16", "10.97.0.1/32"]));
        let mut other = wanted(&["10.96.0.0/16"]);
        other.source_v4 = Some(Ipv4Addr::new(198, 18, 0, 12));
        let desired = desired(PAIR, &other);
        let unknown = Wanted {
            whole: false,
            ..other.clone()
        };
        let some = steps(&there, &desired, &unknown);
        assert!(
            matches!(some[..], [Step::Replace((MAIN, n), _)] if n == net("10.96.0.0/16")),
            "{some:?}"
        );
        let all = steps(&there, &desired, &other);
        assert!(
            matches!(all[..], [Step::Replace(..), Step::Remove((MAIN, n), _)] if n == net("10.97.0.1/32")),
            "{all:?}"
        );
    }

    /// An API server before 1.33 tells no service networks: each VIP has a route of its own, and loses it.
    #[test]
    fn without_the_list_of_networks_addresses_go_and_networks_stay() {
        let there = desired(
            PAIR,
            &wanted(&["10.96.0.0/16", "10.97.0.1/32", "10.97.0.2/32"]),
        );
        let some = Wanted {
            networks_known: false,
            ..wanted(&["10.97.0.1/32"])
        };
        let steps = steps(&there, &desired(PAIR, &some), &some);
        assert!(
            matches!(steps[..], [Step::Remove((MAIN, n), _)] if n == net("10.97.0.2/32")),
            "{steps:?}"
        );
    }
}

//! From netlink's messages to [`Facts`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use rtnetlink::{
    Handle,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
        link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    },
};

use super::facts::{Address, Facts, Link, Route};
use crate::{
    model::Cidr,
    netlink::{self, ip},
};

/// `RT_TABLE_UNSPEC`, `RT_TABLE_DEFAULT`, `RT_TABLE_MAIN` and `RT_TABLE_LOCAL`: looked up without a
/// rule of anybody's.
const COMMON_TABLES: [u32; 4] = [0, 253, 254, 255];

/// Everything as it is now.
pub(super) async fn dump(handle: &Handle) -> Result<Facts> {
    let links = netlink::links(handle).await?;
    let addresses = netlink::addresses(handle).await?;
    let routes = netlink::routes(handle).await?;
    Ok(Facts {
        links: links.iter().map(link).collect(),
        addresses: addresses.iter().filter_map(address).collect(),
        routes: routes.iter().flat_map(next_hops).collect(),
    })
}

fn link(message: &LinkMessage) -> Link {
    let mut link = Link {
        ifindex: message.header.index,
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        ethernet: matches!(
            message.header.link_layer_type,
            LinkLayerType::Ether | LinkLayerType::Loopback
        ),
        ..Link::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => {
                link.mac = mac.as_slice().try_into().unwrap_or_default();
            }
            LinkAttribute::Controller(master) => link.master = Some(*master),
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(kind).unwrap_or_default();
            }
            _ => {}
        }
    }
    link
}

fn kind(info: &LinkInfo) -> Option<String> {
    match info {
        LinkInfo::Kind(InfoKind::Other(kind)) => Some(kind.clone()),
        LinkInfo::Kind(kind) => Some(kind.to_string()),
        _ => None,
    }
}

fn address(message: &AddressMessage) -> Option<Address> {
    let mut of_peer = None;
    let mut local = None;
    let mut flags = AddressFlags::empty();
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(ip) => of_peer = Some(*ip),
            AddressAttribute::Local(ip) => local = Some(*ip),
            AddressAttribute::Flags(f) => flags = *f,
            _ => {}
        }
    }
    let header = message.header.flags;
    let has = |whole, short| flags.contains(whole) || header.contains(short);
    Some(Address {
        ifindex: message.header.index,
        // On a point-to-point device the address is the peer's, and ours is the local one.
        ip: local.or(of_peer)?,
        prefix: message.header.prefix_len,
        secondary: has(AddressFlags::Secondary, AddressHeaderFlags::Secondary),
        unusable: has(AddressFlags::Dadfailed, AddressHeaderFlags::Dadfailed)
            || (has(AddressFlags::Tentative, AddressHeaderFlags::Tentative)
                && !has(AddressFlags::Optimistic, AddressHeaderFlags::Optimistic)),
    })
}

/// A unicast route's next hops; none of other kinds.
fn next_hops(message: &RouteMessage) -> Vec<Route> {
    if message.header.kind != RouteType::Unicast {
        return Vec::new();
    }
    let mut table = u32::from(message.header.table);
    let mut hops = Vec::new();
    let mut to = None;
    let mut source = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(a) => to = ip(a),
            RouteAttribute::PrefSource(a) => source = ip(a),
            RouteAttribute::Oif(ifindex) => hops.push((*ifindex, has_gateway(&message.attributes))),
            RouteAttribute::MultiPath(many) => hops.extend(
                many.iter()
                    .map(|hop| (hop.interface_index, has_gateway(&hop.attributes))),
            ),
            _ => {}
        }
    }
    let by_kernel = message.header.protocol == RouteProtocol::Kernel;
    let policy = !by_kernel && !COMMON_TABLES.contains(&table);
    let multipath = hops.len() > 1;
    hops.into_iter()
        .map(|(ifindex, gateway)| Route {
            ifindex,
            to: network(message, to),
            default: message.header.destination_prefix_length == 0,
            gateway,
            policy,
            multipath,
            link_local: match to {
                Some(IpAddr::V4(a)) => a.is_link_local() || a.is_multicast(),
                Some(IpAddr::V6(a)) => a.is_unicast_link_local() || a.is_multicast(),
                None => false,
            },
            source,
        })
        .collect()
}

/// The destination; a default route has none among its attributes.
fn network(message: &RouteMessage, to: Option<IpAddr>) -> Option<Cidr> {
    let prefix = message.header.destination_prefix_length;
    let net = match (to, message.header.address_family) {
        (Some(to), _) => to,
        (None, AddressFamily::Inet) if prefix == 0 => Ipv4Addr::UNSPECIFIED.into(),
        (None, AddressFamily::Inet6) if prefix == 0 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    Some(Cidr::new(net, prefix))
}

fn has_gateway(attributes: &[RouteAttribute]) -> bool {
    attributes
        .iter()
        .any(|a| matches!(a, RouteAttribute::Gateway(_) | RouteAttribute::Via(_)))
}

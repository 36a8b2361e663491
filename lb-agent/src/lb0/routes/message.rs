//! Routes as netlink writes them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::{
    RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
    },
};

use super::{Destination, NextHop};
use crate::{
    lb0::rules,
    model::{Cidr, VethPair},
    netlink::ip,
};

/// Their protocol, as `ip route` shows it.
const PROTOCOL: RouteProtocol = RouteProtocol::Other(108);
/// The main table.
pub(super) const MAIN: u8 = RouteHeader::RT_TABLE_MAIN;

/// The route, if it leads to the pair and is not one that the kernel makes for each device.
pub(super) fn ours(message: &RouteMessage, pair: VethPair) -> Option<(Destination, NextHop)> {
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
    Some(((header.table, net), NextHop { ifindex, source }))
}

/// The route to a destination, as the agent adds it.
pub(super) fn message(to: Destination, next: NextHop) -> RouteMessage {
    let (table, Cidr { net, prefix }) = to;
    let NextHop { ifindex, source } = next;
    let mut message = match net {
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
    };
    message.header.table = table;
    message
}

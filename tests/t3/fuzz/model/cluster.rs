//! The Services of the address plan, and the node's routes, as the rules see them.

use std::net::{IpAddr, Ipv4Addr};

use testbed::addr::Both;

use crate::packet_table::plan::{
    Backend, CLIENT, Device, FAR, FAR2, HERE, INNER_ROUTER, MISPLACED, NAMELESS, NARROW, NODE,
    NODE_CNI, NODE_ETH1, NODE_ETH2, NOWHERE, PODNET, PODNET_HERE, QUIET, S_AFFINE, S_EMPTY, S_FAR,
    S_HERE, S_INTERNAL_ONLY, S_LOCAL_ONLY, S_MISPLACED, S_NAMELESS, S_NARROW, S_NOWHERE, S_PAIR,
    S_PODNET, S_PODNET_HERE, S_PODNET_LOCAL, S_QUIET, S_RANGES, S_RING, S_SELF, S_SLOW, S_TURN,
    SELF, SLOW, Svc, TURN,
};

/// Session affinity of [`S_AFFINE`], in seconds.
pub(crate) const AFFINITY_SECS: u64 = 100;

/// All Services, by their numbers.
pub(crate) const SERVICES: [Svc; 20] = [
    S_FAR,
    S_HERE,
    S_TURN,
    S_SLOW,
    S_NARROW,
    S_QUIET,
    S_NAMELESS,
    S_NOWHERE,
    S_PODNET,
    S_EMPTY,
    S_LOCAL_ONLY,
    S_RANGES,
    S_PAIR,
    S_AFFINE,
    S_RING,
    S_SELF,
    S_MISPLACED,
    S_INTERNAL_ONLY,
    S_PODNET_HERE,
    S_PODNET_LOCAL,
];

/// Where an endpoint says that it runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// This node.
    Here,
    /// Another one, or none.
    Elsewhere,
}

/// What a Service's endpoints are to one who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pool {
    pub(crate) svc: Svc,
    /// Only endpoints of this node count.
    pub(crate) local_only: bool,
    /// Asked by a load balancer's address, where source ranges count.
    pub(crate) by_load_balancer: bool,
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Inside,
    Outside,
}

/// What a destination is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Front {
    /// Not ours.
    None,
    /// A cluster IP, on a port that it does not define.
    UnknownPort,
    Service(Pool),
}

impl Pool {
    /// The backends, and where their endpoints say that they run.
    pub(crate) fn backends(self) -> Vec<(Backend, Named)> {
        let all = endpoints(self.svc);
        let counts = |(_, named): &(Backend, Named)| !self.local_only || *named == Named::Here;
        all.into_iter().filter(counts).collect()
    }

    /// Has the Service endpoints that do not count here?
    pub(crate) fn has_others(self) -> bool {
        !endpoints(self.svc).is_empty()
    }

    pub(crate) fn is_affine(self) -> bool {
        self.svc == S_AFFINE
    }

    /// Do source ranges admit this client?
    pub(crate) fn admits(self, client: IpAddr) -> bool {
        !self.by_load_balancer || self.svc != S_RANGES || net(client) == Net::Eth(0)
    }
}

fn endpoints(svc: Svc) -> Vec<(Backend, Named)> {
    use Named::{Elsewhere, Here};
    match svc {
        S_FAR | S_LOCAL_ONLY | S_RANGES | S_INTERNAL_ONLY => vec![(FAR, Elsewhere)],
        S_HERE => vec![(HERE, Here)],
        S_TURN => vec![(TURN, Elsewhere)],
        S_SLOW => vec![(SLOW, Elsewhere)],
        S_NARROW => vec![(NARROW, Elsewhere)],
        S_QUIET => vec![(QUIET, Elsewhere)],
        S_NAMELESS => vec![(NAMELESS, Elsewhere)],
        S_NOWHERE => vec![(NOWHERE, Elsewhere)],
        S_PODNET | S_PODNET_LOCAL => vec![(PODNET, Elsewhere)],
        S_MISPLACED => vec![(MISPLACED, Here)],
        S_PODNET_HERE => vec![(PODNET_HERE, Here)],
        S_PAIR | S_AFFINE => vec![(FAR, Elsewhere), (FAR2, Elsewhere)],
        S_SELF => vec![(SELF, Elsewhere)],
        S_RING => {
            let addr = S_HERE.vip().addr;
            vec![(Backend { addr, way: None }, Elsewhere)]
        }
        _ => vec![],
    }
}

fn is(both: Both, ip: IpAddr) -> bool {
    both.ips().contains(&ip)
}

/// What this address and port are to one who asks from there. Every Service has port 80 of its
/// addresses and its node port, in all three protocols.
pub(crate) fn front(dst: IpAddr, port: u16, scope: Scope) -> Front {
    for svc in SERVICES {
        let pool = |local_only, by_load_balancer| {
            Front::Service(Pool {
                svc,
                local_only,
                by_load_balancer,
            })
        };
        let internal = svc == S_INTERNAL_ONLY;
        let external = scope == Scope::Outside && matches!(svc, S_LOCAL_ONLY | S_PODNET_LOCAL);
        if is(svc.vip().addr, dst) {
            return if port == 80 {
                pool(internal, false)
            } else {
                Front::UnknownPort
            };
        }
        if is(svc.lb().addr, dst) && port == 80 {
            return pool(external, true);
        }
        let node_port = is(NODE, dst) && port == svc.node_port().port;
        if is(svc.external().addr, dst) && port == 80 || node_port {
            return pool(external, false);
        }
    }
    Front::None
}

/// Is it a Service's address of any kind?
pub(crate) fn is_vip(ip: IpAddr) -> bool {
    let has = |svc: Svc| {
        let addrs = [svc.vip(), svc.lb(), svc.external()];
        addrs.iter().any(|peer| is(peer.addr, ip))
    };
    SERVICES.into_iter().any(has)
}

/// Is it a cluster IP?
pub(crate) fn is_cluster_ip(ip: IpAddr) -> bool {
    SERVICES.into_iter().any(|svc| is(svc.vip().addr, ip))
}

/// Is it an endpoint's address?
pub(crate) fn is_backend(ip: IpAddr) -> bool {
    let all = SERVICES.into_iter().flat_map(endpoints);
    all.into_iter().any(|(backend, _)| is(backend.addr, ip))
}

pub(crate) fn is_node_port(port: u16) -> bool {
    SERVICES.iter().any(|svc| svc.node_port().port == port)
}

/// A network of the plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Net {
    /// The segment of eth0, 1 or 2.
    Eth(u8),
    /// Pods of the node of this number.
    Pods(u8),
    Services,
    Unreachable,
    Elsewhere,
}

fn net(ip: IpAddr) -> Net {
    match ip {
        IpAddr::V4(ip) => match ip.octets() {
            [198, 18, n @ 0..=2, _] => Net::Eth(n),
            [10, 244, n, _] => Net::Pods(n),
            [10, 96, ..] => Net::Services,
            [192, 0, 2, _] => Net::Unreachable,
            _ => Net::Elsewhere,
        },
        IpAddr::V6(ip) => match ip.segments() {
            [0xfd66, 0x18, 0, 0, ..] => Net::Eth(0),
            [0xfd66, 0x181, 0, 0, ..] => Net::Eth(1),
            [0xfd66, 0x182, 0, 0, ..] => Net::Eth(2),
            [0xfd66, 0x244, 0, n, ..] => Net::Pods(u8::try_from(n).unwrap_or(u8::MAX)),
            [0xfd66, 0x96, 0, 0, ..] => Net::Services,
            // Link-local addresses are not forwarded to (RFC 4291, 2.5.6).
            [0xfd66, 0xc000, ..] | [0xfe80..=0xfebf, ..] => Net::Unreachable,
            _ => Net::Elsewhere,
        },
    }
}

/// Is it in the network of all pods (`--cluster-cidr`)?
pub(crate) fn is_pod(ip: IpAddr) -> bool {
    matches!(net(ip), Net::Pods(_))
}

/// How the node reaches an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Route {
    /// It is its own.
    Own,
    None,
    /// By a device of the plan.
    Out {
        device: Device,
        /// Last byte of the next hop's hardware address, if it is known.
        hop: Option<u8>,
        mtu: u16,
    },
    /// Towards the node's own pods, or to `lb0`: no node device.
    Inward,
}

/// Bytes that an Ethernet device of the plan carries, but for eth1's.
pub(crate) const MTU: u16 = 1500;

pub(crate) fn route(ip: IpAddr) -> Route {
    if [NODE, NODE_ETH1, NODE_ETH2, NODE_CNI]
        .into_iter()
        .any(|own| is(own, ip))
    {
        return Route::Own;
    }
    let out = |device, hop, mtu| Route::Out { device, hop, mtu };
    match net(ip) {
        Net::Eth(0) => {
            let known = [CLIENT.addr, testbed::addr::lan(1), testbed::addr::lan(3)];
            let host = known.into_iter().find(|host| is(*host, ip));
            out(Device::Eth0, host.map(|host| host.v4.octets()[3]), MTU)
        }
        Net::Eth(1) => out(Device::Eth1, is(INNER_ROUTER, ip).then_some(3), 9000),
        Net::Eth(_) => out(Device::Eth2, None, MTU),
        Net::Pods(2) => out(Device::Eth1, Some(3), 9000),
        Net::Pods(3) => out(Device::Eth0, Some(3), MTU),
        Net::Pods(4) => out(Device::Eth2, Some(23), MTU),
        Net::Pods(5) => out(Device::Eth0, Some(5), 1400),
        Net::Pods(6) => out(Device::Eth1, None, 9000),
        Net::Pods(7) => out(Device::Br0, None, MTU),
        Net::Pods(1) | Net::Services => Route::Inward,
        Net::Unreachable => Route::None,
        Net::Pods(_) | Net::Elsewhere => out(Device::Eth0, Some(1), MTU),
    }
}

/// The address that what leaves by a device gets.
pub(crate) fn source(device: Device, v4: bool) -> IpAddr {
    let both = match device {
        Device::Eth1 => NODE_ETH1,
        Device::Eth2 => NODE_ETH2,
        _ => NODE,
    };
    both.ips()[usize::from(!v4)]
}

/// May no client, on any device, have this source for a packet to there?
pub(crate) fn is_impossible(src: IpAddr, dst: IpAddr) -> bool {
    let group = match src {
        IpAddr::V4(ip) => {
            let first = ip.octets()[0];
            ip == Ipv4Addr::BROADCAST || matches!(first, 0 | 127 | 224..)
        }
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_loopback() || ip.is_unspecified(),
    };
    group || src == dst
}

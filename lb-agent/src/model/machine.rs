//! This machine: its addresses, its networks, and the devices that programs are attached to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lb_common::Proto;

use super::Cidr;

/// A `ServiceCIDR`: networks that cluster IPs are taken from.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServiceCidr {
    /// Its name.
    pub name: String,
    /// Empty until one is assigned.
    pub networks: Vec<Cidr>,
}

/// Addresses and networks from which no service address is routed away.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Machine {
    /// Addresses of this machine's devices, loopback included; sorted, each once.
    pub own: Vec<IpAddr>,
    /// Networks on its links: an address in them, and the length of the prefix. Other nodes may be
    /// there.
    pub links: Vec<Cidr>,
    /// Sockets that wait on addresses of `own` which are cluster IPs too: their ports are left to
    /// them, the others are the Service's. Sorted, each once.
    pub listening: Vec<(Proto, IpAddr, u16)>,
}

/// A network device of this node that packets from outside, or replies of backends, arrive on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Device {
    /// Interface index: what identifies a device; names change.
    pub ifindex: u32,
    /// Its name at present.
    pub name: String,
    /// XDP is wanted in front of tc (`--attach-xdp`).
    pub xdp: bool,
    /// Source of packets that leave here where the route names none.
    pub source_v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// Bytes of the link-layer header: 14, or 0 for tunnels and other raw devices.
    pub header_len: u32,
    /// Its hardware address; zero if it has none of six bytes.
    pub mac: [u8; 6],
    /// A veth device: what XDP sends out here is lost unless the other end, which the agent cannot
    /// see, has XDP too.
    pub veth: bool,
    /// Whether packets whose source is routed elsewhere are taken from here.
    pub rp_filter: RpFilter,
    /// Pods of this node are behind it, and those of others too: an endpoint behind it that names
    /// this node is here.
    pub pods: bool,
}

/// The kernel's reverse path filter of a device (`net.ipv4.conf.*.rp_filter`; RFC 3704).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum RpFilter {
    /// A source may be routed elsewhere (0 or 2).
    #[default]
    Loose,
    /// A packet whose source is routed elsewhere is dropped (1).
    Strict,
}

/// A network device that is no node device, and that leads to more than single hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unwatched {
    /// The device.
    pub device: Device,
    /// Networks that are routed over it.
    pub networks: Vec<Cidr>,
    /// What is routed elsewhere, of these networks.
    pub elsewhere: Vec<Cidr>,
}

impl Unwatched {
    /// Is this address routed over the device? The longest prefix tells.
    #[must_use]
    pub fn leads_to(&self, ip: IpAddr) -> bool {
        let longest = |of: &[Cidr]| {
            let holding = of.iter().filter(|n| n.contains(ip));
            holding.map(|n| n.prefix).max()
        };
        longest(&self.networks).is_some_and(|here| Some(here) > longest(&self.elsewhere))
    }
}

/// Interface indices of `lb0` and of its other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VethPair {
    /// `lb0`
    pub device: u32,
    /// Its other end.
    pub peer: u32,
}

/// A program and where it belongs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Attached {
    /// Its name.
    pub program: &'static str,
    /// The device; empty for the cgroup.
    pub device: String,
}

/// Why a device has no XDP program of the agent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoXdp {
    /// Its driver has no native XDP, or not as the device is set.
    Driver,
    /// The device has an XDP program of another process, and there is room for one.
    Taken,
}

impl NoXdp {
    /// What is wrong with the device, and what helps.
    #[must_use]
    pub fn problem(self, device: &str) -> String {
        match self {
            Self::Driver => format!(
                "device {device} has no native XDP: see its driver, or take it out of --attach-xdp"
            ),
            Self::Taken => format!(
                "device {device} has an XDP program of another process: stop that one, which `bpftool net show dev {device}` names, or take the device out of --attach-xdp"
            ),
        }
    }
}

/// What became of programs since they were attached.
#[derive(Debug, Default)]
pub struct Verification {
    /// Not where they were attached any more, and to be attached again.
    pub lost: Vec<Attached>,
    /// Attached, with another program in front of them at ingress, or behind them at egress. They
    /// stay so: to move one is to detach it first.
    pub misplaced: Vec<Attached>,
}

//! The address plan of the table: one node, its devices, its Services and their backends.
//!
//! ```text
//!  client 198.18.0.101 ──┐                      ┌── eth1 ── 198.18.1.3 ── FAR, FAR2
//!  far client ── router ─┴─ eth0 (node) ────────┼── eth1 ── 198.18.1.9 ── QUIET (no neighbour)
//!                            │    │             ├── eth2 ── 198.18.2.3 ── SLOW (no XDP there)
//!          TURN, NARROW ─────┘    └─ cni0: HERE └── br0  ── PODNET, PODNET_HERE
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use testbed::{
    addr::{Both, lan, lb, pod, vip},
    probe::Family,
};

/// An address of each family and a port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Peer {
    pub(crate) addr: Both,
    pub(crate) port: u16,
}

impl Peer {
    pub(crate) const fn new(addr: Both, port: u16) -> Self {
        Self { addr, port }
    }

    pub(crate) const fn port(self, port: u16) -> Self {
        Self { port, ..self }
    }

    pub(crate) const fn ip(self, family: Family) -> IpAddr {
        self.addr.ip(family)
    }
}

const fn both(v4: [u8; 4], v6: [u16; 8]) -> Both {
    let [a, b, c, d] = v4;
    let [e, f, g, h, i, j, k, l] = v6;
    Both {
        v4: Ipv4Addr::new(a, b, c, d),
        v6: Ipv6Addr::new(e, f, g, h, i, j, k, l),
    }
}

/// The segment of eth1 or eth2 and the node's neighbours on it.
const fn segment(device: u8, host: u8) -> Both {
    both(
        [198, 18, device, host],
        [0xfd66, 0x180 + device as u16, 0, 0, 0, 0, 0, host as u16],
    )
}

/// The node's address on eth0, where node ports answer.
pub(crate) const NODE: Both = lan(2);
/// The node's addresses on eth1 and eth2, where they do not.
pub(crate) const NODE_ETH1: Both = segment(1, 2);
pub(crate) const NODE_ETH2: Both = segment(2, 2);
/// An address of the network that all pods have theirs in.
pub(crate) const PODS: Both = pod(0, 0);
/// The node's address in its pods' network.
pub(crate) const NODE_CNI: Both = pod(1, 1);
/// The router of eth0's segment.
pub(crate) const ROUTER: Both = lan(1);
/// A router between us and the backends behind eth1.
pub(crate) const INNER_ROUTER: Both = segment(1, 3);
/// A client on the segment of eth0.
pub(crate) const CLIENT: Peer = Peer::new(lan(101), 41_001);
/// A client behind the router.
pub(crate) const FAR_CLIENT: Peer = Peer::new(
    both([203, 0, 113, 7], [0xfd66, 0x113, 0, 0, 0, 0, 0, 7]),
    41_007,
);
/// A client behind a device without link headers; see [`Device::mac`].
pub(crate) const TUNNEL_CLIENT: Peer = Peer::new(
    both([8, 0, 0, 7], [0xfd66, 0x8, 0x86dd, 0, 0, 0, 0, 7]),
    41_008,
);
/// A pod of this node, as a client.
pub(crate) const POD: Peer = Peer::new(pod(1, 50), 41_050);
/// A pod of another node, as a client.
pub(crate) const FOREIGN_POD: Peer = Peer::new(pod(2, 50), 41_051);
/// An address that is nothing of ours, behind the router.
pub(crate) const ELSEWHERE: Peer = Peer::new(
    both([203, 0, 113, 99], [0xfd66, 0x113, 0, 0, 0, 0, 0, 99]),
    80,
);
/// In the service network, and no Service's.
pub(crate) const UNALLOCATED: Peer = Peer::new(vip(200), 80);
/// What speaks on `lb0` for load-balancer and external addresses of IPv4, which are not routed
/// there whole.
pub(crate) const ICMP_SOURCE_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 108, 99);

/// A device of the node; those named tun have no link header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Device {
    Eth0,
    Eth1,
    Eth2,
    Br0,
    Lb0,
    Lb0Peer,
    Tun4,
    Tun6,
}

impl Device {
    pub(crate) const ALL: [Self; 8] = [
        Self::Eth0,
        Self::Eth1,
        Self::Eth2,
        Self::Br0,
        Self::Lb0,
        Self::Lb0Peer,
        Self::Tun4,
        Self::Tun6,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Eth0 => "eth0",
            Self::Eth1 => "eth1",
            Self::Eth2 => "eth2",
            Self::Br0 => "br0",
            Self::Lb0 => "lb0",
            Self::Lb0Peer => "lb0p",
            Self::Tun4 => "tun4",
            Self::Tun6 => "tun6",
        }
    }

    pub(crate) const fn mac(self) -> [u8; 6] {
        match self {
            Self::Eth0 => [2, 0, 0, 0, 0, 0x10],
            Self::Eth1 => [2, 0, 0, 0, 0, 0x11],
            Self::Eth2 => [2, 0, 0, 0, 0, 0x12],
            Self::Br0 => [2, 0, 0, 0, 0, 0x13],
            Self::Lb0 | Self::Lb0Peer => lb_common::lb0::MAC,
            // A test run takes the first bytes for an Ethernet header whatever the device, so these
            // are the first bytes of a SYN: in IPv4 with four bytes of options, since hardware
            // addresses are even. Its source must have the EtherType in the right place.
            Self::Tun4 => [0x46, 0, 0, 44, 0x47, 0x11],
            Self::Tun6 => [0x60, 0, 0, 0, 0, 20],
        }
    }
}

/// How packets leave for a destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Way {
    pub(crate) device: Device,
    /// Last byte of the next hop's hardware address; `None` if no neighbour entry exists.
    pub(crate) hop: Option<u8>,
    /// XDP may send there.
    pub(crate) xdp: bool,
}

impl Way {
    const fn new(device: Device, hop: u8) -> Self {
        Self {
            device,
            hop: Some(hop),
            xdp: true,
        }
    }

    /// Which address of the node packets that leave this way get.
    pub(crate) const fn source(self) -> Both {
        match self.device {
            Device::Eth1 => NODE_ETH1,
            Device::Eth2 => NODE_ETH2,
            _ => NODE,
        }
    }

    /// The next hop's hardware address.
    pub(crate) fn hop_mac(self) -> Option<[u8; 6]> {
        self.hop.map(|last| [2, 0, 0, 0, 1, last])
    }
}

/// To [`CLIENT`].
pub(crate) const TO_CLIENT: Way = Way::new(Device::Eth0, 101);
/// To [`FAR_CLIENT`].
pub(crate) const TO_ROUTER: Way = Way::new(Device::Eth0, 1);

/// A backend, always on port 8080.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Backend {
    pub(crate) addr: Both,
    /// `None`: on this node.
    pub(crate) way: Option<Way>,
}

pub(crate) const BACKEND_PORT: u16 = 8080;

const fn backend(addr: Both, way: Option<Way>) -> Backend {
    Backend { addr, way }
}

/// A pod of this node.
pub(crate) const HERE: Backend = backend(pod(1, 10), None);
/// Another pod of this node, whose endpoint names no node.
pub(crate) const NAMELESS: Backend = backend(pod(1, 20), None);
/// Pods of another node, behind eth1.
pub(crate) const FAR: Backend = backend(pod(2, 10), Some(Way::new(Device::Eth1, 3)));
pub(crate) const FAR2: Backend = backend(pod(2, 11), Some(Way::new(Device::Eth1, 3)));
/// The same; its slice says that it runs on this node.
pub(crate) const MISPLACED: Backend = backend(pod(2, 12), Some(Way::new(Device::Eth1, 3)));
/// A pod of another node on eth0's own segment: packets leave as they came.
pub(crate) const TURN: Backend = backend(pod(3, 10), Some(Way::new(Device::Eth0, 3)));
/// A pod behind eth2, where XDP cannot send.
pub(crate) const SLOW: Backend = backend(
    pod(4, 10),
    Some(Way {
        device: Device::Eth2,
        hop: Some(23),
        xdp: false,
    }),
);
/// A pod behind a way of 1400 bytes.
pub(crate) const NARROW: Backend = backend(pod(5, 10), Some(Way::new(Device::Eth0, 5)));
/// A pod whose next hop no neighbour entry names.
pub(crate) const QUIET: Backend = backend(
    pod(6, 10),
    Some(Way {
        device: Device::Eth1,
        hop: None,
        xdp: true,
    }),
);
/// The way over a bridge that pods of several nodes are behind.
const BRIDGE: Way = Way {
    device: Device::Br0,
    hop: None,
    xdp: false,
};
/// A pod of another node behind the bridge.
pub(crate) const PODNET: Backend = backend(pod(7, 10), Some(BRIDGE));
/// A pod of this node behind it.
pub(crate) const PODNET_HERE: Backend = backend(pod(7, 20), None);
/// The same, as another pod behind it is led there.
pub(crate) const PODNET_TURN: Backend = backend(PODNET_HERE.addr, Some(BRIDGE));
/// Another pod behind it, as a client.
pub(crate) const PODNET_CLIENT: Peer = Peer::new(pod(7, 50), 41_052);
/// The node itself, by its address on eth1.
pub(crate) const SELF: Backend = backend(NODE_ETH1, None);
/// A backend that no route leads to.
pub(crate) const NOWHERE: Backend = backend(
    both([192, 0, 2, 10], [0xfd66, 0xc000, 0, 0, 0, 0, 0, 10]),
    None,
);

/// A Service of the node, by the number in its addresses and ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Svc(pub(crate) u8);

impl Svc {
    pub(crate) const fn vip(self) -> Peer {
        Peer::new(vip(self.0), 80)
    }

    pub(crate) const fn node_port(self) -> Peer {
        Peer::new(NODE, 30_000 + self.0 as u16)
    }

    pub(crate) const fn lb(self) -> Peer {
        Peer::new(lb(self.0), 80)
    }

    pub(crate) const fn external(self) -> Peer {
        Peer::new(
            both(
                [198, 19, 1, self.0],
                [0xfd66, 0x191, 0, 0, 0, 0, 0, self.0 as u16],
            ),
            80,
        )
    }
}

/// One backend each, named like it.
pub(crate) const S_FAR: Svc = Svc(1);
pub(crate) const S_HERE: Svc = Svc(2);
pub(crate) const S_TURN: Svc = Svc(3);
pub(crate) const S_SLOW: Svc = Svc(4);
pub(crate) const S_NARROW: Svc = Svc(5);
pub(crate) const S_QUIET: Svc = Svc(6);
pub(crate) const S_NAMELESS: Svc = Svc(7);
pub(crate) const S_NOWHERE: Svc = Svc(8);
pub(crate) const S_PODNET: Svc = Svc(9);
/// No endpoint.
pub(crate) const S_EMPTY: Svc = Svc(10);
/// External policy Local, and its one endpoint is FAR.
pub(crate) const S_LOCAL_ONLY: Svc = Svc(11);
/// Source ranges admit eth0's segment alone.
pub(crate) const S_RANGES: Svc = Svc(12);
/// FAR and FAR2.
pub(crate) const S_PAIR: Svc = Svc(13);
/// FAR and FAR2 with session affinity.
pub(crate) const S_AFFINE: Svc = Svc(14);
/// An endpoint that is another Service's cluster IP.
pub(crate) const S_RING: Svc = Svc(15);
/// An endpoint without a node's name at the node's address on eth1.
pub(crate) const S_SELF: Svc = Svc(16);
/// MISPLACED.
pub(crate) const S_MISPLACED: Svc = Svc(17);
/// Internal policy Local, and its one endpoint is FAR.
pub(crate) const S_INTERNAL_ONLY: Svc = Svc(18);
/// PODNET_HERE.
pub(crate) const S_PODNET_HERE: Svc = Svc(19);
/// PODNET under external policy Local.
pub(crate) const S_PODNET_LOCAL: Svc = Svc(20);
/// HERE, which sees the node: the stack masquerades.
pub(crate) const S_MASQUERADED: Svc = Svc(21);
/// FAR, which may have one connection.
pub(crate) const S_BOUNDED: Svc = Svc(22);

//! Devices, addresses and routes of this machine, without netlink's forms.

use std::net::IpAddr;

use crate::model::Cidr;

/// One dump of everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// Every device of the network namespace.
    pub links: Vec<Link>,
    /// Every address of every device.
    pub addresses: Vec<Address>,
    /// Unicast routes of all tables, one for each next hop.
    pub routes: Vec<Route>,
}

/// A network device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    /// Interface index.
    pub ifindex: u32,
    /// Name.
    pub name: String,
    /// Kind of a virtual device (`veth`, `vxlan`, …); empty for hardware.
    pub kind: String,
    /// The device that this one is a part of: a bridge, a bond, a VRF.
    pub master: Option<u32>,
    /// The loopback device.
    pub loopback: bool,
    /// Frames have an Ethernet header.
    pub ethernet: bool,
    /// Its hardware address; zero if it has none of six bytes.
    pub mac: [u8; 6],
    /// Bytes of the largest packet; 0 if netlink does not say.
    pub mtu: u32,
}

/// An address of a device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address {
    /// The device.
    pub ifindex: u32,
    /// The address itself, never the peer's.
    pub ip: IpAddr,
    /// Length of the prefix that is on the link.
    pub prefix: u8,
    /// Secondary (IPv4) or temporary (IPv6): not the first choice as a source.
    pub secondary: bool,
    /// Not to be used yet or any more: tentative, or a duplicate was found.
    pub unusable: bool,
}

impl Address {
    /// An address that hosts beyond the link can reach: neither loopback nor link-local nor
    /// unspecified nor multicast.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        let ordinary = match self.ip {
            IpAddr::V4(a) => !a.is_loopback() && !a.is_link_local() && !a.is_unspecified(),
            IpAddr::V6(a) => !a.is_loopback() && !a.is_unicast_link_local() && !a.is_unspecified(),
        };
        ordinary && !self.ip.is_multicast() && !self.unusable
    }

    /// More than the address itself is on the link.
    #[must_use]
    pub fn has_network(&self) -> bool {
        self.prefix < if self.ip.is_ipv4() { 32 } else { 128 }
    }
}

/// One next hop of a unicast route.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Route {
    /// Where it leaves.
    pub ifindex: u32,
    /// Where to; `None` where netlink did not say so in a form that is known here.
    pub to: Option<Cidr>,
    /// `0.0.0.0/0` or `::/0`.
    pub default: bool,
    /// Through another host.
    pub gateway: bool,
    /// In a table of its own, which rules lead to, and not made by the kernel.
    pub policy: bool,
    /// The route has more next hops.
    pub multipath: bool,
    /// To addresses of the link alone (fe80::/64, 169.254.0.0/16), which every IPv6 device has.
    pub link_local: bool,
    /// The source that it asks for.
    pub source: Option<IpAddr>,
}

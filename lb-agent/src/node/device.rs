//! A device that our programs stand on. Owns its form in `lb_devs`.

use std::net::{Ipv4Addr, Ipv6Addr};

use lb_common::{
    Addr,
    dev::{Dev, flags},
};

/// A network device of this node that packets from outside, or replies of backends, come in on.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Device {
    /// Interface index: what a device is known by; names change.
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
    /// A veth device: what XDP sends out here is lost unless the other end, which we cannot see, has XDP too.
    pub veth: bool,
}

impl Device {
    /// Its entry in `lb_devs`; `xdp` tells whether XDP is really attached and may send here.
    #[must_use]
    pub fn entry(&self, xdp: bool) -> Dev {
        Dev {
            source_v4: self.source_v4.map_or(Addr::ZERO, |a| Addr::v4(a.octets())),
            source_v6: self.source_v6.map_or(Addr::ZERO, |a| Addr::v6(a.octets())),
            flags: flags::NODE | if xdp { flags::XDP } else { 0 },
            header_len: self.header_len,
        }
    }
}

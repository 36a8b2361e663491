//! The address plan of the testbed: the same in every test, since no two share a namespace.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::probe::Family;

/// One address of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Both {
    /// IPv4
    pub v4: Ipv4Addr,
    /// IPv6
    pub v6: Ipv6Addr,
}

impl Both {
    /// The address of this family.
    #[must_use]
    pub const fn ip(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => IpAddr::V4(self.v4),
            Family::V6 => IpAddr::V6(self.v6),
        }
    }

    /// With a port.
    #[must_use]
    pub const fn at(&self, family: Family, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(family), port)
    }

    /// The IPv4 address as an IPv6 socket writes it.
    #[must_use]
    pub const fn mapped(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V6(self.v4.to_ipv6_mapped()), port)
    }

    /// As a list.
    #[must_use]
    pub const fn ips(&self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }
}

/// What a local backend sees of clients that come over `lb0`: `lb_common::lb0`'s addresses as
/// people write them.
pub const LB0: Both = Both {
    v4: Ipv4Addr::new(169, 254, 108, 98),
    v6: Ipv6Addr::new(0xfd6c, 0x6230, 0, 0, 0, 0, 0, 1),
};

/// The segment that nodes and outside clients share: 198.18.0.0/24 and fd66:18::/64.
#[must_use]
pub const fn lan(host: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(198, 18, 0, host),
        v6: Ipv6Addr::new(0xfd66, 0x18, 0, 0, 0, 0, 0, host as u16),
    }
}

/// A pod's: 10.244.NODE.HOST and fd66:244:0:NODE::HOST.
#[must_use]
pub const fn pod(node: u8, host: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(10, 244, node, host),
        v6: Ipv6Addr::new(0xfd66, 0x244, 0, node as u16, 0, 0, 0, host as u16),
    }
}

/// A cluster IP: 10.96.0.N and fd66:96::N.
#[must_use]
pub const fn vip(n: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(10, 96, 0, n),
        v6: Ipv6Addr::new(0xfd66, 0x96, 0, 0, 0, 0, 0, n as u16),
    }
}

/// An ingress IP of a load balancer: 198.19.0.N and fd66:19::N.
#[must_use]
pub const fn lb(n: u8) -> Both {
    Both {
        v4: Ipv4Addr::new(198, 19, 0, n),
        v6: Ipv6Addr::new(0xfd66, 0x19, 0, 0, 0, 0, 0, n as u16),
    }
}

/// Both loopbacks.
pub const LOOPBACK: Both = Both {
    v4: Ipv4Addr::LOCALHOST,
    v6: Ipv6Addr::LOCALHOST,
};

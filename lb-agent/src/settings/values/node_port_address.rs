//! One word of `--node-port-addresses`: its spelling and its meaning.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::model::Cidr;

/// One word of `--node-port-addresses`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodePortAddress {
    /// Every address of the machine.
    All,
    /// The addresses in the Node's status.
    Primary,
    /// Loopback.
    Localhost,
    /// Addresses of this network.
    Cidr(Cidr),
}

impl FromStr for NodePortAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "all" => Ok(Self::All),
            "primary" => Ok(Self::Primary),
            "localhost" => Ok(Self::Localhost),
            other => Cidr::parse(other).map(Self::Cidr).ok_or_else(|| {
                "neither all, primary, localhost nor a network such as 10.0.0.0/8".to_owned()
            }),
        }
    }
}

impl fmt::Display for NodePortAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Primary => f.write_str("primary"),
            Self::Localhost => f.write_str("localhost"),
            Self::Cidr(net) => net.fmt(f),
        }
    }
}

impl NodePortAddress {
    /// Do node ports answer on `addr`, on a Node with the addresses `primary` in its status?
    #[must_use]
    pub fn admits(self, addr: IpAddr, primary: &[IpAddr]) -> bool {
        match self {
            Self::All => true,
            Self::Primary => primary.contains(&addr),
            Self::Localhost => addr.is_loopback(),
            Self::Cidr(net) => net.contains(addr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_port_addresses_combine() {
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let primary = [ip("10.0.0.1")];
        let words: Vec<NodePortAddress> = ["primary", "localhost", "198.18.0.0/15"]
            .iter()
            .map(|w| w.parse().unwrap())
            .collect();
        let admitted = |a: &str| words.iter().any(|w| w.admits(ip(a), &primary));
        for yes in ["10.0.0.1", "127.0.0.1", "::1", "198.19.1.1"] {
            assert!(admitted(yes), "{yes}");
        }
        for no in ["10.0.0.2", "198.20.0.1", "fd66::1"] {
            assert!(!admitted(no), "{no}");
        }
        assert!(NodePortAddress::All.admits(ip("fd66::1"), &[]));
    }
}

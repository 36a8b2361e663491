//! Networks: those of the services, and what this machine has of its own, for services that have an address of it too.

use std::net::IpAddr;

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
    /// Networks on its links: an address in them, and the length of the prefix. Other nodes may be there.
    pub links: Vec<Cidr>,
}

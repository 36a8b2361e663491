//! Whether a connection that netfilter translates leads to a Service, by the pinned maps. What is
//! no frontend there, such as a port that a CNI maps to a pod, belongs to other software.

use std::collections::{HashMap, HashSet};

use lb_common::{
    Addr,
    frontend::{self, FrontendValue, NodeAddr, NodePortKey, VipKey},
    maps,
};

use crate::{
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::{HashTable as _, MapError},
    },
    netfilter::conntrack::{Connection, Tuple},
};

/// The frontends that the kernel holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Frontends {
    /// With the flags of the frontend.
    services: HashMap<(Addr, u16, u8), u32>,
    node_ports: HashSet<(u16, u8, u8)>,
    node_addresses: HashSet<Addr>,
}

impl Frontends {
    /// Reads the pins.
    pub fn read(dir: &BpfDir) -> Result<Self, MapError> {
        let services: Vec<(VipKey, FrontendValue)> =
            HashPin::open(dir, maps::FRONTENDS, Access::Read)?.entries()?;
        let node_ports: Vec<(NodePortKey, FrontendValue)> =
            HashPin::open(dir, maps::NODEPORTS, Access::Read)?.entries()?;
        let addresses: Vec<(Addr, NodeAddr)> =
            HashPin::open(dir, maps::NODEADDRS, Access::Read)?.entries()?;
        Ok(Self {
            services: services
                .iter()
                .filter(|(_, r)| r.flags & frontend::VIP_MARK == 0)
                .map(|(k, r)| ((k.addr, k.port, k.proto), r.flags))
                .collect(),
            node_ports: node_ports
                .iter()
                .map(|(k, _)| (k.port, k.proto, k.family))
                .collect(),
            node_addresses: addresses.into_iter().map(|(a, _)| a).collect(),
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.node_ports.is_empty()
    }

    /// Is it a cluster IP?
    #[must_use]
    pub fn has_cluster_ip(&self, addr: &Addr) -> bool {
        let mut all = self.services.iter();
        all.any(|((ip, _, _), flags)| ip == addr && flags & frontend::CLUSTER_IP != 0)
    }

    /// Would a packet with this tuple be taken for one to a node port?
    #[must_use]
    pub fn has_node_port(&self, proto: u8, tuple: &Tuple) -> bool {
        let family = if tuple.dst.is_v4() { 4 } else { 6 };
        self.node_ports.contains(&(tuple.dport, proto, family))
            && self.node_addresses.contains(&tuple.dst)
    }

    /// Whether this connection was opened to a Service.
    #[must_use]
    pub fn lead(&self, connection: &Connection) -> bool {
        let Connection {
            proto,
            original: Tuple { dst, dport, .. },
            ..
        } = connection;
        let family = if dst.is_v4() { 4 } else { 6 };
        self.services.contains_key(&(*dst, *dport, *proto))
            || (self.node_ports.contains(&(*dport, *proto, family))
                && (dst.is_loopback() || self.node_addresses.contains(dst)))
    }
}

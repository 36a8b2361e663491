//! The plan of a small cluster: Services with their slices, state after state.

use std::collections::{BTreeMap, BTreeSet};

use testbed::probe::Family;

/// A cluster in a namespace of its own, as it changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What made it, for people.
    pub name: String,
    /// In each state the Services by position; one that is not there is `None`.
    pub states: Vec<Vec<Option<Svc>>>,
}

/// A Service with its slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svc {
    /// `spec.type`, and headless.
    pub kind: Type,
    /// `spec.ipFamilies`, the first one first.
    pub families: Vec<Family>,
    /// At least one.
    pub ports: Vec<Port>,
    /// `externalTrafficPolicy: Local`
    pub external_local: bool,
    /// `internalTrafficPolicy: Local`
    pub internal_local: bool,
    /// Session affinity `ClientIP` with this timeout in seconds.
    pub affinity: Option<u32>,
    /// `status.loadBalancer.ingress`
    pub ingress: Vec<Ingress>,
    /// How many of `spec.externalIPs` of each family; numbered from 0 on.
    pub external_ips: u8,
    /// `spec.loadBalancerSourceRanges`
    pub ranges: Vec<String>,
    /// `allocateLoadBalancerNodePorts: false`
    pub no_node_ports: bool,
    /// One of the labels that take a Service out of kube-proxy's hands.
    pub label: Option<&'static str>,
    /// Its `EndpointSlices`, of each of its families.
    pub slices: Vec<Slice>,
    /// Deleted and made again when this changes.
    pub made: u8,
}

impl Default for Svc {
    fn default() -> Self {
        Self {
            kind: Type::ClusterIp,
            families: vec![Family::V4, Family::V6],
            ports: vec![Port::tcp("tcp", 80), Port::udp("udp", 80)],
            external_local: false,
            internal_local: false,
            affinity: None,
            ingress: Vec::new(),
            external_ips: 0,
            ranges: Vec::new(),
            no_node_ports: false,
            label: None,
            slices: Vec::new(),
            made: 0,
        }
    }
}

impl Svc {
    /// Whether anything but its ClusterIPs leads to it.
    #[must_use]
    pub fn is_reachable_from_outside(&self) -> bool {
        self.kind != Type::ClusterIp || self.external_ips > 0
    }

    /// Of a pod that stands in two slices, kube-proxy takes the one that does not terminate; of two
    /// such, of none, or of more, any. Only the first case is left here.
    pub fn tell_twins_apart(&mut self) {
        let mut count = BTreeMap::<usize, usize>::new();
        for slice in &mut self.slices {
            slice.endpoints.retain(|endpoint| {
                let seen = count.entry(endpoint.pod).or_default();
                *seen += 1;
                *seen <= 2
            });
        }
        count.retain(|_, count| *count > 1);
        let mut seen = BTreeSet::new();
        for endpoint in self
            .slices
            .iter_mut()
            .flat_map(|slice| &mut slice.endpoints)
        {
            if count.contains_key(&endpoint.pod) {
                endpoint.terminating = Some(!seen.insert(endpoint.pod));
            }
        }
    }

    /// So many endpoints has its longest list, at least one.
    #[must_use]
    pub fn breadth(&self) -> usize {
        self.slices
            .iter()
            .map(|slice| slice.endpoints.len())
            .sum::<usize>()
            .max(1)
    }
}

/// `spec.type`, and headless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Cluster IPs only.
    ClusterIp,
    /// Node ports too.
    NodePort,
    /// And load-balancer IPs.
    LoadBalancer,
    /// `clusterIP: None`
    Headless,
}

/// One of `spec.ports`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name, which slices repeat; empty for the only one.
    pub name: &'static str,
    /// UDP rather than TCP.
    pub udp: bool,
    /// On the cluster, load-balancer and external IPs.
    pub number: u16,
}

impl Port {
    /// A TCP port.
    #[must_use]
    pub const fn tcp(name: &'static str, number: u16) -> Self {
        Self {
            name,
            udp: false,
            number,
        }
    }

    /// A UDP port.
    #[must_use]
    pub const fn udp(name: &'static str, number: u16) -> Self {
        Self {
            name,
            udp: true,
            number,
        }
    }
}

/// One of `status.loadBalancer.ingress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// The plan's load-balancer IP of this number, one of each family, with this `ipMode`.
    Ip(u8, Option<&'static str>),
    /// A name only.
    Hostname,
}

/// An `EndpointSlice`, once for each family of its Service.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slice {
    /// By position of the Service's port: which of [`super::world::TARGETS`] the endpoints listen
    /// on; `None` leaves it out.
    pub targets: Vec<Option<usize>>,
    /// In this family only.
    pub only: Option<OnlyFamily>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// A family, where `Family` would ask for a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnlyFamily {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

impl Slice {
    /// Whether there is one of this family.
    #[must_use]
    pub fn is_of(&self, family: Family) -> bool {
        match self.only {
            None => true,
            Some(OnlyFamily::V4) => family == Family::V4,
            Some(OnlyFamily::V6) => family == Family::V6,
        }
    }
}

/// One endpoint of a slice: a pod of the pool.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// Number in the pool, see [`super::side::Side::pods`].
    pub pod: usize,
    /// `conditions.ready`
    pub ready: Option<bool>,
    /// `conditions.serving`
    pub serving: Option<bool>,
    /// `conditions.terminating`
    pub terminating: Option<bool>,
    /// Without `nodeName`.
    pub nameless: bool,
    /// Its `nodeName` is the other node's.
    pub misplaced: bool,
    /// `hints.forZones`
    pub zones: Vec<&'static str>,
    /// `hints.forNodes`
    pub nodes: Vec<&'static str>,
}

impl Endpoint {
    /// Nothing but the pod is said.
    #[must_use]
    pub fn new(pod: usize) -> Self {
        Self {
            pod,
            ..Self::default()
        }
    }

    /// With these conditions: ready, serving, terminating.
    #[must_use]
    pub const fn is(mut self, ready: bool, serving: bool, terminating: bool) -> Self {
        (self.ready, self.serving, self.terminating) =
            (Some(ready), Some(serving), Some(terminating));
        self
    }

    /// With a hint for this zone.
    #[must_use]
    pub fn zone(mut self, zone: &'static str) -> Self {
        self.zones.push(zone);
        self
    }

    /// With a hint for this node.
    #[must_use]
    pub fn node(mut self, node: &'static str) -> Self {
        self.nodes.push(node);
        self
    }
}

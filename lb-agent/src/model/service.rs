//! What the agent knows of a Service. Owns no decision: which endpoints serve it is the planner's.

use std::{
    net::IpAddr,
    num::{NonZeroU16, NonZeroU32},
    sync::Arc,
};

use lb_common::{Proto, scheduler::Scheduler};

use super::{
    Cidr, Forwarding, MaxAge, ObjectKey, PassiveHealth, Removal, SlowStart, Spill, Weights,
};

/// A Service that wants balancing (headless and ExternalName ones never get here).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub key: ObjectKey,
    /// `metadata.creationTimestamp`: of two services that ask for the same frontend, the older one
    /// gets it.
    pub created: Option<jiff::Timestamp>,
    /// `metadata.labels`, sorted: people select by them.
    pub labels: Box<[(Arc<str>, Arc<str>)]>,
    /// Which frontends it asks for.
    pub kind: ServiceType,
    /// `spec.clusterIPs`, at most one a family.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`, before the allow-list.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress` addresses whose `ipMode` is VIP or unset (KEP-1860).
    pub ingress_ips: Vec<IpAddr>,
    /// In the order of the object.
    pub ports: Vec<ServicePort>,
    /// `externalTrafficPolicy`.
    pub external_policy: Policy,
    /// `internalTrafficPolicy`.
    pub internal_policy: Policy,
    /// Session affinity `ClientIP`: its timeout in seconds; `None` is off.
    pub affinity_secs: Option<u32>,
    /// `spec.loadBalancerSourceRanges`: empty admits everybody.
    pub source_ranges: Vec<Cidr>,
    /// `spec.healthCheckNodePort`.
    pub health_check_node_port: Option<NonZeroU16>,
    /// From the annotation `lb-agent.io/scheduler`; `None` is the agent's default.
    pub scheduler: Option<Scheduler>,
    /// From the annotation `lb-agent.io/on-backend-removal`; `None` is the agent's default.
    pub removal: Option<Removal>,
    /// From the annotation `lb-agent.io/weights`.
    pub weights: Weights,
    /// From the annotation `lb-agent.io/slow-start`; `None`: new endpoints have their whole share at
    /// once.
    pub slow_start: Option<SlowStart>,
    /// From the annotation `lb-agent.io/max-connections`: how many open connections of this node's
    /// clients each backend may have; `None`: any number.
    pub max_connections: Option<NonZeroU32>,
    /// From the annotation `lb-agent.io/max-connection-age`: TCP connections that are older are reset,
    /// so that their clients connect again; `None`: any age.
    pub max_age: Option<MaxAge>,
    /// From the annotation `lb-agent.io/spill`: above how much of the average connections leave the
    /// endpoints that topology hints prefer; `None`: never.
    pub spill: Option<Spill>,
    /// From the annotation `lb-agent.io/forwarding`; `None` is the agent's default.
    pub forwarding: Option<Forwarding>,
    /// From the annotation `lb-agent.io/passive-health`; `None` is the agent's default.
    pub passive_health: Option<PassiveHealth>,
    /// What could not be honoured, in sentences that name the field and the remedy: shown by `get
    /// services` and Events.
    pub problems: Vec<String>,
}

impl Service {
    /// Order of precedence: of two that ask for the same frontend the smaller one gets it. The
    /// older one; then the one whose name comes first. One without an age is the youngest.
    #[must_use]
    pub fn rank(&self) -> (bool, Option<jiff::Timestamp>, ObjectKey) {
        (self.created.is_none(), self.created, self.key.clone())
    }
}

/// `spec.type`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceType {
    /// Cluster IPs only.
    ClusterIp,
    /// Cluster IPs and node ports.
    NodePort,
    /// Those and the addresses of a load balancer; its node ports may be absent (KEP-1864).
    LoadBalancer,
}

/// One of `spec.ports`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePort {
    /// Empty for the only port of a service.
    pub name: Arc<str>,
    /// TCP where the object is silent.
    pub proto: Proto,
    /// On the cluster, external and load-balancer IPs.
    pub port: NonZeroU16,
    /// On the node's addresses.
    pub node_port: Option<NonZeroU16>,
}

/// A traffic policy.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Every endpoint of the cluster.
    #[default]
    Cluster,
    /// Only endpoints of this node.
    Local,
}

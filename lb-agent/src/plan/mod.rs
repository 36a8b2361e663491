//! What this node's maps should hold for one Service: a pure function of facts with kube-proxy's
//! traffic rules (see [`topology`]). Never looks at indices, ids or the maps.

pub mod desired;
pub mod endpoints;
pub mod frontends;
pub mod no_local;
pub mod quarantine;
pub mod slots;
pub mod topology;

use std::sync::Arc;

pub use desired::{
    Frontend, FrontendKey, HealthCheck, IpFamily, Member, Pool, PoolId, ServicePlan, TrafficPolicy,
};
use lb_common::{Proto, pool::flags};
use no_local::NoLocalOf;
use thiserror::Error;

use crate::model::{
    Cidr, Forwarding, Machine, PassiveHealth, Policy, Removal, Scheduler, Service, ServicePort,
    Slice,
};

/// Settings of the planner, fixed at start, and what it knows of this machine.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PlanConfig {
    /// This node: endpoints with this `nodeName` are local.
    pub node_name: Arc<str>,
    /// Networks whose addresses are accepted in `spec.externalIPs`; none by default
    /// (CVE-2020-8554).
    pub external_ips: Vec<Cidr>,
    /// For services that name none.
    pub scheduler: Scheduler,
    /// For services that name none.
    pub removal: Removal,
    /// For services that name none.
    pub forwarding: Forwarding,
    /// For services that do not say so themselves.
    pub passive_health: PassiveHealth,
    /// VIPs are routed to `lb0`.
    pub lb0: bool,
    /// What is not routed there, and what is left alone.
    pub machine: Machine,
}

/// A pool that cannot be programmed. Its entries in the maps stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlanError {
    /// More endpoints than a service's range of slots can have.
    #[error(
        "port {port:?} has {count} endpoints, more than 65535: spread them over several Services"
    )]
    TooMany {
        /// Name of the port.
        port: Arc<str>,
        /// Its endpoints.
        count: usize,
    },
}

/// The plan of one Service. `slices` are its slices, sorted by name; `zone` is this node's.
#[must_use]
pub fn plan(
    service: &Service,
    slices: &[Arc<Slice>],
    zone: Option<&str>,
    config: &PlanConfig,
) -> ServicePlan {
    let mut plan = ServicePlan {
        problems: service.problems.clone(),
        ..ServicePlan::default()
    };
    for slice in slices {
        let name = &slice.key.name;
        let problems = slice.problems.iter().map(|p| format!("slice {name}: {p}"));
        plan.problems.extend(problems);
    }
    let addresses = frontends::Addresses::of(service, config, &mut plan.problems);
    addresses.marks(&mut plan.frontends);
    for port in &service.ports {
        if port.proto == Proto::Sctp {
            sctp(port, config, &addresses, &mut plan);
        }
        for family in &addresses.families {
            family_of_port(service, port, slices, zone, config, family, &mut plan);
        }
    }
    frontends::set_ping_pools(&mut plan);
    plan.health = endpoints::health(service, slices, &config.node_name);
    plan
}

/// Notes which part of an SCTP port clients of this node cannot reach: no hook translates SCTP
/// sockets, so their packets have to be routed to `lb0`.
fn sctp(
    port: &ServicePort,
    config: &PlanConfig,
    addresses: &frontends::Addresses,
    plan: &mut ServicePlan,
) {
    let port = port.port;
    if !config.lb0 {
        plan.sctp_ports += 1;
        plan.problems.push(format!(
            "ports: {port}/SCTP is carried for packets from outside alone: no socket is translated for SCTP, so pods and processes of this node need the device lb0 (do not start the agent with --lb0 off)"
        ));
        return;
    }
    let own = addresses.families.iter().flat_map(|family| &family.own);
    plan.problems.extend(own.map(|ip| {
        format!("ports: {port}/SCTP at {ip} is carried for packets from outside alone: the address is this node's own, so its own pods and processes reach the node itself there (let them use the cluster IP)")
    }));
}

/// Pools and frontends of one port in one family.
fn family_of_port(
    service: &Service,
    port: &ServicePort,
    slices: &[Arc<Slice>],
    zone: Option<&str>,
    config: &PlanConfig,
    family: &frontends::Family,
    plan: &mut ServicePlan,
) {
    let desired = family.frontends(service, port);
    let ranges = family.source_ranges(service);
    let ip_family = family.ip_family();
    let candidates = endpoints::candidates(service, slices, port, ip_family, &config.node_name);
    if weighs_nothing(&candidates) {
        plan.problems.push(format!(
            "weights: every endpoint of port {:?} that serves weighs 0, so new connections are refused (give one a weight)",
            port.name
        ));
    }
    let place = topology::Place {
        node: &config.node_name,
        zone,
    };
    for policy in [TrafficPolicy::Cluster, TrafficPolicy::Local] {
        if !desired.iter().any(|f| f.policy == policy) {
            continue;
        }
        let chosen = topology::choose(&candidates, policy, place);
        let own = &config.machine.own;
        let members = endpoints::members(&candidates, &chosen, policy, port.proto, own);
        let count = chosen.eligible.iter().filter(|e| **e).count();
        let refused = (count > usize::from(u16::MAX)).then(|| PlanError::TooMany {
            port: Arc::clone(&port.name),
            count,
        });
        let mut pool_flags = 0;
        if chosen.any {
            pool_flags |= flags::HAS_ENDPOINTS;
            if count == 0 {
                pool_flags |= flags::NO_LOCAL;
                let local = |of| policy == TrafficPolicy::Local && of == Policy::Local;
                let port = NoLocalOf {
                    internal: u32::from(local(service.internal_policy)),
                    external: u32::from(local(service.external_policy)),
                };
                plan.no_local.add(family.ip_family(), port);
            }
        }
        if !ranges.is_empty() {
            pool_flags |= flags::SOURCE_RANGES;
        }
        // UDP follows the Service at once: see `Removal`.
        let removal = service.removal.unwrap_or(config.removal);
        let grace = removal.grace().filter(|_| port.proto != Proto::Udp);
        if grace.is_some() {
            pool_flags |= flags::RESET;
        }
        let scheduler = service.scheduler.unwrap_or(config.scheduler);
        let slots = match refused {
            None => slots::slots(scheduler, &members),
            Some(_) => slots::Slots::default(),
        };
        if !slots.weights.is_empty() {
            pool_flags |= flags::WEIGHTED;
        }
        let problem = slots.problem.as_ref();
        plan.problems
            .extend(problem.map(|problem| format!("port {:?}: {problem}", port.name)));
        // A local policy is there to keep the client's address (as kube-proxy has it).
        let forwarding = service.forwarding.unwrap_or(config.forwarding);
        if forwarding == Forwarding::Snat && policy == TrafficPolicy::Cluster {
            pool_flags |= flags::MASQUERADE;
        }
        let passive_health = service.passive_health.unwrap_or(config.passive_health);
        if passive_health == PassiveHealth::On && port.proto == Proto::Tcp {
            pool_flags |= flags::WATCHED;
        }
        let pool = plan.pools.len();
        plan.pools.push(Pool {
            id: PoolId {
                port: Arc::clone(&port.name),
                proto: port.proto,
                family: family.ip_family(),
                policy,
            },
            scheduler: scheduler.number(),
            affinity_secs: service.affinity_secs.unwrap_or(0),
            grace,
            flags: pool_flags,
            source_ranges: ranges.clone(),
            members,
            slots,
            refused,
        });
        let ours = desired.iter().filter(|f| f.policy == policy);
        plan.frontends.extend(ours.map(|f| Frontend {
            key: f.key,
            pool: Some(pool),
            ping_pool: None,
            flags: f.flags,
        }));
    }
}

/// Are there endpoints that serve, and none that may be given a new connection?
fn weighs_nothing(candidates: &[endpoints::Candidate<'_>]) -> bool {
    let serves = |c: &&endpoints::Candidate<'_>| c.endpoint.ready || c.endpoint.serving;
    let mut weights = candidates
        .iter()
        .filter(serves)
        .map(|c| c.weight)
        .peekable();
    weights.peek().is_some() && weights.all(|weight| weight == 0)
}

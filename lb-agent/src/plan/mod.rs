//! What this node's maps should hold for one Service: a pure function of facts with kube-proxy's
//! traffic rules (see [`topology`]). Never looks at indices, ids or the maps.

pub mod desired;
pub mod endpoints;
pub mod frontends;
mod max_age;
pub mod no_local;
pub mod quarantine;
pub mod slots;
pub mod slow_start;
pub mod topology;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
    sync::Arc,
};

pub use desired::{
    Frontend, FrontendKey, HealthCheck, IpFamily, Member, MemberFlags, Pool, PoolId, ServicePlan,
    TrafficPolicy,
};
use lb_common::{Proto, pool::flags};
use no_local::NoLocalOf;
use thiserror::Error;

use crate::model::{
    Cidr, Forwarding, Machine, PassiveHealth, Policy, Removal, Scheduler, Service, ServicePort,
    Slice, Spill,
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
    let mut parts = Vec::new();
    for port in &service.ports {
        if port.proto == Proto::Sctp {
            sctp(port, config, &addresses, &mut plan);
        }
        let families = addresses.families.iter();
        parts.extend(families.map(|family| Part {
            port,
            family,
            frontends: family.frontends(service, port),
        }));
    }
    let pools = parts.iter().map(|part| part.policies().count()).sum();
    let facts = Facts {
        service,
        weighed: endpoints::Weighed::new(service, slices),
        zone,
        config,
        share: slots::share(pools),
    };
    for part in &parts {
        part.plan(&facts, &mut plan);
    }
    problems_of_slots(&mut plan);
    if service.slow_start.is_some() {
        let scheduler = service.scheduler.unwrap_or(config.scheduler);
        plan.problems.extend(slow_start::problem(scheduler));
    }
    plan.problems.extend(max_age::problem(service, config));
    plan.problems.extend(slots::spill::problem(service));
    frontends::set_ping_pools(&mut plan);
    plan.health = endpoints::health(service, &facts.weighed, &config.node_name);
    plan
}

/// What all pools of a Service are planned by.
struct Facts<'a> {
    service: &'a Service,
    weighed: endpoints::Weighed<'a>,
    zone: Option<&'a str>,
    config: &'a PlanConfig,
    /// Slots of each pool.
    share: usize,
}

/// One port in one family.
struct Part<'a> {
    port: &'a ServicePort,
    family: &'a frontends::Family,
    frontends: Vec<frontends::DesiredFrontend>,
}

/// Pools whose slots are not as weights and scheduler ask.
fn problems_of_slots(plan: &mut ServicePlan) {
    let mut of_weights: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for pool in &plan.pools {
        if let Some(problem) = &pool.slots.problem {
            let ports = of_weights.entry(problem).or_default();
            ports.insert(&pool.id.port);
        }
    }
    let mut problems = Vec::new();
    for (problem, ports) in of_weights {
        let shown: Vec<String> = ports.iter().take(3).map(|p| format!("{p:?}")).collect();
        let words = match ports.len() {
            1 => "port",
            _ => "ports",
        };
        let others = match ports.len() - shown.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let shown = shown.join(", ");
        problems.push(format!("{words} {shown}{others}: {problem}"));
    }
    let few = plan.pools.iter().filter(|pool| pool.slots.few).count();
    if few > 0 {
        problems.push(format!(
            "ports: {few} of its {} pools (one for each port, family and traffic policy) have fewer slots than weights or maglev's tables ask for, since a Service has {} at most: shares are rounded (divide its ports among several Services, use smaller weights, or another scheduler than maglev)",
            plan.pools.len(),
            slots::OF_A_SERVICE
        ));
    }
    plan.problems.extend(problems);
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

impl Part<'_> {
    /// Those that its frontends ask for: each is a pool.
    fn policies(&self) -> impl Iterator<Item = TrafficPolicy> {
        let both = [TrafficPolicy::Cluster, TrafficPolicy::Local];
        let asked = |policy: &TrafficPolicy| self.frontends.iter().any(|f| f.policy == *policy);
        both.into_iter().filter(asked)
    }

    /// Pools and frontends.
    fn plan(&self, facts: &Facts<'_>, plan: &mut ServicePlan) {
        let Facts {
            service,
            weighed,
            zone,
            config,
            share,
        } = facts;
        let Self {
            port,
            family,
            frontends,
        } = self;
        let ranges = family.source_ranges(service);
        let ip_family = family.ip_family();
        let candidates = endpoints::candidates(weighed, port, ip_family, &config.node_name);
        if weighs_nothing(&candidates) {
            plan.problems.push(format!(
            "weights: every endpoint of port {:?} that serves weighs 0, so new connections are refused (give one a weight)",
            port.name
        ));
        }
        let place = topology::Place {
            node: &config.node_name,
            zone: *zone,
        };
        for policy in self.policies() {
            let chosen = topology::choose(&candidates, policy, place);
            let own = &config.machine.own;
            let spills = service.spill.is_some();
            let members = endpoints::members(&candidates, &chosen, policy, port.proto, spills, own);
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
            // A local policy is there to keep the client's address (as kube-proxy has it).
            let forwarding = service.forwarding.unwrap_or(config.forwarding);
            if forwarding == Forwarding::Snat && policy == TrafficPolicy::Cluster {
                pool_flags |= flags::MASQUERADE;
            }
            let passive_health = service.passive_health.unwrap_or(config.passive_health);
            if passive_health == PassiveHealth::On && port.proto == Proto::Tcp {
                pool_flags |= flags::WATCHED;
            }
            let mut pool = Pool {
                id: PoolId {
                    port: Arc::clone(&port.name),
                    proto: port.proto,
                    family: family.ip_family(),
                    policy,
                },
                scheduler: scheduler.number(),
                affinity_secs: service.affinity_secs.unwrap_or(0),
                max_connections: service.max_connections.map_or(0, NonZeroU32::get),
                max_age_secs: max_age::seconds(service, config, port.proto),
                spill: service.spill.map(Spill::percent),
                grace,
                flags: pool_flags,
                source_ranges: ranges.clone(),
                members,
                share: *share,
                slots: slots::Slots::default(),
                refused,
            };
            pool.set_slots();
            let index = plan.pools.len();
            plan.pools.push(pool);
            let ours = frontends.iter().filter(|f| f.policy == policy);
            plan.frontends.extend(ours.map(|f| Frontend {
                key: f.key,
                pool: Some(index),
                ping_pool: None,
                flags: f.flags,
            }));
        }
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

#[cfg(test)]
mod tests;

//! Why a Service's clients go where they go: its frontends, its policies, and for each endpoint the
//! rule that admits or excludes it. A pure function of the same facts as the plan, and of its rules.

mod report;

use std::{num::NonZeroU32, sync::Arc};

use lb_common::{Proto, frontend::scope, scheduler::Scheduler};
pub use report::{Explanation, Front, Judged, Pool};

use crate::{
    model::{ObjectKey, Policy, Service, ServiceType, Slice, Spill, slow_start::PARTS},
    names::record::{kinds, protocol, shown},
    plan::{
        self, FrontendKey, IpFamily, PlanConfig, TrafficPolicy,
        endpoints::{self, Candidate},
        topology::{self, Place, Rule},
    },
};

/// What is known of a Service.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The Service.
    pub service: &'a Service,
    /// Its slices, sorted by name.
    pub slices: &'a [Arc<Slice>],
    /// This node's zone.
    pub zone: Option<&'a str>,
    /// The planner's settings.
    pub config: &'a PlanConfig,
}

/// What became of the plan, where an agent runs.
pub trait Programmed {
    /// Do the maps lead this frontend to the Service?
    fn holds(&self, key: &FrontendKey) -> bool;
    /// The parts of its weight that a new endpoint has under slow start; `None` for all others.
    fn parts(&self, endpoint: &Candidate<'_>, proto: Proto) -> Option<u8>;
    /// What is not programmed as asked, beyond what the plan says.
    fn problems(&self) -> Vec<String>;
}

/// Explains a Service.
#[must_use]
pub fn explain(facts: Facts<'_>, programmed: Option<&dyn Programmed>) -> Explanation {
    let Facts {
        service,
        slices,
        zone,
        config,
    } = facts;
    let plan = plan::plan(service, slices, zone, config);
    let place = Place {
        node: &config.node_name,
        zone,
    };
    let weighed = endpoints::Weighed::new(service, slices);
    let pools: Vec<Pool> = plan
        .pools
        .iter()
        .map(|pool| {
            let port = service
                .ports
                .iter()
                .find(|port| port.name == pool.id.port && port.proto == pool.id.proto);
            let candidates = port.map_or_else(Vec::new, |port| {
                endpoints::candidates(&weighed, port, pool.id.family, &config.node_name)
            });
            let rules = topology::rules(&candidates, pool.id.policy, place);
            let judged = candidates.iter().zip(&rules);
            Pool {
                port: pool.id.port.to_string(),
                protocol: pool.id.proto.to_string(),
                family: match pool.id.family {
                    IpFamily::V4 => "IPv4",
                    IpFamily::V6 => "IPv6",
                }
                .to_owned(),
                policy: match pool.id.policy {
                    TrafficPolicy::Cluster => "Cluster",
                    TrafficPolicy::Local => "Local",
                }
                .to_owned(),
                scheduler: Scheduler::from_number(pool.scheduler)
                    .map_or("?", Scheduler::name)
                    .to_owned(),
                refused: pool.refused.as_ref().map(ToString::to_string),
                endpoints: judged
                    .map(|(c, rule)| {
                        let parts = programmed.and_then(|p| p.parts(c, pool.id.proto));
                        let spills = rule.is_by_hints() && pool.slots.spill.is_some();
                        judge(c, *rule, parts, spills, place, &service.key)
                    })
                    .collect(),
            }
        })
        .collect();
    let mut problems = plan.problems.clone();
    for text in programmed.map_or_else(Vec::new, Programmed::problems) {
        if !problems.contains(&text) {
            problems.push(text);
        }
    }
    Explanation {
        api_version: "lb-agent.io/v1".to_owned(),
        kind: "Explanation".to_owned(),
        namespace: service.key.namespace.to_string(),
        name: service.key.name.to_string(),
        r#type: match service.kind {
            ServiceType::ClusterIp => "ClusterIP",
            ServiceType::NodePort => "NodePort",
            ServiceType::LoadBalancer => "LoadBalancer",
        }
        .to_owned(),
        internal_traffic_policy: word(service.internal_policy),
        external_traffic_policy: word(service.external_policy),
        affinity_seconds: service.affinity_secs.unwrap_or(0),
        max_connections: service.max_connections.map_or(0, NonZeroU32::get),
        spill_percent: service.spill.map_or(0, Spill::percent),
        max_connection_age_seconds: plan.pools.iter().map(|p| p.max_age_secs).max().unwrap_or(0),
        source_ranges: service
            .source_ranges
            .iter()
            .map(ToString::to_string)
            .collect(),
        node: config.node_name.to_string(),
        zone: zone.map(str::to_owned),
        frontends: fronts(&plan, programmed),
        pools,
        problems,
    }
}

fn word(policy: Policy) -> String {
    match policy {
        Policy::Cluster => "Cluster",
        Policy::Local => "Local",
    }
    .to_owned()
}

/// The frontends by what a client names, with the pools of both scopes.
fn fronts(plan: &plan::ServicePlan, programmed: Option<&dyn Programmed>) -> Vec<Front> {
    let mut all: Vec<Front> = Vec::new();
    for front in &plan.frontends {
        let (Some(text), Some(pool)) = (shown(&front.key), front.pool) else {
            continue;
        };
        let (proto, from) = match front.key {
            FrontendKey::Address(key) => (key.proto, key.scope),
            FrontendKey::NodePort(key) => (key.proto, key.scope),
        };
        let proto = protocol(proto);
        let known = all
            .iter()
            .position(|f| f.frontend == text && f.protocol == proto);
        let at = known.unwrap_or_else(|| {
            all.push(Front {
                protocol: proto,
                frontend: text,
                port: plan.pools[pool].id.port.to_string(),
                kinds: kinds(front.flags).into_iter().map(str::to_owned).collect(),
                inside: None,
                outside: None,
                programmed: programmed.map(|_| true),
            });
            all.len() - 1
        });
        if let (Some(known), Some(programmed)) = (&mut all[at].programmed, programmed) {
            *known &= programmed.holds(&front.key);
        }
        if from == scope::EXTERNAL {
            all[at].outside = Some(pool);
        } else {
            all[at].inside = Some(pool);
        }
    }
    all
}

fn judge(
    c: &Candidate<'_>,
    rule: Rule,
    parts: Option<u8>,
    spills: bool,
    place: Place<'_>,
    service: &ObjectKey,
) -> Judged {
    let e = c.endpoint;
    let new = match parts {
        Some(parts) if rule.admits() => {
            format!("; new: slow start gives it {parts}/{PARTS} of its weight")
        }
        _ if spills => "; takes what spills".to_owned(),
        _ => String::new(),
    };
    let text = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
    Judged {
        address: std::net::SocketAddr::new(c.addr.into(), c.port).to_string(),
        pod: e
            .pod
            .as_ref()
            .map(|pod| format!("{}/{pod}", service.namespace)),
        node: text(&e.node),
        zone: text(&e.zone),
        eligible: rule.admits(),
        spill: spills,
        rule: sentence(c, rule, place) + &new,
    }
}

/// The rule in words.
fn sentence(c: &Candidate<'_>, rule: Rule, place: Place<'_>) -> String {
    let names = |all: &[Arc<str>]| {
        if all.is_empty() {
            "none".to_owned()
        } else {
            all.join(", ")
        }
    };
    let zone = place.zone.unwrap_or("none");
    match rule {
        Rule::Ready => "ready".to_owned(),
        Rule::SameNode => format!("ready, and its hints name this node, {}", place.node),
        Rule::SameZone => format!("ready, and its hints name this node's zone, {zone}"),
        Rule::Terminating => {
            "terminates and still serves: taken since no endpoint is ready".to_owned()
        }
        Rule::NotLocal => format!(
            "policy Local: it runs on {}, not on this node",
            c.endpoint.node.as_deref().unwrap_or("no known node")
        ),
        Rule::NotReady => "not ready".to_owned(),
        Rule::WeighsNothing => {
            "its weight is 0: keeps its connections, gets no new ones".to_owned()
        }
        Rule::Leaving => "terminates: keeps its connections, gets no new ones".to_owned(),
        Rule::OtherNode => format!(
            "topology: its hints name nodes {}, not {}",
            names(c.endpoint.hint_nodes()),
            place.node
        ),
        Rule::OtherZone => format!(
            "topology: its hints name zones {}, and this node is in {zone}",
            names(c.endpoint.hint_zones())
        ),
    }
}

#[cfg(test)]
mod tests;

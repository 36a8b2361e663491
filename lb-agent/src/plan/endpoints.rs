//! From slices to the endpoints of one service port in one family. Owns the resolution of duplicates.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use lb_common::{Addr, Proto};

use crate::model::{Endpoint, Policy, Service, ServicePort, ServiceType, Slice};

use super::{
    desired::{Bits, HealthCheck, Member, Reach},
    topology::Chosen,
};

/// An endpoint as one service port sees it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Where it listens.
    pub addr: Addr,
    /// Host byte order; of its own slice.
    pub port: u16,
    /// Runs on this node.
    pub local: bool,
    /// Its conditions and hints.
    pub endpoint: &'a Endpoint,
}

/// The endpoints of `port`, sorted by address and port. The same address may stand there twice, while an endpoint moves from
/// one slice to the other, or while a new pod has the address of one that ends: one that does not terminate hides one that
/// does (kube-proxy's rule; the rest it leaves to chance), then a ready one hides a serving one, a serving one the rest, a
/// local one a remote one.
#[must_use]
pub fn candidates<'a>(
    slices: &'a [Arc<Slice>],
    port: &ServicePort,
    v6: bool,
    node: &str,
) -> Vec<Candidate<'a>> {
    let mut all: Vec<Candidate<'a>> = Vec::new();
    for slice in slices {
        let ports = slice.ports.iter();
        for listens in ports.filter(|p| p.name == port.name && p.proto == port.proto) {
            let endpoints = slice.endpoints.iter().filter(|e| e.addr.is_ipv6() == v6);
            all.extend(endpoints.map(|endpoint| Candidate {
                addr: endpoint.addr.into(),
                port: listens.port.get(),
                local: is_local(endpoint, node),
                endpoint,
            }));
        }
    }
    all.sort_by_key(|c| {
        let e = c.endpoint;
        (
            c.addr,
            c.port,
            e.terminating,
            !e.ready,
            !e.serving,
            !c.local,
        )
    });
    all.dedup_by_key(|c| (c.addr, c.port));
    all
}

/// The members of a pool: what the topology chose, and what still serves. A flow of UDP stays with an endpoint that serves,
/// whatever the traffic policy says by now, so a local pool of UDP keeps remote ones.
#[must_use]
pub fn members(
    candidates: &[Candidate<'_>],
    chosen: &Chosen,
    reach: Reach,
    proto: Proto,
) -> Vec<Member> {
    let kept = candidates.iter().zip(&chosen.eligible);
    kept.filter_map(|(c, &eligible)| {
        let Endpoint {
            ready,
            serving,
            terminating,
            ..
        } = *c.endpoint;
        let within = reach == Reach::Cluster || c.local || proto == Proto::Udp;
        let serves = within && (ready || serving);
        (eligible || serves).then(|| Member {
            addr: c.addr,
            port: c.port,
            bits: Bits::default()
                .with(Bits::ELIGIBLE, eligible)
                .with(Bits::SERVING, eligible || serves)
                .with(Bits::TERMINATING, terminating && !ready)
                .with(Bits::LOCAL, c.local),
        })
    })
    .collect()
}

/// What the health check of a Service tells: only one of type LoadBalancer whose external policy is Local has one. Ready
/// endpoints of this node count, each address once, terminating ones never.
#[must_use]
pub fn health(service: &Service, slices: &[Arc<Slice>], node: &str) -> Option<HealthCheck> {
    let port = service.health_check_node_port?;
    if service.kind != ServiceType::LoadBalancer || service.external_policy != Policy::Local {
        return None;
    }
    let local_ready = |v6: bool| {
        service.cluster_ips.iter().find(|ip| ip.is_ipv6() == v6)?;
        let endpoints = slices.iter().flat_map(|s| &s.endpoints);
        let local = endpoints.filter(|e| e.ready && is_local(e, node) && e.addr.is_ipv6() == v6);
        let addresses: BTreeSet<IpAddr> = local.map(|e| e.addr).collect();
        Some(u32::try_from(addresses.len()).unwrap_or(u32::MAX))
    };
    Some(HealthCheck {
        port,
        local_endpoints: [local_ready(false), local_ready(true)],
    })
}

fn is_local(endpoint: &Endpoint, node: &str) -> bool {
    endpoint.node.as_deref() == Some(node)
}

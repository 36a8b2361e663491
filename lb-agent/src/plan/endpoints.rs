//! From slices to the endpoints of one service port in one family, each address once.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use lb_common::{Addr, Proto};

use super::{
    desired::{HealthCheck, IpFamily, Member, MemberFlags, TrafficPolicy},
    topology::Chosen,
};
use crate::model::{Endpoint, Policy, Service, ServicePort, ServiceType, Slice, weights};

/// An endpoint as one service port sees it.
#[derive(Clone, Copy)]
pub struct Candidate<'a> {
    /// Where it listens.
    pub addr: Addr,
    /// Host byte order; of its own slice.
    pub port: u16,
    /// Runs on this node.
    pub local: bool,
    /// Its share of new connections beside the others'; 0: none.
    pub weight: u16,
    /// Its conditions and hints.
    pub endpoint: &'a Endpoint,
}

/// A Service's slices, each endpoint with its weight: what the Service says of it comes before what
/// its slice says.
pub struct Weighed<'a>(Vec<(&'a Slice, Box<[u16]>)>);

impl<'a> Weighed<'a> {
    /// Weighs every endpoint, once for all ports.
    #[must_use]
    pub fn new(service: &Service, slices: &'a [Arc<Slice>]) -> Self {
        let weigh = |slice: &Slice, endpoint: &Endpoint| {
            let own = service.weights.of(endpoint.whereabouts());
            own.or(slice.weight).unwrap_or(weights::DEFAULT)
        };
        let weighed = slices.iter().map(|slice| {
            let endpoints = slice.endpoints.iter();
            let weights = endpoints.map(|endpoint| weigh(slice, endpoint)).collect();
            (&**slice, weights)
        });
        Self(weighed.collect())
    }

    /// All slices; of each its endpoints with their weights.
    fn slices(
        &self,
    ) -> impl Iterator<Item = (&'a Slice, impl Iterator<Item = (&'a Endpoint, u16)>)> {
        self.0.iter().map(|(slice, weights)| {
            let endpoints = slice.endpoints.iter().zip(weights.iter().copied());
            (*slice, endpoints)
        })
    }
}

/// The endpoints of `port`, sorted by address and port. Slices may list an address twice: while an
/// endpoint moves from one slice to another, or while a new pod has the address of one that
/// terminates. An endpoint that does not terminate wins over one that does (kube-proxy's rule,
/// which leaves the rest open); then ready wins over serving, serving over the rest, local over
/// remote.
#[must_use]
pub fn candidates<'a>(
    weighed: &Weighed<'a>,
    port: &ServicePort,
    family: IpFamily,
    node: &str,
) -> Vec<Candidate<'a>> {
    let mut all: Vec<Candidate<'a>> = Vec::new();
    for (slice, endpoints) in weighed.slices() {
        let ports = slice.ports.iter();
        let listens = ports.filter(|p| p.name == port.name && p.proto == port.proto);
        let listens: Vec<u16> = listens.map(|p| p.port.get()).collect();
        for (endpoint, weight) in endpoints.filter(|(e, _)| IpFamily::of(&e.addr) == family) {
            all.extend(listens.iter().map(|port| Candidate {
                addr: endpoint.addr.into(),
                port: *port,
                local: is_local(endpoint, node),
                weight,
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

/// The members of a pool: the endpoints that the topology chose, and those that still serve. A UDP
/// flow stays with an endpoint that serves, whatever the traffic policy says now, so a local UDP
/// pool keeps remote members. If the Service `spills`, those that its hints alone keep out are
/// eligible, too, outside of those that they prefer. `own` are this machine's addresses.
#[must_use]
pub fn members(
    candidates: &[Candidate<'_>],
    chosen: &Chosen,
    policy: TrafficPolicy,
    proto: Proto,
    spills: bool,
    own: &[IpAddr],
) -> Vec<Member> {
    let kept = candidates.iter().zip(&chosen.eligible).zip(&chosen.outside);
    kept.filter_map(|((c, &chosen), &by_hints)| {
        let outside = spills && by_hints;
        let eligible = chosen || outside;
        let Endpoint {
            ready,
            serving,
            terminating,
            ..
        } = *c.endpoint;
        let within = policy == TrafficPolicy::Cluster || c.local || proto == Proto::Udp;
        let serves = within && (ready || serving);
        (eligible || serves).then(|| Member {
            addr: c.addr,
            port: c.port,
            flags: MemberFlags::default()
                .with(MemberFlags::ELIGIBLE, eligible)
                .with(MemberFlags::OUTSIDE, outside)
                .with(MemberFlags::SERVING, eligible || serves)
                .with(MemberFlags::TERMINATING, terminating && !ready)
                .with(MemberFlags::LOCAL, c.local)
                .with(MemberFlags::OWN, own.contains(&c.endpoint.addr))
                .weighing(c.weight),
        })
    })
    .collect()
}

/// What the health check of a Service reports. Only a LoadBalancer Service with the external policy
/// Local has one. It counts ready endpoints of this node, each address once; terminating ones
/// never.
#[must_use]
pub fn health(service: &Service, weighed: &Weighed<'_>, node: &str) -> Option<HealthCheck> {
    let port = service.health_check_node_port?;
    if service.kind != ServiceType::LoadBalancer || service.external_policy != Policy::Local {
        return None;
    }
    let local_ready = |family: IpFamily| {
        let mut ips = service.cluster_ips.iter();
        ips.find(|ip| IpFamily::of(ip) == family)?;
        let endpoints = weighed.slices().flat_map(|(_, endpoints)| endpoints);
        let local = endpoints.filter(|(e, weight)| {
            e.ready && is_local(e, node) && IpFamily::of(&e.addr) == family && *weight > 0
        });
        let addresses: BTreeSet<IpAddr> = local.map(|(e, _)| e.addr).collect();
        Some(u32::try_from(addresses.len()).unwrap_or(u32::MAX))
    };
    Some(HealthCheck {
        port,
        local_endpoints: [local_ready(IpFamily::V4), local_ready(IpFamily::V6)],
    })
}

fn is_local(endpoint: &Endpoint, node: &str) -> bool {
    endpoint.node.as_deref() == Some(node)
}

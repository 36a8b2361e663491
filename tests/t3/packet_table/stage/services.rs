//! The Services of the plan as the model has them.

use std::num::NonZeroU32;

use lb_agent::model::{Cidr, Endpoint, Forwarding, ObjectKey, Policy, Service, ServiceType, Slice};
use lb_common::Proto;
use testbed::addr::{Both, lan};

use super::agent::NODE_NAME;
use crate::packet_table::plan::{
    BACKEND_PORT, Backend, FAR, FAR2, HERE, MISPLACED, NAMELESS, NARROW, NODE_ETH1, NOWHERE,
    PODNET, PODNET_HERE, QUIET, S_AFFINE, S_BOUNDED, S_EMPTY, S_FAR, S_HERE, S_INTERNAL_ONLY,
    S_LOCAL_ONLY, S_MASQUERADED, S_MISPLACED, S_NAMELESS, S_NARROW, S_NOWHERE, S_PAIR, S_PODNET,
    S_PODNET_HERE, S_PODNET_LOCAL, S_QUIET, S_RANGES, S_RING, S_SELF, S_SLOW, S_TURN, SLOW, Svc,
    TURN,
};

/// Some address of the network of external IPs.
pub(super) const EXTERNAL: Both = Svc(0).external().addr;

/// The protocols of each Service.
const PROTOCOLS: [(Proto, &str); 3] = [
    (Proto::Tcp, "tcp"),
    (Proto::Udp, "udp"),
    (Proto::Sctp, "sctp"),
];

/// Where a slice says that its endpoint runs.
enum On {
    ThisNode,
    AnotherNode,
    Unnamed,
}

/// All of them, with their slices.
pub(super) fn all() -> (Vec<Service>, Vec<Slice>) {
    let mut services = Vec::new();
    let mut slices = Vec::new();
    let mut add = |svc: Svc, endpoints: &[(Both, On)], change: fn(&mut Service)| {
        let mut service = plain(svc);
        change(&mut service);
        services.push(service);
        slices.extend([false, true].map(|v6| slice(svc, endpoints, v6)));
    };
    let plainly: fn(&mut Service) = |_| {};
    for (svc, Backend { addr, .. }, on) in [
        (S_FAR, FAR, On::AnotherNode),
        (S_HERE, HERE, On::ThisNode),
        (S_TURN, TURN, On::AnotherNode),
        (S_SLOW, SLOW, On::AnotherNode),
        (S_NARROW, NARROW, On::AnotherNode),
        (S_QUIET, QUIET, On::AnotherNode),
        (S_NAMELESS, NAMELESS, On::Unnamed),
        (S_NOWHERE, NOWHERE, On::AnotherNode),
        (S_PODNET, PODNET, On::AnotherNode),
        (S_MISPLACED, MISPLACED, On::ThisNode),
        (S_PODNET_HERE, PODNET_HERE, On::ThisNode),
    ] {
        add(svc, &[(addr, on)], plainly);
    }
    add(S_RING, &[(S_HERE.vip().addr, On::AnotherNode)], plainly);
    add(S_SELF, &[(NODE_ETH1, On::Unnamed)], plainly);
    add(S_EMPTY, &[], plainly);
    let far = || [(FAR.addr, On::AnotherNode)];
    add(S_LOCAL_ONLY, &far(), |s| s.external_policy = Policy::Local);
    add(S_PODNET_LOCAL, &[(PODNET.addr, On::AnotherNode)], |s| {
        s.external_policy = Policy::Local;
    });
    add(S_INTERNAL_ONLY, &far(), |s| {
        s.internal_policy = Policy::Local;
    });
    add(S_RANGES, &far(), |s| {
        let Both { v4, v6 } = lan(0);
        s.source_ranges = vec![Cidr::new(v4.into(), 24), Cidr::new(v6.into(), 64)];
    });
    let pair = || [(FAR.addr, On::AnotherNode), (FAR2.addr, On::AnotherNode)];
    add(S_PAIR, &pair(), plainly);
    add(S_MASQUERADED, &[(HERE.addr, On::ThisNode)], |s| {
        s.forwarding = Some(Forwarding::Snat);
    });
    add(S_BOUNDED, &far(), |s| {
        s.max_connections = NonZeroU32::new(1);
    });
    add(S_AFFINE, &pair(), |s| s.affinity_secs = Some(100));
    (services, slices)
}

fn key(svc: Svc) -> ObjectKey {
    ObjectKey::new("table", &format!("s{}", svc.0))
}

/// A load balancer of all three protocols, with addresses of both families.
fn plain(svc: Svc) -> Service {
    let service = Service {
        kind: ServiceType::LoadBalancer,
        cluster_ips: svc.vip().addr.ips().to_vec(),
        external_ips: svc.external().addr.ips().to_vec(),
        ingress_ips: svc.lb().addr.ips().to_vec(),
        ..Service::named(key(svc))
    };
    PROTOCOLS
        .into_iter()
        .fold(service, |service, (proto, name)| {
            let service = service.port(name, proto, 80);
            service.node_port(svc.node_port().port)
        })
}

fn slice(svc: Svc, endpoints: &[(Both, On)], v6: bool) -> Slice {
    let endpoints = endpoints.iter().map(|(addr, on)| {
        let endpoint = Endpoint::ready(addr.ips()[usize::from(v6)]);
        match on {
            On::ThisNode => endpoint.on(NODE_NAME),
            On::AnotherNode => endpoint.on("n2"),
            On::Unnamed => endpoint,
        }
    });
    let service = key(svc);
    let key = ObjectKey::new("table", &format!("s{}-{}", svc.0, u8::from(v6)));
    PROTOCOLS
        .into_iter()
        .fold(Slice::new(key, &service.name), |slice, (proto, name)| {
            slice.port(name, proto, BACKEND_PORT)
        })
        .endpoints(endpoints)
}

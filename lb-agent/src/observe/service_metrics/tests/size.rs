//! What is kept of ten thousand Services.

use std::sync::Arc;

use super::{
    super::{ports::ports, sums::Services},
    *,
};
use crate::plan::{IpFamily, PoolId, TrafficPolicy};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 25;
const MOST: usize = 15 << 20;

/// What an allocator takes beside what it is asked for: a header, and up to the next multiple of 16.
const EACH: usize = 16;

/// Bytes on the heap; names of Services and ports are the model's.
fn heap(services: &Services) -> usize {
    let of_port = |port: &Port| {
        let pools = port.pools.capacity() * size_of::<Pool>();
        pools + size_of_val(&*port.backends) + 2 * EACH
    };
    let of_service = |ports: &Vec<Port>| {
        let own = ports.capacity() * size_of::<Port>() + EACH;
        own + ports.iter().map(of_port).sum::<usize>()
    };
    // A node of a B-tree is half full at least.
    let tree = 2 * services.ports.len() * size_of::<(ObjectKey, Vec<Port>)>();
    tree + services.ports.values().map(of_service).sum::<usize>()
}

/// Each with one port, which has so many pools: one a family and a policy.
fn services(pools: &[(IpFamily, TrafficPolicy)]) -> Services {
    let mut services = Services::default();
    let name = "http".into();
    for n in 0..SERVICES {
        let pool = |(at, (family, policy)): (u32, &(IpFamily, TrafficPolicy))| {
            let id = PoolId {
                port: Arc::clone(&name),
                proto: Proto::Tcp,
                family: *family,
                policy: *policy,
            };
            (id, 4 * n + at)
        };
        let pools: Vec<_> = (0..).zip(pools).map(pool).collect();
        let mut now = ports(&pools);
        let ids = n * ENDPOINTS..(n + 1) * ENDPOINTS;
        let backends = ids.map(|id| backend(id, BackendState::Ready, Zone::NONE));
        now[0].backends = backends.collect();
        services.replace(&ObjectKey::new("shop", &format!("s{n}")), now);
    }
    services
}

#[test]
fn ten_thousand_services_fit_into_fifteen_megabytes() {
    let families = [IpFamily::V4, IpFamily::V6].map(|family| (family, TrafficPolicy::Cluster));
    let policies = families.map(|(family, _)| (family, TrafficPolicy::Local));
    let all = [families, policies].concat();
    for pools in [1, 2, 4] {
        let bytes = heap(&services(&all[..pools]));
        assert!(bytes < MOST, "{bytes} with {pools} pools a port");
    }
}

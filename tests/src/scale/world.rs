//! A cluster of thousands of Services: what it is made of, how it changes, and what the maps of a
//! node must hold for it, computed without the agent's code.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

/// As in an IP header.
pub const TCP: u8 = 6;
/// As in an IP header.
pub const UDP: u8 = 17;
/// Endpoints of a slice, as the controller makes them.
pub const SLICE: usize = 100;
/// Endpoints of a large Service.
pub const LARGE: usize = 5000;
/// Where endpoints of Service 0 live: a test may have one pod answer for all of them.
pub const ROLLED: Ipv4Addr = Ipv4Addr::new(10, 192, 0, 0);
/// Where those of all others live.
const OTHERS: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 0);

/// Every tenth small Service has a port more, every hundredth a node port.
#[derive(Debug, Clone)]
pub struct Service {
    /// From 0; its name is `s-<number>`, and its VIP follows from it.
    pub number: u32,
    /// One or two.
    pub ports: &'static [Port],
    /// Of the first port.
    pub node_port: Option<u16>,
    /// Up to [`SLICE`] endpoints each.
    pub slices: Vec<Vec<Endpoint>>,
}

/// A port of a Service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Port {
    /// Of the Service's port and the slices'.
    pub name: &'static str,
    /// [`TCP`] or [`UDP`].
    pub proto: u8,
    /// Of the VIP.
    pub number: u16,
    /// Of the endpoints.
    pub target: u16,
}

const HTTP: Port = Port {
    name: "http",
    proto: TCP,
    number: 80,
    target: 8080,
};
const DNS: Port = Port {
    name: "dns",
    proto: UDP,
    number: 53,
    target: 5353,
};

/// One address of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Different for every endpoint of the cluster.
    pub addr: Ipv4Addr,
    /// Serves while it terminates; else ready.
    pub draining: bool,
}

/// What a node's maps hold, free of indices and ids.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// By address (`None`: node port), port, protocol and scope.
    pub fronts: BTreeMap<(Option<Ipv4Addr>, u16, u8, u8), Pool>,
    /// Marks of VIPs, by address and scope.
    pub marks: BTreeSet<(Ipv4Addr, u8)>,
    /// By address, port and protocol; whether it is shown as terminating.
    pub backends: BTreeMap<(Ipv4Addr, u16, u8), bool>,
}

/// What a frontend leads to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Sorted.
    pub slots: Vec<(Ipv4Addr, u16)>,
    /// Members that are in no slot, sorted.
    pub keeps: Vec<(Ipv4Addr, u16)>,
}

/// `services` Services: `large` of them with [`LARGE`] endpoints, the others with two to four.
pub fn world(services: u32, large: u32) -> Vec<Service> {
    let mut next = u32::from(OTHERS);
    let mut rolled = u32::from(ROLLED);
    let mut all = Vec::new();
    for number in 0..services {
        let count = if number < large {
            LARGE
        } else {
            2 + number as usize % 3
        };
        let from = if number == 0 { &mut rolled } else { &mut next };
        let endpoints = fresh(from, count);
        let small = number >= large;
        all.push(Service {
            number,
            ports: if small && number.is_multiple_of(10) {
                &[HTTP, DNS]
            } else {
                &[HTTP]
            },
            node_port: u16::try_from(number / 100)
                .ok()
                .filter(|_| small && number.is_multiple_of(100))
                .map(|n| 30_000 + n),
            slices: endpoints.chunks(SLICE).map(<[_]>::to_vec).collect(),
        });
    }
    all
}

/// Ready endpoints from `next` on.
pub fn fresh(next: &mut u32, count: usize) -> Vec<Endpoint> {
    let take = |_| {
        *next += 1;
        Endpoint {
            addr: Ipv4Addr::from(*next),
            draining: false,
        }
    };
    (0..count).map(take).collect()
}

impl Service {
    /// As in its manifest.
    #[must_use]
    pub fn name(&self) -> String {
        format!("s-{}", self.number)
    }

    /// Its cluster IP.
    #[must_use]
    pub fn vip(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + self.number)
    }

    /// Of the slice with this index.
    #[must_use]
    pub fn slice_name(&self, n: usize) -> String {
        format!("s-{}-{n:03}", self.number)
    }

    /// Those of all slices.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.slices.iter().flatten()
    }

    fn pool(&self, port: &Port) -> Pool {
        let ready: Vec<&Endpoint> = self.endpoints().filter(|e| !e.draining).collect();
        let sockets = |all: &[&Endpoint]| {
            let mut sockets: Vec<_> = all.iter().map(|e| (e.addr, port.target)).collect();
            sockets.sort_unstable();
            sockets
        };
        let draining: Vec<&Endpoint> = self.endpoints().filter(|e| e.draining).collect();
        if ready.is_empty() {
            return Pool {
                slots: sockets(&draining),
                keeps: Vec::new(),
            };
        }
        Pool {
            slots: sockets(&ready),
            keeps: sockets(&draining),
        }
    }
}

/// What the maps of any node must hold: no policy, hint or affinity tells one node from another
/// here.
#[must_use]
pub fn expected(services: &[Service]) -> Content {
    let mut content = Content::default();
    for service in services {
        for scope in [0, 1] {
            content.marks.insert((service.vip(), scope));
        }
        for (n, port) in service.ports.iter().enumerate() {
            let pool = service.pool(port);
            for scope in [0, 1] {
                let key = (Some(service.vip()), port.number, port.proto, scope);
                content.fronts.insert(key, pool.clone());
                if let (Some(number), 0) = (service.node_port, n) {
                    let key = (None, number, port.proto, scope);
                    content.fronts.insert(key, pool.clone());
                }
            }
            for e in service.endpoints() {
                let key = (e.addr, port.target, port.proto);
                content.backends.insert(key, e.draining);
            }
        }
    }
    content
}

impl Content {
    /// Pools; node ports share that of their Service.
    #[must_use]
    pub fn pools(&self) -> usize {
        let inside = self
            .fronts
            .keys()
            .filter(|key| key.0.is_some() && key.3 == 0);
        inside.count()
    }

    /// The sum over all pools.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.of_pools(|pool| pool.slots.len())
    }

    /// The sum over all pools.
    #[must_use]
    pub fn members(&self) -> usize {
        self.of_pools(|pool| pool.slots.len() + pool.keeps.len())
    }

    fn of_pools(&self, size: impl Fn(&Pool) -> usize) -> usize {
        let inside = self
            .fronts
            .iter()
            .filter(|(key, _)| key.0.is_some() && key.3 == 0);
        inside.map(|(_, pool)| size(pool)).sum()
    }

    /// The first difference, in few words; `None` if there is none.
    #[must_use]
    pub fn differs(&self, found: &Self) -> Option<String> {
        if self == found {
            return None;
        }
        let pools = first(&self.fronts, &found.fronts);
        let backends = first(&self.backends, &found.backends);
        let marks: Vec<_> = self
            .marks
            .symmetric_difference(&found.marks)
            .take(3)
            .collect();
        Some(format!(
            "pools: {pools:?}\nbackends: {backends:?}\nmarks: {marks:?}"
        ))
    }
}

type Difference<K, V> = (K, Option<V>, Option<V>);

/// What differs first: what was expected, and what was found.
fn first<K: Ord + Clone, V: PartialEq + Clone>(
    wanted: &BTreeMap<K, V>,
    found: &BTreeMap<K, V>,
) -> Option<Difference<K, V>> {
    let keys = wanted.keys().chain(found.keys());
    let key = keys.into_iter().find(|k| wanted.get(*k) != found.get(*k))?;
    Some((
        key.clone(),
        wanted.get(key).cloned(),
        found.get(key).cloned(),
    ))
}

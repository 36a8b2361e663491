//! Reads frontends and their backends from the pinned maps, sorted for display.

mod face;
mod member;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
};

use face::{Face, FaceKind};
use lb_common::{
    Addr, Proto,
    backend::Backend,
    frontend::{self, FrontendValue, scope},
    load::FlowCounts,
    member as value,
    pool::{Pool, flags},
    stats::PoolStats,
};
use serde::Serialize;

pub use member::Member;
use member::{Open, member};

use super::ServicePort;
use crate::{
    maps::{Maps, table::MapError, tcp::TcpCounts},
    model::{Eligibility, Scheduler},
    names::record::{kinds, protocol},
};

/// What clients connect to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// An address; `*` for the node's own of IPv4, `[*]` for those of IPv6.
    pub address: String,
    /// Host byte order.
    pub port: u16,
    /// Of a Service whose name is known.
    pub service: Option<ServicePort>,
    /// Which frontends of a Service it is: more than one where an address has several roles.
    pub kinds: Vec<&'static str>,
    /// From where it is reached: both, unless the traffic policies differ.
    pub scopes: Vec<Scope>,
    /// How a backend is chosen.
    pub scheduler: &'static str,
    /// Seconds of session affinity; 0 is off.
    pub affinity_seconds: u32,
    /// Open connections that each backend may have; 0: any number.
    pub max_connections: u32,
    /// How old TCP connections may become, in seconds; 0: any age.
    pub max_connection_age_seconds: u32,
    /// What becomes of new connections when `backends` has none to take them.
    pub without_backends: Option<&'static str>,
    /// Only sources of the Service's ranges are admitted.
    pub source_ranges: bool,
    /// Every backend sees a node rather than the client.
    pub snat: bool,
    /// Sorted by address.
    pub backends: Vec<Member>,
    #[serde(skip)]
    order: (Addr, u8, FaceKind),
}

impl Frontend {
    /// The pools that it leads to, each once: both scopes are mostly one pool.
    #[must_use]
    pub fn pools(&self) -> Vec<&Scope> {
        let mut pools: Vec<&Scope> = self.scopes.iter().collect();
        pools.dedup_by_key(|s| s.pool);
        pools
    }

    /// What was counted for it: for its pools, to which other frontends of its Service may lead.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for scope in self.pools() {
            sum += scope.stats;
        }
        sum
    }
}

/// One scope of a frontend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// `inside` the cluster or `outside` of it.
    pub name: &'static str,
    /// Index of the pool that it leads to.
    pub pool: u32,
    /// What was counted.
    pub stats: Stats,
    /// What sockets of this node have met, of TCP alone, and where the programs count it.
    #[serde(skip)]
    pub tcp: Option<TcpCounts>,
}

/// What was counted for a service.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// Connections given a backend.
    pub connections: u64,
    /// Packets of the packet path.
    pub packets: u64,
    /// Bytes of the packet path.
    pub bytes: u64,
    /// Refused or dropped.
    pub rejects: u64,
}

/// What is asked of the maps beside the tables that the sync engine writes.
pub(super) trait Counts {
    /// Connections of sockets that are open now to a backend.
    fn sockets(&self, backend: u32) -> Result<u64, MapError>;
    /// Flows of the packet path to it.
    fn flows(&self, backend: u32) -> Result<FlowCounts, MapError>;
    /// What was counted for a service.
    fn service(&self, index: u32) -> Result<PoolStats, MapError>;
    /// What TCP sockets have met behind it; `None` where nobody counts that.
    fn tcp(&self, index: u32) -> Result<Option<TcpCounts>, MapError>;
}

/// Reads all frontends. What several of them lead to is read once, so that it is the same in each.
pub(super) fn read(maps: &mut Maps, counts: &dyn Counts) -> Result<Vec<Frontend>, MapError> {
    let mut members: BTreeMap<u32, Vec<(u32, u32)>> = BTreeMap::new();
    for (key, flags) in maps.members.entries()? {
        members
            .entry(key.pool)
            .or_default()
            .push((key.backend, flags));
    }
    let services = maps
        .frontends
        .entries()?
        .into_iter()
        .filter(|(_, r)| r.flags & frontend::VIP_MARK == 0);
    let mut faces: Vec<(Face, FrontendValue)> = services.map(|(k, r)| (Face::vip(k), r)).collect();
    faces.extend(
        maps.nodeports
            .entries()?
            .into_iter()
            .map(|(k, r)| (Face::node_port(k), r)),
    );
    let mut pools: HashMap<u32, Led> = HashMap::new();
    let mut open: HashMap<u32, Open> = HashMap::new();
    let mut rows = Vec::with_capacity(faces.len());
    for (face, to) in faces {
        let led = match pools.entry(to.pool) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let members = members.get(&to.pool).map_or(&[][..], Vec::as_slice);
                new.insert(led(to.pool, members, maps, counts, &mut open)?)
            }
        };
        rows.push(one(&face, to, led));
    }
    Ok(merged(rows))
}

/// What a frontend leads to.
struct Led {
    pool: Pool,
    backends: Vec<Member>,
    stats: PoolStats,
    tcp: Option<TcpCounts>,
}

fn led(
    index: u32,
    members: &[(u32, u32)],
    maps: &mut Maps,
    counts: &dyn Counts,
    known: &mut HashMap<u32, Open>,
) -> Result<Led, MapError> {
    let pool: Pool = maps.pools.load(index)?;
    let mut eligible = BTreeSet::new();
    for n in 0..u32::from(pool.count) {
        let slot = maps.slots.load(pool.base + n)?;
        if slot.pool == index {
            eligible.insert(slot.backend);
        }
    }
    let weights: BTreeMap<u32, u16> = members
        .iter()
        .map(|(id, value)| (*id, value::weight(*value)))
        .collect();
    let outside = value::OUTSIDE | value::ELIGIBLE;
    let others = members
        .iter()
        .filter(|(id, f)| f & (value::SERVING | value::KEPT) != 0 && !eligible.contains(id))
        .map(|(id, f)| {
            let takes = f & outside == outside;
            let eligibility = if takes {
                Eligibility::Outside
            } else {
                Eligibility::Draining
            };
            (*id, eligibility)
        });
    let mut backends = Vec::new();
    for (id, eligibility) in eligible
        .iter()
        .map(|id| (*id, Eligibility::Eligible))
        .chain(others)
    {
        let b: Backend = maps.backends.load(id)?;
        if b.port != 0 {
            let weight = weights.get(&id).copied().unwrap_or(value::WEIGHT);
            let open = match known.entry(id) {
                Entry::Occupied(known) => *known.get(),
                Entry::Vacant(new) => *new.insert(Open {
                    sockets: counts.sockets(id)?,
                    flows: counts.flows(id)?,
                }),
            };
            backends.push(member(id, b, eligibility, weight, open));
        }
    }
    backends.sort_by_key(|b| (b.order, b.port));
    Ok(Led {
        pool,
        backends,
        stats: counts.service(index)?,
        tcp: counts.tcp(index)?,
    })
}

fn one(face: &Face, to: FrontendValue, led: &Led) -> Frontend {
    let Led {
        pool,
        backends,
        stats,
        tcp,
    } = led;
    let PoolStats {
        connections,
        packets,
        bytes,
        rejects,
    } = *stats;
    let is_tcp = Proto::from_number(face.proto) == Some(Proto::Tcp);
    Frontend {
        protocol: protocol(face.proto),
        address: face.address(),
        port: face.port,
        service: None,
        kinds: kinds(to.flags),
        scopes: vec![Scope {
            name: if face.scope == scope::EXTERNAL {
                "outside"
            } else {
                "inside"
            },
            pool: to.pool,
            stats: Stats {
                connections,
                packets,
                bytes,
                rejects,
            },
            tcp: tcp.filter(|_| is_tcp),
        }],
        scheduler: scheduler(pool.scheduler),
        affinity_seconds: pool.affinity_secs,
        max_connections: pool.max_connections,
        max_connection_age_seconds: pool.max_age_secs,
        without_backends: match pool.count {
            0 if pool.flags & flags::NO_LOCAL != 0 => Some("no-local-endpoint"),
            0 => Some("no-endpoint"),
            _ => None,
        },
        source_ranges: pool.flags & flags::SOURCE_RANGES != 0
            && to.flags & frontend::LOAD_BALANCER != 0,
        snat: pool.flags & flags::MASQUERADE != 0,
        backends: backends.clone(),
        order: (face.addr, face.proto, face.kind),
    }
}

/// Sorted by kind, address, port; two scopes of one frontend are one row if they are equal.
fn merged(mut rows: Vec<Frontend>) -> Vec<Frontend> {
    rows.sort_by_key(key);
    let mut out: Vec<Frontend> = Vec::with_capacity(rows.len());
    for row in rows {
        match out.last_mut() {
            Some(last) if same(last, &row) => last.scopes.extend(row.scopes),
            _ => out.push(row),
        }
    }
    out
}

fn key(f: &Frontend) -> impl Ord + use<> {
    let (addr, proto, kind) = f.order;
    // IPv4 in front of IPv6, as people list them.
    let v6 = if addr.is_v4() {
        Ordering::Less
    } else {
        Ordering::Greater
    };
    (
        kind,
        v6,
        addr,
        f.port,
        proto,
        f.scopes.first().map(|s| s.name),
    )
}

fn same(a: &Frontend, b: &Frontend) -> bool {
    let comparable = |f: &Frontend| Frontend {
        scopes: Vec::new(),
        ..f.clone()
    };
    comparable(a) == comparable(b)
}

fn scheduler(number: u8) -> &'static str {
    Scheduler::from_number(number).map_or("?", Scheduler::name)
}

#[cfg(test)]
pub(crate) mod tests;

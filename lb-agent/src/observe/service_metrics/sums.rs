//! What Service ports have counted, summed over their pools: a sum goes on when pools come and go.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use lb_common::{Proto, stats::PoolStats};

use super::backends::{self, Backends};
use crate::{
    maps::{table::MapError, tcp::TcpCounts},
    model::ObjectKey,
    sync::Engine,
};

/// What a pool has counted, or several together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Counts {
    pub(super) stats: PoolStats,
    pub(super) tcp: TcpCounts,
}

/// The Service ports, and what they have counted.
#[derive(Debug, Default)]
pub(super) struct Services {
    /// How many syncs have ended.
    pub(super) generation: u64,
    pub(super) ports: BTreeMap<ObjectKey, Vec<Port>>,
}

/// What a Service port has counted.
pub(super) struct Sum {
    pub(super) service: ObjectKey,
    pub(super) port: Arc<str>,
    pub(super) protocol: Proto,
    pub(super) total: Counts,
    /// Connections that are open now to its backends.
    pub(super) active: u64,
}

/// A Service port.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) name: Arc<str>,
    pub(super) protocol: Proto,
    pub(super) pools: Vec<Pool>,
    /// Of all its pools, each once.
    pub(super) backends: Backends,
    /// What was counted until the last scrape.
    pub(super) total: Counts,
}

/// A pool of a Service port.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pool {
    pub(super) index: u32,
    /// What it had counted at the last scrape.
    pub(super) counted: Counts,
    /// The generation in which the port got it: what was read earlier is of another owner.
    pub(super) since: u64,
}

/// What pools have counted, by index.
pub(super) type Counted = HashMap<u32, Counts>;

impl Services {
    /// The ports of a Service now; none: it is gone.
    pub(super) fn replace(&mut self, key: &ObjectKey, mut now: Vec<Port>) {
        let known = self.ports.remove(key).unwrap_or_default();
        if now.is_empty() {
            return;
        }
        for pool in now.iter_mut().flat_map(|port| &mut port.pools) {
            pool.since = self.generation;
        }
        self.ports.insert(key.clone(), carried(known, now));
    }

    /// Pools that came with the last sync begin at what they have counted, those of the first `most`
    /// ports at least.
    pub(super) fn begin(
        &mut self,
        most: usize,
        read: impl FnOnce(&[u32]) -> Result<Counted, MapError>,
    ) -> Result<(), MapError> {
        let (generation, pools) = self.pools(most);
        let counted = read(&pools)?;
        let ports = self.ports.values_mut().flatten();
        let pools = ports.flat_map(|port| &mut port.pools);
        for pool in pools.filter(|pool| pool.since == generation) {
            if let Some(before) = counted.get(&pool.index) {
                pool.counted = *before;
            }
        }
        Ok(())
    }

    /// The generation, and the pools of the first `most` ports.
    pub(super) fn pools(&self, most: usize) -> (u64, Vec<u32>) {
        let ports = self.ports.values().flatten().take(most);
        let pools = ports.flat_map(|port| port.pools.iter().map(|pool| pool.index));
        (self.generation, pools.collect())
    }

    /// Adds what was read of the pools of a generation; `open` knows the open connections of a
    /// backend. The sums, and how many ports were left out.
    pub(super) fn add(
        &mut self,
        most: usize,
        generation: u64,
        counted: &Counted,
        open: impl Fn(u32) -> u64,
    ) -> (Vec<Sum>, usize) {
        let (mut sums, mut number) = (Vec::new(), 0_usize);
        for (service, ports) in &mut self.ports {
            for port in ports {
                number += 1;
                if number > most {
                    continue;
                }
                for pool in port.pools.iter_mut().filter(|p| p.since <= generation) {
                    if let Some(now) = counted.get(&pool.index) {
                        port.total = added(port.total, pool.counted, *now);
                        pool.counted = *now;
                    }
                }
                sums.push(Sum {
                    service: service.clone(),
                    port: Arc::clone(&port.name),
                    protocol: port.protocol,
                    total: port.total,
                    active: port.backends.keys().map(|backend| open(*backend)).sum(),
                });
            }
        }
        (sums, number.saturating_sub(most))
    }
}

/// The ports of a Service with their pools, of both families and policies.
pub(super) fn ports(engine: &Engine, key: &ObjectKey) -> Vec<Port> {
    let mut all: Vec<Port> = Vec::new();
    let zones = backends::zones(engine, key);
    for (id, index) in engine.pools(key) {
        let (name, protocol) = (Arc::clone(&id.port), id.proto);
        let pool = Pool {
            index: *index,
            counted: Counts::default(),
            since: 0,
        };
        let known = all
            .iter()
            .position(|p| p.name == name && p.protocol == protocol);
        let at = known.unwrap_or_else(|| {
            all.push(Port {
                name,
                protocol,
                pools: Vec::new(),
                backends: Backends::new(),
                total: Counts::default(),
            });
            all.len() - 1
        });
        all[at].pools.push(pool);
        backends::add(&mut all[at].backends, engine, *index, &zones);
    }
    all
}

/// What was counted before goes on.
pub(super) fn carried(mut known: Vec<Port>, mut now: Vec<Port>) -> Vec<Port> {
    for port in &mut now {
        let is_it = |p: &Port| p.name == port.name && p.protocol == port.protocol;
        let Some(at) = known.iter().position(is_it) else {
            continue;
        };
        let before = known.swap_remove(at);
        port.total = before.total;
        for pool in &mut port.pools {
            if let Some(same) = before.pools.iter().find(|p| p.index == pool.index) {
                *pool = *same;
            }
        }
    }
    now
}

/// The total, and what a pool has counted since; one that counts less has begun anew.
pub(super) fn added(total: Counts, before: Counts, now: Counts) -> Counts {
    let more = |of: fn(&PoolStats) -> u64| {
        let [total, before, now] = [total, before, now].map(|counts| of(&counts.stats));
        total.wrapping_add(now.checked_sub(before).unwrap_or(now))
    };
    Counts {
        stats: PoolStats {
            connections: more(|s| s.connections),
            packets: more(|s| s.packets),
            bytes: more(|s| s.bytes),
            rejects: more(|s| s.rejects),
        },
        tcp: total.tcp.plus(now.tcp.since(before.tcp)),
    }
}

//! What Service ports have counted, summed over their pools: a sum goes on when pools come and go.

use std::{collections::BTreeMap, sync::Arc};

use lb_common::{Proto, stats::PoolStats};

use super::{
    backends::{Backend, Collected},
    ports::{Port, are_of, carried, ports},
    zones::Zones,
};
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
    pub(super) zones: Zones,
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

/// What pools have counted, sorted by index.
pub(super) type Counted = Vec<(u32, Counts)>;

fn of_pool(counted: &[(u32, Counts)], index: u32) -> Option<Counts> {
    let at = counted.binary_search_by_key(&index, |(index, _)| *index);
    at.ok().map(|at| counted[at].1)
}

impl Services {
    /// A Service may have changed. What it has as before stays where it is: a Service is planned far
    /// more often than its pools or backends change.
    pub(super) fn update(&mut self, key: &ObjectKey, engine: &Engine, found: &mut Collected) {
        let pools = engine.pools(key);
        if !are_of(self.ports.get(key).map_or(&[], Vec::as_slice), pools) {
            self.replace(key, ports(pools));
        }
        let Some(ports) = self.ports.get_mut(key) else {
            return;
        };
        found.begin(engine, key, &mut self.zones);
        for port in ports {
            let now = found.port(engine, &port.pools);
            if *port.backends != *now {
                port.backends = now.into();
            }
        }
    }

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

    /// The backends of all ports, those of several ports several times, and the names of zones.
    pub(super) fn backends(&self) -> (Vec<Backend>, Vec<Arc<str>>) {
        let ports = || self.ports.values().flatten();
        let mut all = Vec::with_capacity(ports().map(|port| port.backends.len()).sum());
        ports().for_each(|port| all.extend_from_slice(&port.backends));
        (all, self.zones.names().to_vec())
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
            if let Some(before) = of_pool(&counted, pool.index) {
                pool.counted = before;
            }
        }
        Ok(())
    }

    /// The generation, and the pools of the first `most` ports, sorted.
    pub(super) fn pools(&self, most: usize) -> (u64, Vec<u32>) {
        let ports = self.ports.values().flatten().take(most);
        let pools = ports.flat_map(|port| port.pools.iter().map(|pool| pool.index));
        let mut pools: Vec<u32> = pools.collect();
        pools.sort_unstable();
        (self.generation, pools)
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
        let number: usize = self.ports.values().map(Vec::len).sum();
        let mut sums = Vec::with_capacity(most.min(number));
        let ports = self.ports.iter_mut();
        let ports = ports.flat_map(|(service, ports)| ports.iter_mut().map(move |p| (service, p)));
        for (service, port) in ports.take(most) {
            for pool in port.pools.iter_mut().filter(|p| p.since <= generation) {
                if let Some(now) = of_pool(counted, pool.index) {
                    port.total = added(port.total, pool.counted, now);
                    pool.counted = now;
                }
            }
            sums.push(Sum {
                service: service.clone(),
                port: Arc::clone(&port.name),
                protocol: port.protocol,
                total: port.total,
                active: port.backends.iter().map(|backend| open(backend.id)).sum(),
            });
        }
        (sums, number.saturating_sub(most))
    }
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

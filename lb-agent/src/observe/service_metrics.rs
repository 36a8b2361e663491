//! Metrics of each Service port, summed over its pools from what the programs count by pool. A sum
//! never falls: what a pool has counted stays counted when the pool goes.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use lb_common::{Proto, stats::PoolStats};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use tracing::debug;

use crate::{
    maps::{dir::BpfDir, stats::Stats, table::MapError},
    model::ObjectKey,
    settings::values::ServiceMetrics,
    sync::{Engine, Report},
};

/// Reads the pins of one bpf-dir at each scrape.
#[derive(Debug)]
pub struct ServiceCounters {
    dir: BpfDir,
    /// Of how many Service ports.
    most: usize,
    services: Mutex<BTreeMap<ObjectKey, Vec<Port>>>,
}

/// What a Service port has counted.
struct Sum {
    service: ObjectKey,
    port: Arc<str>,
    protocol: Proto,
    total: PoolStats,
}

/// A Service port.
#[derive(Debug)]
struct Port {
    name: Arc<str>,
    protocol: Proto,
    /// Each with what it had counted at the last scrape.
    pools: Vec<(u32, PoolStats)>,
    /// What was counted until the last scrape.
    total: PoolStats,
}

/// A family of counters: its name, its meaning, and the part of the counts that it shows.
type Family = (&'static str, &'static str, fn(&PoolStats) -> u64);

const FAMILIES: [Family; 4] = [
    (
        "service_connections",
        "Connections given a backend, by Service port",
        |s| s.connections,
    ),
    (
        "service_packets",
        "Packets of the packet path, by Service port; what sockets send on is not seen",
        |s| s.packets,
    ),
    (
        "service_bytes",
        "Bytes of the packet path, by Service port; what sockets send on is not seen",
        |s| s.bytes,
    ),
    (
        "service_rejects",
        "Connections and packets refused or dropped, by Service port",
        |s| s.rejects,
    ),
];

impl ServiceCounters {
    /// Opens nothing yet: the pins may come later. `None` with metrics of Services off.
    #[must_use]
    pub fn new(dir: BpfDir, wanted: ServiceMetrics) -> Option<Self> {
        match wanted {
            ServiceMetrics::Off => None,
            ServiceMetrics::Most(most) => Some(Self {
                dir,
                most,
                services: Mutex::default(),
            }),
        }
    }

    /// A sync has ended: Services may have other pools.
    pub fn synced(&self, report: &Report, engine: &Engine) {
        let mut services = self.services.lock().unwrap_or_else(PoisonError::into_inner);
        for key in &report.services {
            let now = ports(engine, key);
            if now.is_empty() {
                services.remove(key);
                continue;
            }
            let known = services.remove(key).unwrap_or_default();
            services.insert(key.clone(), carried(known, now));
        }
    }

    /// The sums now, and how many ports were left out. The event loop waits for the lock, so it is
    /// not held while the maps are read.
    fn sums(&self) -> Result<(Vec<Sum>, usize), MapError> {
        let lock = || self.services.lock().unwrap_or_else(PoisonError::into_inner);
        let pools: Vec<u32> = {
            let services = lock();
            let ports = services.values().flatten().take(self.most);
            ports
                .flat_map(|p| p.pools.iter().map(|(pool, _)| *pool))
                .collect()
        };
        let stats = Stats::open(&self.dir)?;
        let mut counted = HashMap::with_capacity(pools.len());
        for pool in pools {
            counted.insert(pool, stats.service(pool)?);
        }
        let mut services = lock();
        let (mut sums, mut number) = (Vec::new(), 0);
        for (service, ports) in services.iter_mut() {
            for port in ports {
                number += 1;
                if number > self.most {
                    continue;
                }
                for (pool, before) in &mut port.pools {
                    if let Some(now) = counted.get(pool) {
                        port.total = added(port.total, *before, *now);
                        *before = *now;
                    }
                }
                sums.push(Sum {
                    service: service.clone(),
                    port: Arc::clone(&port.name),
                    protocol: port.protocol,
                    total: port.total,
                });
            }
        }
        Ok((sums, number.saturating_sub(self.most)))
    }
}

/// The ports of a Service with their pools, of both families and policies.
fn ports(engine: &Engine, key: &ObjectKey) -> Vec<Port> {
    let mut all: Vec<Port> = Vec::new();
    for (id, index) in engine.pools(key) {
        let (name, protocol) = (Arc::clone(&id.port), id.proto);
        let pool = (*index, PoolStats::default());
        match all
            .iter_mut()
            .find(|p| p.name == name && p.protocol == protocol)
        {
            Some(port) => port.pools.push(pool),
            None => all.push(Port {
                name,
                protocol,
                pools: vec![pool],
                total: PoolStats::default(),
            }),
        }
    }
    all
}

/// What was counted before goes on.
fn carried(mut known: Vec<Port>, mut now: Vec<Port>) -> Vec<Port> {
    for port in &mut now {
        let is_it = |p: &Port| p.name == port.name && p.protocol == port.protocol;
        let Some(at) = known.iter().position(is_it) else {
            continue;
        };
        let before = known.swap_remove(at);
        port.total = before.total;
        for (pool, counts) in &mut port.pools {
            let same = before.pools.iter().find(|(known, _)| known == pool);
            *counts = same.map_or_else(PoolStats::default, |(_, counts)| *counts);
        }
    }
    now
}

/// The total, and what a pool has counted since; one that counts less has begun anew.
fn added(total: PoolStats, before: PoolStats, now: PoolStats) -> PoolStats {
    let more = |total: u64, before: u64, now: u64| {
        total.wrapping_add(now.checked_sub(before).unwrap_or(now))
    };
    PoolStats {
        connections: more(total.connections, before.connections, now.connections),
        packets: more(total.packets, before.packets, now.packets),
        bytes: more(total.bytes, before.bytes, now.bytes),
        rejects: more(total.rejects, before.rejects, now.rejects),
    }
}

impl Collector for ServiceCounters {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (sums, cut) = match self.sums() {
            Ok(found) => found,
            Err(error) => {
                debug!(%error, "cannot read what Services have counted");
                return Ok(());
            }
        };
        for (name, help, of) in FAMILIES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for sum in &sums {
                let protocol = sum.protocol.to_string();
                let labels = [
                    ("namespace", &*sum.service.namespace),
                    ("service", &*sum.service.name),
                    ("port", &*sum.port),
                    ("protocol", &protocol),
                ];
                ConstCounter::new(of(&sum.total)).encode(family.encode_family(&labels)?)?;
            }
        }
        let cut = ConstGauge::new(i64::try_from(cut).unwrap_or(i64::MAX));
        cut.encode(encoder.encode_descriptor(
            "service_ports_without_metrics",
            "Service ports beyond the number that --service-metrics admits",
            None,
            MetricType::Gauge,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(connections: u64) -> PoolStats {
        PoolStats {
            connections,
            ..PoolStats::default()
        }
    }

    fn port(pools: &[(u32, u64)], total: u64) -> Port {
        Port {
            name: "http".into(),
            protocol: Proto::Tcp,
            pools: pools.iter().map(|(n, c)| (*n, counts(*c))).collect(),
            total: counts(total),
        }
    }

    #[test]
    fn a_sum_goes_on_when_pools_come_and_go_and_begin_anew() {
        assert_eq!(added(counts(10), counts(3), counts(5)), counts(12));
        // Zeroed meanwhile.
        assert_eq!(added(counts(10), counts(3), counts(2)), counts(12));
        let before = vec![port(&[(1, 5), (2, 7)], 12)];
        let now = carried(before, vec![port(&[(2, 0), (3, 0)], 0)]);
        assert_eq!(now[0].total, counts(12));
        assert_eq!(now[0].pools, [(2, counts(7)), (3, counts(0))]);
    }
}

//! Metrics of each Service port, summed over its pools from what the programs count by pool. A sum
//! never falls while the agent runs: what a pool has counted stays counted when the pool goes. It
//! begins at 0 with the agent, since nobody knows then what pools that are gone had counted.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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
    /// Held by a scrape from its beginning to its end: of two at once, both would add the same, and
    /// the one that read first would take the other's counts for ones that began anew. The event loop
    /// never waits for it.
    scrape: Mutex<()>,
    services: Mutex<Services>,
}

/// The Service ports, and what they have counted.
#[derive(Debug, Default)]
struct Services {
    /// How many syncs have ended.
    generation: u64,
    ports: BTreeMap<ObjectKey, Vec<Port>>,
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
    pools: Vec<Pool>,
    /// What was counted until the last scrape.
    total: PoolStats,
}

/// A pool of a Service port.
#[derive(Clone, Copy, Debug)]
struct Pool {
    index: u32,
    /// What it had counted at the last scrape.
    counted: PoolStats,
    /// The generation in which the port got it: what was read earlier is of another owner.
    since: u64,
}

/// What pools have counted, by index.
type Counted = HashMap<u32, PoolStats>;

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
                scrape: Mutex::default(),
                services: Mutex::default(),
            }),
        }
    }

    /// A sync has ended: Services may have other pools.
    pub fn synced(&self, report: &Report, engine: &Engine) {
        let mut services = self.services();
        services.generation += 1;
        for key in &report.services {
            services.replace(key, ports(engine, key));
        }
        // Pools of a former agent go on counting where they were.
        if report.first_synced
            && let Err(error) = services.begin(self.most, |pools| self.read(pools))
        {
            debug!(%error, "cannot read what Services have counted");
        }
    }

    fn read(&self, pools: &[u32]) -> Result<Counted, MapError> {
        let stats = Stats::open(&self.dir)?;
        let of = |pool: &u32| Ok((*pool, stats.service(*pool)?));
        pools.iter().map(of).collect()
    }

    /// The sums now, and how many ports were left out.
    fn sums(&self) -> Result<(Vec<Sum>, usize), MapError> {
        self.sums_of(|pools| self.read(pools))
    }

    /// `read` reads what pools have counted. The event loop waits for the lock of the Services, so it
    /// is not held meanwhile.
    fn sums_of(
        &self,
        read: impl FnOnce(&[u32]) -> Result<Counted, MapError>,
    ) -> Result<(Vec<Sum>, usize), MapError> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, pools) = self.services().pools(self.most);
        let counted = read(&pools)?;
        Ok(self.services().add(self.most, generation, &counted))
    }

    fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Services {
    /// The ports of a Service now; none: it is gone.
    fn replace(&mut self, key: &ObjectKey, mut now: Vec<Port>) {
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
    fn begin(
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
    fn pools(&self, most: usize) -> (u64, Vec<u32>) {
        let ports = self.ports.values().flatten().take(most);
        let pools = ports.flat_map(|port| port.pools.iter().map(|pool| pool.index));
        (self.generation, pools.collect())
    }

    /// Adds what was read of the pools of a generation. The sums, and how many ports were left out.
    fn add(&mut self, most: usize, generation: u64, counted: &Counted) -> (Vec<Sum>, usize) {
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
                });
            }
        }
        (sums, number.saturating_sub(most))
    }
}

/// The ports of a Service with their pools, of both families and policies.
fn ports(engine: &Engine, key: &ObjectKey) -> Vec<Port> {
    let mut all: Vec<Port> = Vec::new();
    for (id, index) in engine.pools(key) {
        let (name, protocol) = (Arc::clone(&id.port), id.proto);
        let pool = Pool {
            index: *index,
            counted: PoolStats::default(),
            since: 0,
        };
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
        for pool in &mut port.pools {
            if let Some(same) = before.pools.iter().find(|p| p.index == pool.index) {
                *pool = *same;
            }
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
    use std::{
        path::Path,
        sync::atomic::{AtomicU64, Ordering::SeqCst},
        thread,
        time::Duration,
    };

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
            pools: pools
                .iter()
                .map(|(index, counted)| Pool {
                    index: *index,
                    counted: counts(*counted),
                    since: 0,
                })
                .collect(),
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
        let pools: Vec<_> = now[0].pools.iter().map(|p| (p.index, p.counted)).collect();
        assert_eq!(pools, [(2, counts(7)), (3, counts(0))]);
    }

    fn of_one_port(pool: u32) -> ServiceCounters {
        let dir = BpfDir::at(Path::new("/nowhere"));
        let counters = ServiceCounters::new(dir, ServiceMetrics::Most(10)).unwrap();
        let web = ObjectKey::new("shop", "web");
        counters
            .services()
            .replace(&web, vec![port(&[(pool, 0)], 0)]);
        counters
    }

    #[test]
    fn scrapes_at_once_count_nothing_twice() {
        let counters = of_one_port(1);
        let kernel = AtomicU64::new(1000);
        let scrape = || {
            let read = |pools: &[u32]| {
                let now = kernel.fetch_add(1, SeqCst) + 1;
                // The others may read more meanwhile, and the event loop goes on.
                thread::sleep(Duration::from_millis(1));
                drop(counters.services());
                Ok(pools.iter().map(|pool| (*pool, counts(now))).collect())
            };
            for _ in 0..10 {
                counters.sums_of(read).unwrap();
            }
        };
        thread::scope(|threads| {
            for _ in 0..4 {
                threads.spawn(scrape);
            }
        });
        let read = |_: &[u32]| Ok(HashMap::new());
        let (sums, _) = counters.sums_of(read).unwrap();
        assert_eq!(sums[0].total, counts(kernel.load(SeqCst)));
    }

    #[test]
    fn pools_of_a_former_agent_begin_at_zero() {
        let counters = of_one_port(1);
        let (early, web) = (
            ObjectKey::new("shop", "early"),
            ObjectKey::new("shop", "web"),
        );
        let read = |_: &[u32]| Ok(HashMap::from([(1, counts(1000)), (2, counts(3))]));
        {
            let mut services = counters.services();
            services.replace(&early, vec![port(&[(2, 0)], 0)]);
            services.generation += 1;
            services.ports.remove(&web);
            services.replace(&web, vec![port(&[(1, 0)], 0)]);
            services.begin(10, read).unwrap();
        }
        let (sums, _) = counters.sums_of(read).unwrap();
        let totals = |sums: &[Sum]| [sums[0].total, sums[1].total];
        // One of this agent's own has counted since it was made.
        assert_eq!(totals(&sums), [counts(3), counts(0)]);
        let read = |_: &[u32]| Ok(HashMap::from([(1, counts(1001)), (2, counts(3))]));
        let (sums, _) = counters.sums_of(read).unwrap();
        assert_eq!(totals(&sums), [counts(3), counts(1)]);
    }

    #[test]
    fn what_was_read_of_a_former_owner_is_not_the_next_ones() {
        let counters = of_one_port(1);
        let (web, db) = (ObjectKey::new("shop", "web"), ObjectKey::new("shop", "db"));
        let read = |_: &[u32]| {
            // A sync ends meanwhile: the pool is another Service's.
            let mut services = counters.services();
            services.generation += 1;
            services.replace(&web, vec![port(&[(2, 0)], 0)]);
            services.replace(&db, vec![port(&[(1, 0)], 0)]);
            Ok(HashMap::from([(1, counts(1000))]))
        };
        let totals = |sums: Vec<Sum>| -> Vec<u64> {
            let all = sums.iter().map(|sum| sum.total.connections);
            all.collect()
        };
        let (sums, _) = counters.sums_of(read).unwrap();
        assert_eq!(totals(sums), [0, 0]);
        let read = |_: &[u32]| Ok(HashMap::from([(1, counts(3)), (2, counts(4))]));
        let (sums, _) = counters.sums_of(read).unwrap();
        assert_eq!(totals(sums), [3, 4]);
    }
}

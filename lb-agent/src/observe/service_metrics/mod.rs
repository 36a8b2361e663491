//! Metrics of each Service port, summed over its pools from what the programs count by pool. A sum
//! never falls while the agent runs: what a pool has counted stays counted when the pool goes. It
//! begins at 0 with the agent, since nobody knows then what pools that are gone had counted.

mod backends;
mod families;
mod ports;
mod sums;
mod zones;

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};

use backends::{Collected, Open};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use sums::{Counted, Counts, Services, Sum};
use tracing::debug;

use crate::{
    maps::{
        dir::BpfDir,
        stats::Stats,
        table::MapError,
        tcp::{TcpCounts, TcpStats},
    },
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
        let mut found = Collected::default();
        for key in &report.services {
            services.update(key, engine, &mut found);
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
        let tcp = TcpStats::open(&self.dir)?;
        let mut counted = Counted::with_capacity(pools.len());
        for pool in pools {
            let counts = Counts {
                stats: stats.service(*pool)?,
                tcp: match &tcp {
                    Some(tcp) => tcp.pool(*pool)?,
                    None => TcpCounts::default(),
                },
            };
            counted.push((*pool, counts));
        }
        Ok(counted)
    }

    /// The sums now, and how many ports were left out.
    fn sums(&self) -> Result<(Vec<Sum>, usize), MapError> {
        let open = Open::read(&self.dir)?;
        self.sums_of(|pools| self.read(pools), |backend| open.to(backend))
    }

    /// `read` reads what pools have counted, `open` the open connections of a backend. The event loop
    /// waits for the lock of the Services, so it is not held while pools are read, which takes a system
    /// call each.
    fn sums_of(
        &self,
        read: impl FnOnce(&[u32]) -> Result<Counted, MapError>,
        open: impl Fn(u32) -> u64,
    ) -> Result<(Vec<Sum>, usize), MapError> {
        let _alone = self.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        let (generation, pools) = self.services().pools(self.most);
        let counted = read(&pools)?;
        Ok(self.services().add(self.most, generation, &counted, open))
    }

    /// How many backends there are, by zone and state. The lock is held while they are copied, not
    /// while they are counted.
    fn backends(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (all, zones) = self.services().backends();
        families::encode_backends(encoder, &backends::by_zone(all, &zones))
    }

    fn services(&self) -> MutexGuard<'_, Services> {
        self.services.lock().unwrap_or_else(PoisonError::into_inner)
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
        families::encode(&mut encoder, &sums)?;
        self.backends(&mut encoder)?;
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
mod tests;

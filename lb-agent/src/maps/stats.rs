//! What the programs have counted, by reason and by pool, summed over all CPUs.

use lb_common::{Reason, maps, stats::PoolStats};
use lb_sys::PerCpuArray;

use super::{
    dir::BpfDir,
    pinned::{Access, failed, open},
    table::MapError,
};

/// The counting maps, opened by their pins for reading.
#[derive(Debug)]
pub struct Stats {
    counters: PerCpuArray<u64>,
    services: PerCpuArray<PoolStats>,
}

impl Stats {
    /// Opens the pins.
    pub fn open(dir: &BpfDir) -> Result<Self, MapError> {
        let counters = open(dir, &maps::COUNTERS, Access::Read)?;
        let services = open(dir, &maps::POOL_STATS, Access::Read)?;
        Ok(Self {
            counters: PerCpuArray::new(counters)
                .map_err(|e| failed(&maps::COUNTERS, "open", &e))?,
            services: PerCpuArray::new(services)
                .map_err(|e| failed(&maps::POOL_STATS, "open", &e))?,
        })
    }

    /// How often each reason was counted, in the order of [`Reason::ALL`].
    pub fn reasons(&self) -> Result<Vec<(Reason, u64)>, MapError> {
        Reason::ALL
            .iter()
            .map(|&reason| {
                let cpus = self
                    .counters
                    .get(reason as u32)
                    .map_err(|e| failed(&maps::COUNTERS, "read", &e))?;
                Ok((reason, cpus.into_iter().fold(0, u64::wrapping_add)))
            })
            .collect()
    }

    /// What was counted for the service of that index.
    pub fn service(&self, index: u32) -> Result<PoolStats, MapError> {
        let cpus = self
            .services
            .get(index)
            .map_err(|e| failed(&maps::POOL_STATS, "read", &e))?;
        Ok(cpus.into_iter().fold(PoolStats::default(), sum))
    }
}

fn sum(a: PoolStats, b: PoolStats) -> PoolStats {
    let PoolStats {
        connections,
        packets,
        bytes,
        rejects,
    } = b;
    PoolStats {
        connections: a.connections.wrapping_add(connections),
        packets: a.packets.wrapping_add(packets),
        bytes: a.bytes.wrapping_add(bytes),
        rejects: a.rejects.wrapping_add(rejects),
    }
}

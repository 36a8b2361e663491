//! What programs count by pool index and backend id, zeroed before an index or id is used again.
//! [`super::stats`] reads it.

use lb_common::{maps, stats::PoolStats, tcp::PoolTcp};
use lb_sys::PerCpuArray;

use super::{
    dir::BpfDir,
    pinned::{Access, ArrayPin, HashPin, failed, open},
    table::{ArrayTable, MapError},
};

/// The maps that a number's last user has left its counts in, opened by their pins for writing.
#[derive(Debug)]
pub(crate) struct Counts {
    sched: HashPin<u32, u64>,
    stats: PerCpuArray<PoolStats>,
    tcp: ArrayPin<PoolTcp>,
}

impl Counts {
    /// Opens the pins.
    pub(crate) fn open(dir: &BpfDir) -> Result<Self, MapError> {
        let stats = open(dir, &maps::POOL_STATS, Access::Write)?;
        Ok(Self {
            sched: HashPin::open(dir, maps::SCHED, Access::Write)?,
            stats: PerCpuArray::new(stats).map_err(|e| failed(&maps::POOL_STATS, "open", &e))?,
            tcp: ArrayPin::open(dir, maps::POOL_TCP, Access::Write)?,
        })
    }

    /// Zeroes what is kept by pool index. The maps may be smaller than `lb_pools`; programs
    /// count nothing behind their ends.
    pub(crate) fn reset_pool(&mut self, index: u32) -> Result<(), MapError> {
        let sched = self.sched.map();
        if index < sched.info().max_entries {
            let reset = sched.set(&index, &0);
            reset.map_err(|e| failed(&maps::SCHED, "reset", &e))?;
        }
        if index < self.stats.len() {
            let reset = self.stats.zero(index);
            reset.map_err(|e| failed(&maps::POOL_STATS, "reset", &e))?;
        }
        if index < self.tcp.len() && self.tcp.load(index)? != PoolTcp::default() {
            self.tcp.store(index, &PoolTcp::default())?;
        }
        Ok(())
    }
}

/// Zeroes a count of a backend id.
pub(crate) fn reset_backend(active: &mut ArrayPin<u64>, id: u32) -> Result<(), MapError> {
    if id < active.len() && active.load(id)? != 0 {
        active.store(id, &0)?;
    }
    Ok(())
}

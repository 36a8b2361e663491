//! The maps in memory, for pure tests of the sync engine: with the kernel's limits, with failures
//! on demand, and with a judge that checks the ABI's rules at every write.

mod judge;
mod table;
mod world;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::maps;
use table::{ArrayHandle, HashHandle};
pub use world::{Moment, World};

use super::{
    list::{Maps, Programs, Table},
    table::MapError,
};

/// Entries of each map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of each hash map.
    pub hash: u32,
    /// Of `lb_pools`.
    pub pools: u32,
    /// Of `lb_slots`.
    pub slots: u32,
    /// Of `lb_backends`.
    pub backends: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hash: Table::Members.spec().capacity,
            pools: Table::Pools.spec().capacity,
            slots: Table::Slots.spec().capacity,
            backends: Table::Backends.spec().capacity,
        }
    }
}

/// Empty maps without a kernel, and the world behind them.
#[must_use]
pub fn new(limits: Limits) -> (Maps, SharedWorld) {
    let world = SharedWorld(Arc::new(Mutex::new(World::new(limits))));
    let w = || world.clone();
    let maps = Maps {
        frontends: Box::new(HashHandle::new(w(), |w| &mut w.frontends)),
        nodeports: Box::new(HashHandle::new(w(), |w| &mut w.nodeports)),
        nodeaddrs: Box::new(HashHandle::new(w(), |w| &mut w.nodeaddrs)),
        members: Box::new(HashHandle::new(w(), |w| &mut w.members)),
        srcranges: Box::new(HashHandle::new(w(), |w| &mut w.srcranges)),
        pools: Box::new(ArrayHandle::new(w(), Table::Pools, |w| &mut w.pools)),
        slots: Box::new(ArrayHandle::new(w(), Table::Slots, |w| &mut w.slots)),
        backends: Box::new(ArrayHandle::new(w(), Table::Backends, |w| &mut w.backends)),
        programs: Box::new(w()),
    };
    (maps, world)
}

/// Everything behind the tables, which hold it too.
#[derive(Clone)]
pub struct SharedWorld(Arc<Mutex<World>>);

impl SharedWorld {
    /// Counters, violations, failures and the observer.
    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Programs for SharedWorld {
    fn reset_pool(&mut self, index: u32) -> Result<(), MapError> {
        let mut world = self.lock();
        world.reset(maps::SCHED.name, index)?;
        world.reset(maps::POOL_STATS.name, index)?;
        world.reset(maps::POOL_TCP.name, index)
    }

    fn reset_backend(&mut self, id: u32) -> Result<(), MapError> {
        let mut world = self.lock();
        world.reset(maps::ACTIVE.name, id)?;
        world.reset(maps::FLOW_COUNTS.name, id)
    }

    fn barrier(&mut self) -> Result<(), MapError> {
        self.lock().barrier()
    }
}

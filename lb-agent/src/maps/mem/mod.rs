//! The maps in memory, for pure tests of the sync engine: the kernel's limits, failures on demand, and a judge that knows
//! the ABI's rules. Knows nothing of plans.

mod judge;
mod table;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lb_common::{
    Addr,
    backend::Backend,
    dev::Dev,
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    maps,
    member::MemberKey,
    pool::Pool,
    slot::Slot,
};

use super::table::{ArrayTable, HashTable, MapError, Maps, SourceRangeKey};

pub use judge::{Moment, World};
use table::{ArrayHandle, HashHandle};

/// Maps without a kernel. A clone of the [`World`] handle stays valid beside it.
pub struct MemMaps {
    world: Shared,
    services: HashHandle<VipKey, FrontendValue>,
    nodeports: HashHandle<NodePortKey, FrontendValue>,
    nodeaddrs: HashHandle<Addr, NodeAddr>,
    members: HashHandle<MemberKey, u32>,
    srcranges: HashHandle<SourceRangeKey, u8>,
    devs: HashHandle<u32, Dev>,
    svc: ArrayHandle<Pool>,
    slots: ArrayHandle<Slot>,
    backends: ArrayHandle<Backend>,
}

type Shared = Arc<Mutex<World>>;

/// Entries of each map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Of each hash map.
    pub hash: u32,
    /// Of `lb_pools`.
    pub svc: u32,
    /// Of `lb_slots`.
    pub slots: u32,
    /// Of `lb_backends`.
    pub backends: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            hash: maps::MEMBERS.capacity,
            svc: maps::POOLS.capacity,
            slots: maps::SLOTS.capacity,
            backends: maps::BACKENDS.capacity,
        }
    }
}

impl Default for MemMaps {
    fn default() -> Self {
        Self::new(Limits::default())
    }
}

impl MemMaps {
    /// Empty maps.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let world: Shared = Arc::new(Mutex::new(World::new(limits)));
        let w = || Arc::clone(&world);
        Self {
            services: HashHandle::new(w(), |w| &mut w.services),
            nodeports: HashHandle::new(w(), |w| &mut w.nodeports),
            nodeaddrs: HashHandle::new(w(), |w| &mut w.nodeaddrs),
            members: HashHandle::new(w(), |w| &mut w.members),
            srcranges: HashHandle::new(w(), |w| &mut w.srcranges),
            devs: HashHandle::new(w(), |w| &mut w.devs),
            svc: ArrayHandle::new(w(), maps::POOLS.name, |w| &mut w.svc),
            slots: ArrayHandle::new(w(), maps::SLOTS.name, |w| &mut w.slots),
            backends: ArrayHandle::new(w(), maps::BACKENDS.name, |w| &mut w.backends),
            world,
        }
    }

    /// Counters, violations, failures and the observer.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Maps for MemMaps {
    fn services(&mut self) -> &mut dyn HashTable<VipKey, FrontendValue> {
        &mut self.services
    }
    fn nodeports(&mut self) -> &mut dyn HashTable<NodePortKey, FrontendValue> {
        &mut self.nodeports
    }
    fn nodeaddrs(&mut self) -> &mut dyn HashTable<Addr, NodeAddr> {
        &mut self.nodeaddrs
    }
    fn members(&mut self) -> &mut dyn HashTable<MemberKey, u32> {
        &mut self.members
    }
    fn srcranges(&mut self) -> &mut dyn HashTable<SourceRangeKey, u8> {
        &mut self.srcranges
    }
    fn devs(&mut self) -> &mut dyn HashTable<u32, Dev> {
        &mut self.devs
    }
    fn svc(&mut self) -> &mut dyn ArrayTable<Pool> {
        &mut self.svc
    }
    fn slots(&mut self) -> &mut dyn ArrayTable<Slot> {
        &mut self.slots
    }
    fn backends(&mut self) -> &mut dyn ArrayTable<Backend> {
        &mut self.backends
    }
    fn reset_service(&mut self, index: u32) -> Result<(), MapError> {
        let mut world = self.world();
        world.reset(maps::SCHED.name, index)?;
        world.reset(maps::POOL_STATS.name, index)
    }
    fn reset_backend(&mut self, id: u32) -> Result<(), MapError> {
        self.world().reset(maps::ACTIVE.name, id)
    }
    fn barrier(&mut self) -> Result<(), MapError> {
        self.world().barrier()
    }
}

//! What the maps in memory hold, with injected failures, counted writes, and an observer that
//! stands for the programs.

use std::collections::BTreeMap;

use lb_common::{
    Addr,
    backend::Backend,
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    maps,
    member::MemberKey,
    pool::Pool,
    slot::Slot,
};

use super::{
    super::{
        list::Table,
        table::{MapError, SourceRangeKey},
    },
    Limits,
    judge::Published,
    table::MemHash,
};

/// Everything behind the tables.
pub struct World {
    /// `lb_frontends`
    pub frontends: MemHash<VipKey, FrontendValue>,
    /// `lb_nodeports`
    pub nodeports: MemHash<NodePortKey, FrontendValue>,
    /// `lb_nodeaddrs`
    pub nodeaddrs: MemHash<Addr, NodeAddr>,
    /// `lb_members`
    pub members: MemHash<MemberKey, u32>,
    /// `lb_srcranges`
    pub srcranges: MemHash<SourceRangeKey, u8>,
    /// `lb_pools`
    pub pools: Vec<Pool>,
    /// `lb_slots`
    pub slots: Vec<Slot>,
    /// `lb_backends`
    pub backends: Vec<Backend>,
    /// What programs have counted, by map and number.
    pub counts: BTreeMap<(&'static str, u32), u64>,
    /// Writes by map.
    pub writes: BTreeMap<&'static str, u64>,
    /// Barriers.
    pub barriers: u64,
    /// Rules that were broken.
    pub violations: Vec<String>,
    failures: Option<Failures>,
    observer: Option<Observer>,
    pub(super) published: Published,
}

/// When an observer is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// After a write.
    Wrote,
    /// In a barrier: every reader that is running ends now.
    Barrier,
}

type Observer = Box<dyn FnMut(&World, Moment) + Send>;

struct Failures {
    seed: u64,
    per_mille: u64,
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        let free = Slot::FREE;
        let empty = Pool::EMPTY;
        Self {
            frontends: MemHash::new(Table::Frontends, limits.hash),
            nodeports: MemHash::new(Table::NodePorts, limits.hash),
            nodeaddrs: MemHash::new(Table::NodeAddrs, limits.hash),
            members: MemHash::new(Table::Members, limits.hash),
            srcranges: MemHash::new(Table::SourceRanges, limits.hash),
            pools: vec![empty; limits.pools as usize],
            slots: vec![free; limits.slots as usize],
            backends: vec![Backend::FREE; limits.backends as usize],
            counts: BTreeMap::new(),
            writes: BTreeMap::new(),
            barriers: 0,
            violations: Vec::new(),
            failures: None,
            observer: None,
            published: Published::default(),
        }
    }

    /// From now on `per_mille` of 1000 operations fail: the same ones for the same seed, and none
    /// for 0.
    pub fn fail(&mut self, seed: u64, per_mille: u64) {
        self.failures = (per_mille > 0).then_some(Failures { seed, per_mille });
    }

    /// Calls `observer` after each write and in each barrier.
    pub fn observe(&mut self, observer: impl FnMut(&World, Moment) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Writes of all maps.
    #[must_use]
    pub fn total_writes(&self) -> u64 {
        self.writes.values().sum()
    }

    pub(super) fn barrier(&mut self) -> Result<(), MapError> {
        if let Some(error) = self.injected(maps::BARRIER.name, "barrier") {
            return Err(error);
        }
        self.barriers += 1;
        self.notify(Moment::Barrier);
        self.published.barrier();
        for freed in [
            &mut self.frontends.freed,
            &mut self.nodeports.freed,
            &mut self.nodeaddrs.freed,
        ] {
            *freed = Some(false);
        }
        Ok(())
    }

    pub(super) fn reset(&mut self, map: &'static str, number: u32) -> Result<(), MapError> {
        if let Some(error) = self.injected(map, "reset") {
            return Err(error);
        }
        self.counts.remove(&(map, number));
        Ok(())
    }

    /// The failure of an operation, if it is to fail.
    pub(super) fn injected(
        &mut self,
        map: &'static str,
        operation: &'static str,
    ) -> Option<MapError> {
        let f = self.failures.as_mut()?;
        // xorshift64 is good enough for tests.
        f.seed ^= f.seed << 13;
        f.seed ^= f.seed >> 7;
        f.seed ^= f.seed << 17;
        (f.seed % 1000 < f.per_mille).then(|| MapError::Failed {
            map,
            operation,
            message: "injected".to_owned(),
        })
    }

    pub(super) fn violate(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(super) fn wrote(&mut self, map: &'static str) {
        if map != Table::Backends.name() {
            self.published.forget_names();
        }
        *self.writes.entry(map).or_default() += 1;
        self.notify(Moment::Wrote);
    }

    fn notify(&mut self, moment: Moment) {
        if let Some(mut observer) = self.observer.take() {
            observer(self, moment);
            self.observer = Some(observer);
        }
    }
}

//! The ABI's rules, judged at each write: what is published is complete, what is retired is reused only behind a barrier.
//! Owns the injected failures and the counting too.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use lb_common::{
    Addr,
    backend::Backend,
    frontend::{self, FrontendValue, NodeAddr, NodePortKey, VipKey},
    maps,
    member::{self, MemberKey},
    pool::Pool,
    slot::Slot,
};

use super::{
    super::{
        list::Table,
        table::{MapError, SourceRangeKey},
    },
    Limits,
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
    /// Rules that were broken, in words.
    pub violations: Vec<String>,
    failures: Option<Failures>,
    observer: Option<Observer>,
    /// Slot → service index, for published ranges.
    live: HashMap<u32, u32>,
    /// Slots that were published at some time since the last barrier and no longer are.
    hot_slots: BTreeSet<u32>,
    /// Service indices that lost their last frontend since the last barrier.
    hot_indices: BTreeSet<u32>,
    fronts: HashMap<u32, u32>,
    /// Backends that a member or a reachable slot names; `None` where either has changed since it was last asked.
    named: Option<HashSet<u32>>,
}

/// When an observer is called.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Behind a write.
    Wrote,
    /// In a barrier: every reader that is under way ends now.
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
            live: HashMap::new(),
            hot_slots: BTreeSet::new(),
            hot_indices: BTreeSet::new(),
            fronts: HashMap::new(),
            named: None,
        }
    }

    /// From now on `per_mille` of 1000 operations fail, the same ones for the same seed; 0 heals.
    pub fn fail(&mut self, seed: u64, per_mille: u64) {
        self.failures = (per_mille > 0).then_some(Failures { seed, per_mille });
    }

    /// Calls `observer` behind each write and in each barrier.
    pub fn observe(&mut self, observer: impl FnMut(&World, Moment) + Send + 'static) {
        self.observer = Some(Box::new(observer));
    }

    /// Writes of all maps.
    #[must_use]
    pub fn total_writes(&self) -> u64 {
        self.writes.values().sum()
    }

    pub(super) fn barrier(&mut self) -> Result<(), MapError> {
        if let Some(error) = self.chance(maps::BARRIER.name, "barrier") {
            return Err(error);
        }
        self.barriers += 1;
        self.tell(Moment::Barrier);
        self.hot_slots.clear();
        self.hot_indices.clear();
        self.named = None;
        // What no frontend leads to has no reader any more.
        self.live.retain(|_, index| self.fronts.contains_key(index));
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
        if let Some(error) = self.chance(map, "reset") {
            return Err(error);
        }
        self.counts.remove(&(map, number));
        Ok(())
    }

    pub(super) fn chance(
        &mut self,
        map: &'static str,
        operation: &'static str,
    ) -> Option<MapError> {
        let f = self.failures.as_mut()?;
        // xorshift64: a test needs no better one.
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

    /// Some member or reachable slot names this backend. Asked for one backend after the other, of maps that stand still.
    fn names(&mut self, backend: u32) -> bool {
        if self.named.is_none() {
            let members = self.members.entries.keys().map(|m| m.backend);
            self.named = Some(
                members
                    .chain(self.reachable_slots().map(|s| s.backend))
                    .collect(),
            );
        }
        self.named
            .as_ref()
            .is_some_and(|all| all.contains(&backend))
    }

    pub(super) fn wrote(&mut self, map: &'static str) {
        if map != Table::Backends.name() {
            self.named = None;
        }
        *self.writes.entry(map).or_default() += 1;
        self.tell(Moment::Wrote);
    }

    fn tell(&mut self, moment: Moment) {
        if let Some(mut observer) = self.observer.take() {
            observer(self, moment);
            self.observer = Some(observer);
        }
    }

    /// Published slots and those that a reader may still be in.
    fn reachable_slots(&self) -> impl Iterator<Item = &Slot> {
        let at = self.live.keys().chain(&self.hot_slots);
        at.filter_map(|i| self.slots.get(*i as usize))
    }
}

/// What a value of a hash map means to the judge.
pub(super) trait Guard {
    /// A value has come, changed or gone.
    fn placed(world: &mut World, before: Option<Self>, now: Option<Self>)
    where
        Self: Sized;
}

impl Guard for FrontendValue {
    fn placed(world: &mut World, before: Option<Self>, now: Option<Self>) {
        let leads = |r: &Self| r.flags & frontend::VIP_MARK == 0;
        if let Some(now) = now.filter(leads) {
            if world.pools.get(now.pool as usize).is_none_or(|s| s.id == 0) {
                world.violate(format!(
                    "a frontend leads to service {}, unwritten",
                    now.pool
                ));
            }
            *world.fronts.entry(now.pool).or_default() += 1;
            if let Some(svc) = world.pools.get(now.pool as usize) {
                let slots = svc.base..svc.base + u32::from(svc.count);
                world.live.extend(slots.map(|at| (at, now.pool)));
            }
            world.hot_indices.remove(&now.pool);
        }
        if let Some(before) = before.filter(leads)
            && let Some(n) = world.fronts.get_mut(&before.pool)
        {
            *n -= 1;
            if *n == 0 {
                world.fronts.remove(&before.pool);
                world.hot_indices.insert(before.pool);
            }
        }
    }
}

macro_rules! unguarded {
    ($($t:ty),+) => {$(
        impl Guard for $t {
            fn placed(_: &mut World, _: Option<Self>, _: Option<Self>) {}
        }
    )+};
}

unguarded!(NodeAddr, u32, u8);

/// What a value of an array means to the judge.
pub(super) trait Store {
    /// It is about to be stored.
    fn before(world: &mut World, index: u32, value: &Self);
}

impl Store for Pool {
    fn before(world: &mut World, index: u32, new: &Self) {
        let old = world.pools[index as usize];
        if new.id == 0 && old.id != 0 {
            if world.fronts.contains_key(&index) {
                world.violate(format!(
                    "service {index} is cleared, and a frontend leads to it"
                ));
            }
            if world.hot_indices.contains(&index) {
                world.violate(format!("service {index} is cleared before a barrier"));
            }
        }
        let new_id = new.id;
        let [old, new] = [&old, new].map(|s| s.base..s.base + u32::from(s.count));
        for at in old.filter(|at| !new.contains(at)) {
            if world.live.get(&at) == Some(&index) {
                world.live.remove(&at);
                // A service that is cleared by the rules has had no reader since the last barrier.
                if new_id != 0 {
                    world.hot_slots.insert(at);
                }
            }
        }
        for at in new {
            let slot = world.slots.get(at as usize).copied().unwrap_or(Slot::FREE);
            if slot.pool != index {
                world.violate(format!(
                    "service {index} publishes slot {at} of {}",
                    slot.pool
                ));
            }
            let backend = world.backends.get(slot.backend as usize);
            if backend.is_none_or(|b| b.port == 0) {
                world.violate(format!("slot {at} leads to free backend {}", slot.backend));
            }
            let key = MemberKey {
                pool: index,
                backend: slot.backend,
            };
            let flags = world.members.entries.get(&key).copied().unwrap_or(0);
            if flags & member::ELIGIBLE == 0 {
                world.violate(format!("slot {at} leads to {key:?}, which is no member"));
            }
            if let Some(other) = world.live.insert(at, index)
                && other != index
            {
                world.violate(format!("slot {at} belongs to services {index} and {other}"));
            }
        }
    }
}

impl Store for Slot {
    fn before(world: &mut World, index: u32, new: &Self) {
        if world.slots[index as usize] == *new {
            return;
        }
        if let Some(service) = world.live.get(&index) {
            world.violate(format!(
                "slot {index} is overwritten under service {service}"
            ));
        }
        if world.hot_slots.contains(&index) {
            world.violate(format!("slot {index} is reused before a barrier"));
        }
    }
}

impl Store for Backend {
    fn before(world: &mut World, index: u32, new: &Self) {
        let old = world.backends[index as usize];
        let id = |b: &Backend| (b.addr, b.port, b.proto);
        if old.port == 0 || id(&old) == id(new) {
            return;
        }
        if world.names(index) {
            world.violate(format!(
                "backend {index} changes while it is a member, or slots lead to it"
            ));
        }
    }
}

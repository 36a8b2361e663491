//! The ABI's rules, checked at each write: what is published is complete, and what is retired is
//! reused only after a barrier.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Range,
};

use lb_common::{
    backend::Backend,
    frontend::{self, FrontendValue, NodeAddr},
    member::{self, MemberKey},
    pool::{Pool, flags, slots_and_weights},
    slot::Slot,
    spill::Area,
};

use super::world::World;

/// What programs may be reading.
#[derive(Default)]
pub(super) struct Published {
    /// Slot → pool index, for published ranges.
    live: HashMap<u32, u32>,
    /// Slots that were published at some time since the last barrier and no longer are.
    hot_slots: BTreeSet<u32>,
    /// Pool indices that lost their last frontend since the last barrier.
    hot_indices: BTreeSet<u32>,
    /// Frontends by pool index.
    references: HashMap<u32, u32>,
    /// Backends that a member or a reachable slot names; `None` if either changed since the last
    /// question.
    named: Option<HashSet<u32>>,
}

impl Published {
    /// Every program that was running has ended.
    pub(super) fn barrier(&mut self) {
        self.hot_slots.clear();
        self.hot_indices.clear();
        self.named = None;
        // A pool without frontend has no reader any more.
        self.live
            .retain(|_, index| self.references.contains_key(index));
    }

    /// Members or slots have changed.
    pub(super) fn forget_names(&mut self) {
        self.named = None;
    }
}

/// What stands in the slots of a pool and behind them.
struct Places {
    all: Range<u32>,
    weights: Range<u32>,
    area: Range<u32>,
}

fn places(pool: &Pool, index: u32, slots: &[Slot]) -> Places {
    let at = pool.base + slots_and_weights(pool.count, pool.flags);
    let weights = pool.base + u32::from(pool.count)..at;
    let word = |at: u32| slots.get(at as usize).copied().unwrap_or(Slot::FREE);
    let area = match Area::of(index, pool.generation, [word(at), word(at + 1)]) {
        Some(area) if pool.flags & flags::SPILLS != 0 => area.size(),
        _ => 0,
    };
    Places {
        all: pool.base..at + area,
        weights,
        area: at..at + area.min(Area::WORDS),
    }
}

/// Whether some member or reachable slot names this backend.
fn names(world: &mut World, backend: u32) -> bool {
    let World {
        members,
        slots,
        published,
        ..
    } = world;
    let Published {
        live,
        hot_slots,
        named,
        ..
    } = published;
    let named = named.get_or_insert_with(|| {
        // Published slots, and those that a reader may still be in.
        let reachable = live.keys().chain(hot_slots.iter());
        let reachable = reachable.filter_map(|at| slots.get(*at as usize));
        let reachable = reachable.filter(|slot| slot.pool & (Slot::WEIGHT | Slot::AREA) == 0);
        let members = members.entries.keys().map(|m| m.backend);
        members.chain(reachable.map(|s| s.backend)).collect()
    });
    named.contains(&backend)
}

/// What a value of a hash map means to the judge.
pub(super) trait Guard {
    /// A value was inserted, changed or removed.
    fn placed(world: &mut World, before: Option<Self>, now: Option<Self>)
    where
        Self: Sized;
}

impl Guard for FrontendValue {
    fn placed(world: &mut World, before: Option<Self>, now: Option<Self>) {
        let has_pool = |r: &Self| r.flags & frontend::VIP_MARK == 0;
        if let Some(now) = now.filter(has_pool) {
            if world.pools.get(now.pool as usize).is_none_or(|s| s.id == 0) {
                world.violate(format!(
                    "a frontend refers to pool {}, which is unwritten",
                    now.pool
                ));
            }
            *world.published.references.entry(now.pool).or_default() += 1;
            if let Some(svc) = world.pools.get(now.pool as usize) {
                let places = places(svc, now.pool, &world.slots).all;
                world.published.live.extend(places.map(|at| (at, now.pool)));
            }
            world.published.hot_indices.remove(&now.pool);
        }
        if let Some(before) = before.filter(has_pool)
            && let Some(n) = world.published.references.get_mut(&before.pool)
        {
            *n -= 1;
            if *n == 0 {
                world.published.references.remove(&before.pool);
                world.published.hot_indices.insert(before.pool);
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
pub(super) trait Store: PartialEq {
    /// As an unused element is here; in the kernel's arrays no bit of it is set.
    const EMPTY: Self;

    /// A value is about to be stored.
    fn before(world: &mut World, index: u32, value: &Self);
}

impl Store for Pool {
    const EMPTY: Self = Self::EMPTY;

    fn before(world: &mut World, index: u32, new: &Self) {
        let old = world.pools[index as usize];
        if new.id == 0 && old.id != 0 {
            if world.published.references.contains_key(&index) {
                world.violate(format!(
                    "pool {index} is cleared while a frontend refers to it"
                ));
            }
            if world.published.hot_indices.contains(&index) {
                world.violate(format!("pool {index} is cleared before a barrier"));
            }
        }
        let new_id = new.id;
        if new.flags & flags::SPILLS != 0 && places(new, index, &world.slots).area.is_empty() {
            world.violate(format!("pool {index} has no area behind its slots"));
        }
        let Places { weights, area, .. } = places(new, index, &world.slots);
        let [old, new] = [&old, new].map(|pool| places(pool, index, &world.slots).all);
        for at in old.filter(|at| !new.contains(at)) {
            if world.published.live.get(&at) == Some(&index) {
                world.published.live.remove(&at);
                // A pool that was cleared by the rules has had no reader since the last barrier.
                if new_id != 0 {
                    world.published.hot_slots.insert(at);
                }
            }
        }
        for at in new {
            let slot = world.slots.get(at as usize).copied().unwrap_or(Slot::FREE);
            if let Some(other) = world.published.live.insert(at, index)
                && other != index
            {
                world.violate(format!("slot {at} belongs to pools {index} and {other}"));
            }
            if area.contains(&at) {
                continue;
            }
            if weights.contains(&at) {
                if !matches!(slot.as_weight(index), Some(1..)) {
                    world.violate(format!("pool {index} has no weight at {at}"));
                }
                continue;
            }
            if slot.pool != index {
                world.violate(format!(
                    "pool {index} publishes slot {at} of pool {}",
                    slot.pool
                ));
            }
            let backend = world.backends.get(slot.backend as usize);
            if backend.is_none_or(|b| b.port == 0) {
                world.violate(format!("slot {at} names the free backend {}", slot.backend));
            }
            let key = MemberKey {
                pool: index,
                backend: slot.backend,
            };
            let flags = world.members.entries.get(&key).copied().unwrap_or(0);
            if flags & member::ELIGIBLE == 0 {
                world.violate(format!("slot {at} names {key:?}, which is no member"));
            }
        }
    }
}

impl Store for Slot {
    const EMPTY: Self = Self::FREE;

    fn before(world: &mut World, index: u32, new: &Self) {
        if world.slots[index as usize] == *new {
            return;
        }
        if let Some(pool) = world.published.live.get(&index) {
            world.violate(format!("slot {index} is overwritten under pool {pool}"));
        }
        if world.published.hot_slots.contains(&index) {
            world.violate(format!("slot {index} is reused before a barrier"));
        }
    }
}

impl Store for Backend {
    const EMPTY: Self = Self::FREE;

    fn before(world: &mut World, index: u32, new: &Self) {
        let old = world.backends[index as usize];
        let id = |b: &Backend| (b.addr, b.port, b.proto);
        if old.port == 0 || id(&old) == id(new) {
            return;
        }
        if names(world, index) {
            world.violate(format!(
                "backend {index} changes while a member or a slot names it"
            ));
        }
    }
}

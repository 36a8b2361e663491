//! What stands in the maps, as far as the agent knows: the mirror. Owns barriers, and with them the moment at which what
//! was retired becomes free.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use lb_common::{
    Addr,
    backend::Backend,
    frontend::{self, FrontendValue, NodeAddr, NodePortKey, VipKey},
    maps,
    pool::Pool,
};

use crate::{
    maps::{Maps, table::MapError},
    plan::desired::Bits,
};

use super::{
    backends::Backends,
    frontends::Fronts,
    ids::Ids,
    pool::PoolState,
    slot_ranges::{Range, Ranges},
};
use crate::sync::report::{Report, Usage, fail};

/// The mirror of every map that services live in.
pub(in crate::sync) struct State {
    /// Service index → what stands under it.
    pub(in crate::sync) pools: HashMap<u32, PoolState>,
    /// Service indices.
    pub(in crate::sync) indices: Ids,
    /// `lb_slots`
    pub(in crate::sync) ranges: Ranges,
    /// `lb_backends`
    pub(in crate::sync) backends: Backends,
    /// `lb_frontends`
    pub(in crate::sync) services: Fronts<VipKey>,
    /// `lb_nodeports`
    pub(in crate::sync) nodeports: Fronts<NodePortKey>,
    /// `lb_nodeaddrs`
    pub(in crate::sync) nodeaddrs: BTreeMap<Addr, NodeAddr>,
    /// See [`Fronts::freed`].
    pub(in crate::sync) nodeaddrs_freed: bool,
    /// Entries of `lb_members`.
    pub(in crate::sync) members: u32,
    /// Entries of `lb_srcranges`.
    pub(in crate::sync) source_ranges: u32,
    /// Pools that nobody wants any more, and that are not yet empty.
    pub(in crate::sync) condemned: BTreeSet<u32>,
    /// See [`Report::udp_left`].
    pub(in crate::sync) udp_left: u64,
    /// Entries of each map.
    pub(in crate::sync) capacity: Capacity,
}

/// Entries of the maps that have limits here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sync) struct Capacity {
    pub(in crate::sync) services: u32,
    pub(in crate::sync) nodeports: u32,
    pub(in crate::sync) nodeaddrs: u32,
    pub(in crate::sync) members: u32,
    pub(in crate::sync) srcranges: u32,
    pub(in crate::sync) svc: u32,
    pub(in crate::sync) slots: u32,
    pub(in crate::sync) backends: u32,
}

impl Capacity {
    /// As the maps have them.
    pub(in crate::sync) fn of(maps: &mut Maps) -> Self {
        Self {
            services: maps.frontends.capacity(),
            nodeports: maps.nodeports.capacity(),
            nodeaddrs: maps.nodeaddrs.capacity(),
            members: maps.members.capacity(),
            srcranges: maps.srcranges.capacity(),
            svc: maps.pools.len(),
            slots: maps.slots.len(),
            backends: maps.backends.len(),
        }
    }
}

impl State {
    /// What stands under the index is what its Service wants.
    pub(in crate::sync) fn prove(&mut self, index: u32) {
        if let Some(pool) = self.pools.get_mut(&index) {
            pool.proven = true;
        }
    }

    /// Waits until no program can still see what was retired, then frees it.
    pub(in crate::sync) fn barrier(
        &mut self,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<(), MapError> {
        maps.programs.barrier()?;
        report.barriers += 1;
        self.services.freed = false;
        self.nodeports.freed = false;
        self.nodeaddrs_freed = false;
        self.ranges.release();
        // An entry that cannot be cleared stays retired, and is tried again behind the next barrier.
        for index in self.indices.retired().clone() {
            match maps.pools.store(index, &Pool::EMPTY) {
                Ok(()) => {
                    report.writes.svc += 1;
                    self.indices.release(index);
                }
                Err(error) => fail(report, None, error),
            }
        }
        for id in self.backends.retired().clone() {
            match maps.backends.store(id, &Backend::FREE) {
                Ok(()) => {
                    report.writes.backends += 1;
                    self.backends.release(id);
                }
                Err(error) => fail(report, None, error),
            }
        }
        Ok(())
    }

    /// A membership has changed, or ended (`now` is `None`).
    pub(in crate::sync) fn member_left(&mut self, id: u32, before: Bits, now: Option<Bits>) {
        let serves = |bits: Bits| bits.has(Bits::SERVING);
        if serves(before) && !now.is_some_and(serves) && self.backends.is_udp(id) {
            self.udp_left += 1;
        }
    }

    /// A barrier would free something.
    pub(in crate::sync) fn unsettled(&self) -> bool {
        self.ranges.has_retired()
            || !self.indices.retired().is_empty()
            || !self.backends.retired().is_empty()
    }

    /// So many free service indices, under which nothing is counted yet; all of them or none. Where they cannot be had, not
    /// even behind a barrier, nothing is waited for.
    pub(in crate::sync) fn take_indices(
        &mut self,
        count: usize,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<Vec<u32>, MapError> {
        let full = MapError::Full {
            map: maps::POOLS.name,
            capacity: self.capacity.svc,
        };
        let free = self.indices.free();
        if free + self.indices.retired().len() < count {
            return Err(full);
        }
        if free < count {
            self.barrier(maps, report)?;
        }
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let fresh = self.indices.take().ok_or_else(|| full.clone());
            let reset = fresh.and_then(|index| {
                taken.push(index);
                maps.programs.reset_pool(index)
            });
            if let Err(error) = reset {
                // Nothing leads to them, nor ever has.
                for index in taken {
                    self.indices.give(index);
                }
                return Err(error);
            }
        }
        Ok(taken)
    }

    /// Room for `count` slots.
    pub(in crate::sync) fn take_range(
        &mut self,
        count: u32,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<Range, MapError> {
        if let Some(range) = self.ranges.take(count) {
            return Ok(range);
        }
        if self.ranges.has_retired() {
            self.barrier(maps, report)?;
        }
        self.ranges.take(count).ok_or(MapError::Full {
            map: maps::SLOTS.name,
            capacity: self.capacity.slots,
        })
    }

    /// A frontend has come to lead elsewhere.
    pub(in crate::sync) fn led(
        &mut self,
        is_udp: bool,
        before: Option<FrontendValue>,
        now: Option<FrontendValue>,
    ) {
        // The mark of a VIP leads nowhere.
        let leads = |r: &FrontendValue| r.flags & frontend::VIP_MARK == 0;
        let (before, now) = (before.filter(leads), now.filter(leads));
        let elsewhere = |b: FrontendValue| now.is_none_or(|n| n.pool != b.pool);
        self.udp_left += u64::from(is_udp && before.is_some_and(elsewhere));
        if let Some(pool) = now.and_then(|r| self.pools.get_mut(&r.pool)) {
            pool.fronts += 1;
        }
        if let Some(pool) = before.and_then(|r| self.pools.get_mut(&r.pool)) {
            pool.fronts -= 1;
        }
    }

    /// How full the maps are.
    pub(in crate::sync) fn usage(&self) -> Vec<Usage> {
        let n = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let Capacity {
            services,
            nodeports,
            nodeaddrs,
            members,
            srcranges,
            svc,
            slots,
            backends,
        } = self.capacity;
        let all = [
            (maps::FRONTENDS, n(self.services.len()), services),
            (maps::NODEPORTS, n(self.nodeports.len()), nodeports),
            (maps::NODEADDRS, n(self.nodeaddrs.len()), nodeaddrs),
            (maps::MEMBERS, self.members, members),
            (maps::SRCRANGES, self.source_ranges, srcranges),
            (maps::POOLS, self.indices.used(), svc),
            (maps::SLOTS, self.ranges.used(), slots),
            (maps::BACKENDS, self.backends.used(), backends),
        ];
        all.map(|(map, entries, capacity)| Usage {
            map: map.name,
            entries,
            capacity,
        })
        .to_vec()
    }
}

//! The mirror: what the maps hold, as far as this agent has read or written them, and which Service
//! wants what.
//!
//! Its fields are private to this folder. Writers report each element that they have written
//! through a method, so that a count never changes without the entry it counts.

mod backends;
mod frontends;
mod ids;
mod pool;
mod restore;
mod slot_ranges;
mod tables;
mod written;

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(crate) use backends::{BackendKey, Backends};
pub(crate) use frontends::{FrontendTable, Owner, Ownership, Step};
pub(crate) use ids::Ids;
use lb_common::{
    Addr,
    backend::Backend,
    frontend::{NodeAddr, NodePortKey, VipKey},
};
pub(crate) use pool::{Entry, PoolState, SlotContent, SpillContent};
pub(crate) use restore::restore;
pub(crate) use slot_ranges::Range;
use slot_ranges::SlotRanges;
pub(crate) use tables::{
    Cursor, FrontendMap, Members, Mirrored, NodeAddresses, NodePorts, SourceRanges, Vips,
};

use super::report::Usage;
use crate::{
    maps::{PerTable, Table},
    model::ObjectKey,
    plan::{FrontendKey, desired::MemberFlags},
};

/// The mirror of every map that services live in.
pub(crate) struct Mirror {
    /// By pool index.
    pools: HashMap<u32, PoolState>,
    /// Pool indices.
    indices: Ids,
    slots: SlotRanges,
    backends: Backends,
    vips: FrontendTable<VipKey>,
    node_ports: FrontendTable<NodePortKey>,
    node_addresses: BTreeMap<Addr, NodeAddr>,
    /// Tables of which an element was freed since the last barrier: the next one taken could be
    /// the same, while a reader looks at it.
    recycled: PerTable<bool>,
    /// Entries of `lb_members`.
    members: u32,
    /// Entries of `lb_srcranges`.
    source_ranges: u32,
    /// Pools without an owner that are not empty yet.
    to_prune: BTreeSet<u32>,
    effects: Effects,
    capacity: PerTable<u32>,
}

/// What the writes of a sync mean to others.
#[derive(Default)]
pub(crate) struct Effects {
    /// See [`Report::freed`](super::Report::freed).
    pub(crate) freed: bool,
    /// See [`Report::udp_lost`](super::Report::udp_lost).
    pub(crate) udp_lost: u64,
    /// See [`Report::connections_lost`](super::Report::connections_lost).
    pub(crate) connections_lost: u64,
}

/// What a membership that is about to be written does with its backend's pin.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pin {
    /// The caller holds a pin, which becomes the membership's.
    Held,
    /// The membership takes its own.
    New,
}

/// What the mirror shows.
impl Mirror {
    /// The pool under a pool index.
    pub(crate) fn pool(&self, index: u32) -> Option<&PoolState> {
        self.pools.get(&index)
    }

    /// Backends, with their ids and their users.
    pub(crate) fn backends(&self) -> &Backends {
        &self.backends
    }

    /// Frontends at an address.
    pub(crate) fn vips(&self) -> &FrontendTable<VipKey> {
        &self.vips
    }

    /// Node ports.
    pub(crate) fn node_ports(&self) -> &FrontendTable<NodePortKey> {
        &self.node_ports
    }

    /// Pool indices.
    pub(crate) fn indices(&self) -> &Ids {
        &self.indices
    }

    /// The addresses on which NodePorts answer.
    pub(crate) fn node_addresses(&self) -> &BTreeMap<Addr, NodeAddr> {
        &self.node_addresses
    }

    /// Sizes of the maps.
    pub(crate) fn capacity(&self) -> &PerTable<u32> {
        &self.capacity
    }

    /// The pool index that the frontend leads to in the map.
    pub(crate) fn target(&self, key: &FrontendKey) -> Option<u32> {
        let written = match key {
            FrontendKey::Address(key) => self.vips.written(key),
            FrontendKey::NodePort(key) => self.node_ports.written(key),
        };
        written.map(|r| r.pool)
    }

    /// Each ownership that lost against an older Service's, as the frontend in words with its
    /// protocol, the loser, the winner.
    pub(crate) fn conflicts(&self) -> impl Iterator<Item = (String, u8, &ObjectKey, &ObjectKey)> {
        let vips = self.vips.conflicts().map(|(key, loser, winner)| {
            let what = format!("{} port {}", key.addr, key.port);
            (what, key.proto, loser, winner)
        });
        let node_ports = self.node_ports.conflicts().map(|(key, loser, winner)| {
            let what = format!("node port {}", key.port);
            (what, key.proto, loser, winner)
        });
        vips.chain(node_ports)
    }

    /// A previous agent left pools in the maps that no planned Service owns.
    pub(crate) fn has_leftovers(&self) -> bool {
        self.pools.values().any(|pool| !pool.is_owned())
    }

    /// A barrier would free something.
    pub(crate) fn is_unsettled(&self) -> bool {
        self.slots.has_retired()
            || !self.indices.retired().is_empty()
            || !self.backends.retired().is_empty()
    }

    /// A slot range waits for a barrier.
    pub(crate) fn has_retired_slots(&self) -> bool {
        self.slots.has_retired()
    }

    /// Pools that are to be emptied, and that no frontend leads to.
    pub(crate) fn prunable(&self) -> impl Iterator<Item = (u32, &PoolState)> {
        let all = self.to_prune.iter();
        let pools = all.filter_map(|index| Some((*index, self.pools.get(index)?)));
        pools.filter(|(_, pool)| pool.references() == 0)
    }

    /// How full the maps are.
    pub(crate) fn usage(&self) -> Vec<Usage> {
        let n = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        let entries = |table| match table {
            Table::Frontends => n(self.vips.len()),
            Table::NodePorts => n(self.node_ports.len()),
            Table::NodeAddrs => n(self.node_addresses.len()),
            Table::Members => self.members,
            Table::SourceRanges => self.source_ranges,
            Table::Pools => self.indices.used(),
            Table::Slots => self.slots.used(),
            Table::Backends => self.backends.used(),
        };
        let all = self.capacity.iter().map(|(table, capacity)| Usage {
            map: table.name(),
            entries: entries(table),
            capacity: *capacity,
        });
        all.collect()
    }
}

/// Who wants what.
impl Mirror {
    /// A Service wants the frontend, in place of what it wanted of this key before.
    pub(crate) fn own(&mut self, key: FrontendKey, ownership: Ownership) {
        match key {
            FrontendKey::Address(key) => self.vips.own(key, ownership),
            FrontendKey::NodePort(key) => self.node_ports.own(key, ownership),
        }
    }

    /// The Service no longer wants the frontend.
    pub(crate) fn release(&mut self, key: &FrontendKey, service: &ObjectKey) {
        match key {
            FrontendKey::Address(key) => self.vips.release(*key, service),
            FrontendKey::NodePort(key) => self.node_ports.release(*key, service),
        }
    }

    /// A planned Service owns the pool, which is made if there is none.
    pub(crate) fn adopt(&mut self, index: u32) {
        self.pools.entry(index).or_default().adopt();
        self.to_prune.remove(&index);
    }

    /// No Service wants these pools any more.
    pub(crate) fn abandon(&mut self, indices: impl IntoIterator<Item = u32>) {
        self.to_prune.extend(indices);
    }

    /// Every source has listed everything: what has no owner by now is to go.
    pub(crate) fn sweep(&mut self) {
        self.vips.sweep();
        self.node_ports.sweep();
        let left = self.pools.iter().filter(|(_, pool)| !pool.is_owned());
        self.to_prune.extend(left.map(|(index, _)| *index));
    }

    /// What the maps hold under the index is what its Service wants.
    pub(crate) fn verify(&mut self, index: u32) {
        if let Some(pool) = self.pools.get_mut(&index) {
            pool.verify();
        }
    }

    /// Did a contest over a frontend begin, change or end since the last call?
    pub(crate) fn take_contest_change(&mut self) -> bool {
        let vips = self.vips.take_contest_change();
        self.node_ports.take_contest_change() || vips
    }

    /// What was noted since the last call.
    pub(crate) fn take_effects(&mut self) -> Effects {
        std::mem::take(&mut self.effects)
    }
}

/// What was given out, and what a barrier frees.
impl Mirror {
    /// A free pool index, if there is one.
    pub(crate) fn take_index(&mut self) -> Option<u32> {
        self.indices.take()
    }

    /// Gives back an index that no reader has been led to.
    pub(crate) fn give_back_index(&mut self, index: u32) {
        self.indices.give(index);
    }

    /// A free range of slots, if there is one.
    pub(crate) fn take_slots(&mut self, count: u32) -> Option<Range> {
        self.slots.take(count)
    }

    /// Gives back slots that no reader has been led to.
    pub(crate) fn give_back_slots(&mut self, range: Range) {
        self.slots.give(range);
    }

    /// No program runs any more that could see what was retired before: slots and recycled elements
    /// are free. Entries of arrays are cleared first, see [`Mirror::index_cleared`] and
    /// [`Mirror::backend_cleared`].
    pub(crate) fn barrier_passed(&mut self) {
        self.recycled = PerTable::default();
        self.slots.release();
    }

    /// The entry of a retired pool index is cleared.
    pub(crate) fn index_cleared(&mut self, index: u32) {
        self.indices.release(index);
    }

    /// The entry of a retired backend is cleared.
    pub(crate) fn backend_cleared(&mut self, id: u32) {
        self.backends.release(id);
    }

    /// A free backend id, pinned, with what to write under it, if there is one.
    pub(crate) fn create_backend(
        &mut self,
        key: BackendKey,
        flags: MemberFlags,
    ) -> Option<(u32, Backend)> {
        self.backends.create(key, flags)
    }

    /// Keeps the backend for a membership to come.
    pub(crate) fn pin_backend(&mut self, id: u32) {
        self.backends.pin(id);
    }

    /// That membership did not come about.
    pub(crate) fn unpin_backend(&mut self, id: u32) {
        self.backends.unpin(id);
    }
}

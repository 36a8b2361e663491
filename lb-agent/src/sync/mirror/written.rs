//! What writers report to the mirror: one method for each kind of element, which keeps counts and
//! users in step.

use lb_common::{
    Addr,
    backend::Backend,
    frontend::{self, FrontendValue, NodeAddr},
};

use super::{
    Mirror, Pin,
    pool::{Entry, PoolState, SlotContent},
    slot_ranges::Range,
    tables::FrontendMap,
};
use crate::{maps::table::SourceRangeKey, plan::desired::MemberFlags};

impl Mirror {
    /// The map holds the backend's entry.
    pub(crate) fn backend_written(&mut self, id: u32, value: &Backend) {
        self.backends.written(id, value);
    }

    /// `lb_members` holds the membership, new or changed. Without such a pool nothing happens, and
    /// the pin stays.
    pub(crate) fn insert_member(&mut self, index: u32, id: u32, flags: MemberFlags, pin: Pin) {
        let Some(pool) = self.pools.get_mut(&index) else {
            return;
        };
        if let Some(before) = pool.insert_member(id, flags) {
            self.backends.change(id, before, flags);
            self.stopped_serving(id, before, Some(flags));
            return;
        }
        self.members += 1;
        if pin == Pin::New {
            self.backends.pin(id);
        }
        self.backends.join(id, flags);
    }

    /// `lb_members` no longer holds the membership.
    pub(crate) fn remove_member(&mut self, index: u32, id: u32) {
        self.effects.freed = true;
        let Some(pool) = self.pools.get_mut(&index) else {
            return;
        };
        let resets = pool.resets();
        if let Some(flags) = pool.remove_member(id) {
            self.effects.connections_lost += u64::from(resets);
            self.members -= 1;
            self.stopped_serving(id, flags, None);
            self.backends.leave(id, flags);
        }
    }

    /// `lb_srcranges` holds the range.
    pub(crate) fn insert_source_range(&mut self, key: SourceRangeKey) {
        if let Some(pool) = self.pools.get_mut(&key.data.pool) {
            self.source_ranges += u32::from(pool.insert_source_range(key));
        }
    }

    /// `lb_srcranges` no longer holds the range.
    pub(crate) fn remove_source_range(&mut self, key: &SourceRangeKey) {
        self.effects.freed = true;
        if let Some(pool) = self.pools.get_mut(&key.data.pool) {
            self.source_ranges -= u32::from(pool.remove_source_range(key));
        }
    }

    /// The pool's entry is written, with its slots as they were.
    pub(crate) fn update_entry(&mut self, index: u32, entry: Entry) {
        if let Some(pool) = self.pools.get_mut(&index) {
            let before = pool.resets();
            pool.set_entry(entry);
            self.effects.connections_lost += u64::from(pool.resets() && !before);
        }
    }

    /// The pool's entry is written and leads to other slots; the range that it led to before is
    /// retired.
    pub(crate) fn switch(
        &mut self,
        index: u32,
        entry: Entry,
        slots: SlotContent,
        range: Option<Range>,
    ) {
        let Some(pool) = self.pools.get_mut(&index) else {
            return;
        };
        let before = pool.resets();
        pool.set_entry(entry);
        self.effects.connections_lost += u64::from(pool.resets() && !before);
        if let Some(old) = pool.set_slots(slots, range) {
            self.effects.freed |= range.is_none_or(|new| new.len < old.len);
            self.slots.retire(old);
        }
    }

    /// Retires the index of a pool that is empty; one that is not stays.
    pub(crate) fn retire(&mut self, index: u32) {
        if !self.pools.get(&index).is_some_and(PoolState::is_empty) {
            return;
        }
        if let Some(range) = self.pools.remove(&index).and_then(|pool| pool.range()) {
            self.slots.retire(range);
        }
        self.to_prune.remove(&index);
        self.indices.retire(index);
        self.effects.freed = true;
    }

    /// The map holds this under the frontend's key, or no longer holds the key.
    pub(crate) fn frontend_written<F: FrontendMap>(
        &mut self,
        key: F::Key,
        value: Option<FrontendValue>,
    ) {
        let before = F::frontends_mut(self).set_written(key, value);
        self.effects.freed |= value.is_none();
        // The mark of a VIP leads to no pool.
        let leads = |r: &FrontendValue| r.flags & frontend::VIP_MARK == 0;
        let (before, now) = (before.filter(leads), value.filter(leads));
        let elsewhere = |b: FrontendValue| now.is_none_or(|n| n.pool != b.pool);
        let lost = F::is_udp(&key) && before.is_some_and(elsewhere);
        self.effects.udp_lost += u64::from(lost);
        if let Some(pool) = now.and_then(|r| self.pools.get_mut(&r.pool)) {
            pool.add_reference();
        }
        if let Some(pool) = before.and_then(|r| self.pools.get_mut(&r.pool)) {
            pool.drop_reference();
        }
    }

    /// The map holds these addresses.
    pub(crate) fn insert_node_addresses(&mut self, entries: &[(Addr, NodeAddr)]) {
        self.node_addresses.extend(entries.iter().copied());
    }

    /// The map no longer holds these addresses.
    pub(crate) fn remove_node_addresses(&mut self, addresses: &[Addr]) {
        self.effects.freed |= !addresses.is_empty();
        for addr in addresses {
            self.node_addresses.remove(addr);
        }
    }

    /// A membership changed, or ended (`now` is `None`): clients of a UDP backend may have to be
    /// reset.
    fn stopped_serving(&mut self, id: u32, before: MemberFlags, now: Option<MemberFlags>) {
        let serves = |flags: MemberFlags| flags.has(MemberFlags::SERVING);
        if serves(before) && !now.is_some_and(serves) && self.backends.is_udp(id) {
            self.effects.udp_lost += 1;
        }
    }
}

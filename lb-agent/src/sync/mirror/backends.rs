//! Backends: an id for each address, port and protocol, shared by all services that use it. Owns the ids and what a
//! backend's entry shows when its users disagree.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
};

use hashbrown::HashTable;

use lb_common::{
    Addr, Proto,
    backend::{Backend, flags, state},
};

use crate::plan::desired::Bits;

use super::ids::Ids;

/// Relative weight of a backend that nobody has weighted.
const WEIGHT: u16 = 100;

/// What a backend is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(in crate::sync) struct BackendKey {
    /// Where it listens.
    pub(in crate::sync) addr: Addr,
    /// Host byte order.
    pub(in crate::sync) port: u16,
    /// IANA number.
    pub(in crate::sync) proto: u8,
}

/// A mirror of `lb_backends`, and who uses what.
pub(in crate::sync) struct Backends {
    ids: Ids,
    /// The entry of an id stands at its place; ids are given out from the smallest on.
    by_id: Vec<Option<Entry>>,
    /// The id of each key; the key itself stands in the entry alone.
    by_key: HashTable<u32>,
    hasher: RandomState,
    /// Entries whose value in the map may be out of date.
    touched: BTreeSet<u32>,
}

struct Entry {
    key: BackendKey,
    /// Memberships, and pins of memberships to come.
    users: u32,
    /// Memberships in which it is not terminating.
    active: u32,
    /// Memberships in which it is local.
    local: u32,
    /// Memberships.
    members: u32,
    /// State and flags as they stand in the map, or as they will first.
    written: (u8, u16),
    /// The entry stands in the map.
    stands: bool,
}

impl Backends {
    /// As read from the map; users come by [`Backends::pin`] and [`Backends::join`].
    pub(in crate::sync) fn restored(limit: u32, found: &BTreeMap<u32, Backend>) -> Self {
        let mut all = Self {
            ids: Ids::restored(limit, &found.keys().copied().collect()),
            by_id: Vec::new(),
            by_key: HashTable::new(),
            hasher: RandomState::new(),
            touched: BTreeSet::new(),
        };
        for (&id, b) in found {
            let key = BackendKey {
                addr: b.addr,
                port: b.port,
                proto: b.proto,
            };
            // The same backend twice would be the work of an interrupted agent: the first id holds, the other is let go by
            // whoever uses it.
            let is_second = all.find(&key).is_some();
            let mut entry = Entry::new(key, (b.state, b.flags));
            entry.stands = true;
            all.put(id, entry);
            if !is_second {
                all.name(id, &key);
            }
            all.ids.retire(id);
        }
        all
    }

    /// The id of a backend that has one.
    pub(in crate::sync) fn find(&self, key: &BackendKey) -> Option<u32> {
        let is_it = |id: &u32| self.get(*id).is_some_and(|e| e.key == *key);
        self.by_key.find(self.hasher.hash_one(key), is_it).copied()
    }

    /// A new id, pinned, and what to write under it; `None` when none is free.
    pub(in crate::sync) fn create(
        &mut self,
        key: BackendKey,
        bits: Bits,
    ) -> Option<(u32, Backend)> {
        let id = self.ids.take()?;
        let mut entry = Entry::new(key, shown(bits));
        entry.users = 1;
        let value = entry.value(entry.written);
        self.put(id, entry);
        self.name(id, &key);
        Some((id, value))
    }

    /// Its entry stands in the map.
    pub(in crate::sync) fn stands(&self, id: u32) -> bool {
        self.get(id).is_some_and(|e| e.stands)
    }

    /// What stands in the map under an id, by all that was written; `None`: nothing.
    pub(in crate::sync) fn standing(&self, id: u32) -> Option<Backend> {
        let entry = self.get(id).filter(|e| e.stands)?;
        Some(entry.value(entry.written))
    }

    /// What to write first under an id whose entry does not stand yet.
    pub(in crate::sync) fn unwritten(&self, id: u32) -> Option<Backend> {
        let entry = self.get(id).filter(|e| !e.stands)?;
        Some(entry.value(entry.written))
    }

    /// Keeps the id from being retired until [`Backends::join`] or [`Backends::unpin`].
    pub(in crate::sync) fn pin(&mut self, id: u32) {
        if let Some(entry) = self.get_mut(id) {
            entry.users += 1;
            self.ids.revive(id);
        }
    }

    /// The membership that it was pinned for did not come about.
    pub(in crate::sync) fn unpin(&mut self, id: u32) {
        if let Some(entry) = self.get_mut(id) {
            entry.users -= 1;
            if entry.users == 0 {
                self.ids.retire(id);
            }
        }
    }

    /// A pin has become a membership.
    pub(in crate::sync) fn join(&mut self, id: u32, bits: Bits) {
        if let Some(entry) = self.get_mut(id) {
            entry.members += 1;
            entry.count(bits, true);
            self.touch(id);
        }
    }

    /// A membership shows something else.
    pub(in crate::sync) fn change(&mut self, id: u32, before: Bits, now: Bits) {
        if let Some(entry) = self.get_mut(id) {
            entry.count(before, false);
            entry.count(now, true);
            self.touch(id);
        }
    }

    /// A membership has ended.
    pub(in crate::sync) fn leave(&mut self, id: u32, bits: Bits) {
        if let Some(entry) = self.get_mut(id) {
            entry.members -= 1;
            entry.count(bits, false);
            self.touch(id);
        }
        self.unpin(id);
    }

    /// Entries to write anew, with their values.
    pub(in crate::sync) fn stale(&self) -> Vec<(u32, Backend)> {
        let touched = self.touched.iter();
        touched
            .filter_map(|id| self.get(*id).map(|e| (*id, e.value(e.wanted()))))
            .collect()
    }

    /// The entry stands in the map as `value`.
    pub(in crate::sync) fn written(&mut self, id: u32, value: &Backend) {
        if let Some(entry) = self.get_mut(id) {
            entry.written = (value.state, value.flags);
            entry.stands = true;
        }
        self.touched.remove(&id);
    }

    /// Ids that wait for a barrier.
    pub(in crate::sync) fn retired(&self) -> &BTreeSet<u32> {
        self.ids.retired()
    }

    /// A barrier has passed and the entry is cleared.
    pub(in crate::sync) fn release(&mut self, id: u32) {
        let key = self.get(id).map(|entry| entry.key);
        let hash = key.map(|key| self.hasher.hash_one(key));
        if let Some(hash) = hash
            && let Ok(named) = self.by_key.find_entry(hash, |named| *named == id)
        {
            named.remove();
        }
        if let Some(place) = self.by_id.get_mut(id as usize) {
            *place = None;
        }
        self.ids.release(id);
    }

    /// Bits of a membership as far as the entry in the map tells.
    pub(in crate::sync) fn shown(&self, id: u32) -> Bits {
        let (state, flags) = self.get(id).map_or((0, 0), |e| e.written);
        Bits::default()
            .with(Bits::TERMINATING, state == state::TERMINATING)
            .with(Bits::LOCAL, flags & flags::LOCAL != 0)
    }

    /// Of UDP?
    pub(in crate::sync) fn is_udp(&self, id: u32) -> bool {
        let entry = self.get(id);
        entry.is_some_and(|e| e.key.proto == Proto::Udp.number())
    }

    /// Entries in use or retired.
    pub(in crate::sync) fn used(&self) -> u32 {
        self.ids.used()
    }

    fn get(&self, id: u32) -> Option<&Entry> {
        self.by_id.get(id as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: u32) -> Option<&mut Entry> {
        self.by_id.get_mut(id as usize)?.as_mut()
    }

    fn put(&mut self, id: u32, entry: Entry) {
        let place = id as usize;
        if self.by_id.len() <= place {
            self.by_id.resize_with(place + 1, || None);
        }
        self.by_id[place] = Some(entry);
    }

    /// From now on the key leads to this id, whose entry stands at its place.
    fn name(&mut self, id: u32, key: &BackendKey) {
        let Self {
            by_id,
            by_key,
            hasher,
            ..
        } = self;
        let hash = |id: &u32| {
            let entry = by_id.get(*id as usize).and_then(Option::as_ref);
            hasher.hash_one(entry.map(|e| e.key).as_ref().unwrap_or(key))
        };
        by_key.insert_unique(hasher.hash_one(key), id, hash);
    }

    fn touch(&mut self, id: u32) {
        let stale = |e: &Entry| e.members > 0 && e.wanted() != e.written;
        if self.get(id).is_some_and(stale) {
            self.touched.insert(id);
        } else {
            self.touched.remove(&id);
        }
    }
}

impl Entry {
    fn new(key: BackendKey, written: (u8, u16)) -> Self {
        Self {
            key,
            users: 0,
            active: 0,
            local: 0,
            members: 0,
            written,
            stands: false,
        }
    }

    fn count(&mut self, bits: Bits, on: bool) {
        let step = |n: &mut u32| *n = if on { *n + 1 } else { *n - 1 };
        if !bits.has(Bits::TERMINATING) {
            step(&mut self.active);
        }
        if bits.has(Bits::LOCAL) {
            step(&mut self.local);
        }
    }

    /// State and flags: active if any user says so, local if any user says so.
    fn wanted(&self) -> (u8, u16) {
        shown(
            Bits::default()
                .with(Bits::TERMINATING, self.active == 0)
                .with(Bits::LOCAL, self.local > 0),
        )
    }

    fn value(&self, (state, flags): (u8, u16)) -> Backend {
        Backend {
            addr: self.key.addr,
            port: self.key.port,
            proto: self.key.proto,
            state,
            weight: WEIGHT,
            flags,
        }
    }
}

fn shown(bits: Bits) -> (u8, u16) {
    let terminating = bits.has(Bits::TERMINATING);
    let state = if terminating {
        state::TERMINATING
    } else {
        state::ACTIVE
    };
    (
        state,
        if bits.has(Bits::LOCAL) {
            flags::LOCAL
        } else {
            0
        },
    )
}

//! Backends: an id for each address, port and protocol, shared by all Services that use it, and
//! what a backend's entry shows when its users disagree.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
};

use hashbrown::HashTable;
use lb_common::{
    Addr, Proto,
    backend::{Backend, flags, state},
};

use super::ids::Ids;
use crate::plan::desired::MemberFlags;

/// Relative weight of a backend without a weight of its own.
const WEIGHT: u16 = 100;

/// Identifies a backend.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct BackendKey {
    /// Where it listens.
    pub(crate) addr: Addr,
    /// Host byte order.
    pub(crate) port: u16,
    /// IANA number.
    pub(crate) proto: u8,
}

/// A mirror of `lb_backends`, with the users of each entry.
pub(crate) struct Backends {
    ids: Ids,
    /// By id; ids are given out from the smallest on.
    by_id: Vec<Option<Entry>>,
    /// The id of each key; only the entry holds the key itself.
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
    /// Memberships in which it is in quarantine.
    quarantined: u32,
    /// Memberships in which it is local.
    local: u32,
    /// Memberships in which its address is this machine's.
    own: u32,
    /// Memberships.
    members: u32,
    /// State and flags in the map, or those to be written first.
    written: (u8, u16),
    /// The map holds the entry.
    is_written: bool,
}

/// What becomes of a membership in the counts of its backend.
#[derive(Clone, Copy)]
enum Change {
    Add,
    Subtract,
}

impl Backends {
    /// As read from the map; users come by [`Backends::pin`] and [`Backends::join`].
    pub(super) fn restored(limit: u32, found: &BTreeMap<u32, Backend>) -> Self {
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
            // An interrupted agent may have left the same backend twice: the first id stays, and
            // the users of the second one move to it.
            let is_second = all.find(&key).is_some();
            let mut entry = Entry::new(key, (b.state, b.flags));
            entry.is_written = true;
            all.put(id, entry);
            if !is_second {
                all.name(id, &key);
            }
            all.ids.retire(id);
        }
        all
    }

    /// The id of a backend that has one.
    pub(crate) fn find(&self, key: &BackendKey) -> Option<u32> {
        let is_it = |id: &u32| self.get(*id).is_some_and(|e| e.key == *key);
        self.by_key.find(self.hasher.hash_one(key), is_it).copied()
    }

    /// A new id, pinned, and what to write under it; `None` when none is free.
    pub(super) fn create(&mut self, key: BackendKey, flags: MemberFlags) -> Option<(u32, Backend)> {
        let id = self.ids.take()?;
        let mut entry = Entry::new(key, shown(flags));
        entry.users = 1;
        let value = entry.value(entry.written);
        self.put(id, entry);
        self.name(id, &key);
        Some((id, value))
    }

    /// The backend of an id.
    pub(crate) fn key(&self, id: u32) -> Option<BackendKey> {
        self.get(id).map(|entry| entry.key)
    }

    /// The map holds its entry.
    pub(crate) fn is_written(&self, id: u32) -> bool {
        self.get(id).is_some_and(|e| e.is_written)
    }

    /// What the map should hold under an id; `None` if its entry is not written.
    pub(crate) fn value(&self, id: u32) -> Option<Backend> {
        let entry = self.get(id).filter(|e| e.is_written)?;
        Some(entry.value(entry.written))
    }

    /// What to write first under an id whose entry is not written yet.
    pub(crate) fn unwritten(&self, id: u32) -> Option<Backend> {
        let entry = self.get(id).filter(|e| !e.is_written)?;
        Some(entry.value(entry.written))
    }

    /// Keeps the id from being retired until [`Backends::join`] or [`Backends::unpin`].
    pub(super) fn pin(&mut self, id: u32) {
        if let Some(entry) = self.get_mut(id) {
            entry.users += 1;
            self.ids.revive(id);
        }
    }

    /// The membership that it was pinned for did not come about.
    pub(super) fn unpin(&mut self, id: u32) {
        if let Some(entry) = self.get_mut(id) {
            entry.users -= 1;
            if entry.users == 0 {
                self.ids.retire(id);
            }
        }
    }

    /// A pin has become a membership.
    pub(super) fn join(&mut self, id: u32, flags: MemberFlags) {
        if let Some(entry) = self.get_mut(id) {
            entry.members += 1;
            entry.count(flags, Change::Add);
            self.touch(id);
        }
    }

    /// A membership shows something else.
    pub(super) fn change(&mut self, id: u32, before: MemberFlags, now: MemberFlags) {
        if let Some(entry) = self.get_mut(id) {
            entry.count(before, Change::Subtract);
            entry.count(now, Change::Add);
            self.touch(id);
        }
    }

    /// A membership has ended.
    pub(super) fn leave(&mut self, id: u32, flags: MemberFlags) {
        if let Some(entry) = self.get_mut(id) {
            entry.members -= 1;
            entry.count(flags, Change::Subtract);
            self.touch(id);
        }
        self.unpin(id);
    }

    /// Entries that differ from what their users say, with their new values.
    pub(crate) fn outdated(&self) -> Vec<(u32, Backend)> {
        let touched = self.touched.iter();
        touched
            .filter_map(|id| self.get(*id).map(|e| (*id, e.value(e.desired()))))
            .collect()
    }

    /// The map holds the entry as `value`.
    pub(super) fn written(&mut self, id: u32, value: &Backend) {
        if let Some(entry) = self.get_mut(id) {
            entry.written = (value.state, value.flags);
            entry.is_written = true;
        }
        self.touched.remove(&id);
    }

    /// Ids that wait for a barrier.
    pub(crate) fn retired(&self) -> &BTreeSet<u32> {
        self.ids.retired()
    }

    /// A barrier has passed and the entry is cleared.
    pub(super) fn release(&mut self, id: u32) {
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

    /// Flags of a membership, as far as the entry in the map shows them.
    pub(super) fn shown(&self, id: u32) -> MemberFlags {
        let (state, flags) = self.get(id).map_or((0, 0), |e| e.written);
        MemberFlags::default()
            .with(MemberFlags::TERMINATING, state == state::TERMINATING)
            .with(MemberFlags::QUARANTINED, state == state::QUARANTINED)
            .with(MemberFlags::LOCAL, flags & flags::LOCAL != 0)
            .with(MemberFlags::OWN, flags & flags::OWN != 0)
    }

    /// Is it a backend of UDP?
    pub(super) fn is_udp(&self, id: u32) -> bool {
        let entry = self.get(id);
        entry.is_some_and(|e| e.key.proto == Proto::Udp.number())
    }

    /// Entries in use or retired.
    pub(super) fn used(&self) -> u32 {
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

    /// From now on the key leads to this id, whose entry exists.
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
        let stale = |e: &Entry| e.members > 0 && e.desired() != e.written;
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
            quarantined: 0,
            local: 0,
            own: 0,
            members: 0,
            written,
            is_written: false,
        }
    }

    fn count(&mut self, flags: MemberFlags, change: Change) {
        let step = |n: &mut u32| match change {
            Change::Add => *n += 1,
            Change::Subtract => *n -= 1,
        };
        if !flags.has(MemberFlags::TERMINATING) {
            step(&mut self.active);
        }
        if flags.has(MemberFlags::QUARANTINED) {
            step(&mut self.quarantined);
        }
        if flags.has(MemberFlags::LOCAL) {
            step(&mut self.local);
        }
        if flags.has(MemberFlags::OWN) {
            step(&mut self.own);
        }
    }

    /// State and flags: each is set if any user says so.
    fn desired(&self) -> (u8, u16) {
        shown(
            MemberFlags::default()
                .with(MemberFlags::TERMINATING, self.active == 0)
                .with(MemberFlags::QUARANTINED, self.quarantined > 0)
                .with(MemberFlags::LOCAL, self.local > 0)
                .with(MemberFlags::OWN, self.own > 0),
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

/// State and flags of an entry.
fn shown(member: MemberFlags) -> (u8, u16) {
    let bit = |of, bit| if member.has(of) { bit } else { 0 };
    let flags = bit(MemberFlags::LOCAL, flags::LOCAL) | bit(MemberFlags::OWN, flags::OWN);
    (member.entry_state(), flags)
}

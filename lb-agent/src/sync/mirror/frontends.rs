//! Frontends: which Services want each, which of them owns it, and what the map holds. The oldest
//! Service owns a contested frontend.

use std::{collections::BTreeSet, hash::Hash, sync::Arc};

use indexmap::IndexMap;
use jiff::Timestamp;
use lb_common::frontend::{self, FrontendValue};

use crate::model::ObjectKey;

/// What a Service wants of a frontend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ownership {
    /// Shared by all frontends of the Service.
    pub(crate) owner: Arc<Owner>,
    /// Pool index; `None` for the mark of a VIP, which any number of services may share.
    pub(crate) index: Option<u32>,
    /// For the mark of a VIP: the pool index that decides whether the address answers ping. It may
    /// belong to another pool by now, which does no harm.
    pub(crate) ping_pool: Option<u32>,
    /// See [`lb_common::frontend`].
    pub(crate) flags: u32,
}

/// A Service that wants frontends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    /// Its name.
    pub(crate) service: ObjectKey,
    /// Its age.
    pub(crate) created: Option<Timestamp>,
}

impl Ownership {
    /// See [`Service::rank`](crate::model::Service::rank).
    fn rank(&self) -> (bool, Option<Timestamp>, &ObjectKey) {
        let Owner { service, created } = &*self.owner;
        (created.is_none(), *created, service)
    }
}

/// One kind of frontends: a map of the ABI.
pub(crate) struct FrontendTable<K> {
    by_key: IndexMap<K, Frontend>,
    /// How many the map holds.
    written: usize,
    /// Keys whose entry may have to change.
    dirty: BTreeSet<K>,
    /// Keys that more than one Service wants.
    contested: BTreeSet<K>,
    /// A contest began, changed or ended since [`FrontendTable::take_contest_change`].
    contest_changed: bool,
}

#[derive(Default)]
struct Frontend {
    written: Option<FrontendValue>,
    /// Almost always one, so there is room for no more.
    wanted_by: Vec<Ownership>,
}

/// What is to happen to one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// The map does not hold the key.
    Insert(FrontendValue, ObjectKey),
    /// The map holds another value.
    Replace(FrontendValue, ObjectKey),
    /// No Service wants it.
    Remove,
}

impl<K: Copy + Ord + Hash> FrontendTable<K> {
    /// As read from the map.
    pub(super) fn restored(found: &[(K, FrontendValue)]) -> Self {
        let by_key = found.iter().map(|(key, value)| {
            let front = Frontend {
                written: Some(*value),
                wanted_by: Vec::new(),
            };
            (*key, front)
        });
        Self {
            written: found.len(),
            by_key: by_key.collect(),
            dirty: BTreeSet::new(),
            contested: BTreeSet::new(),
            contest_changed: false,
        }
    }

    /// A Service wants this, in place of what it wanted of the key before.
    pub(super) fn own(&mut self, key: K, ownership: Ownership) {
        let front = self.by_key.entry(key).or_default();
        match front
            .wanted_by
            .iter_mut()
            .find(|known| known.owner.service == ownership.owner.service)
        {
            Some(known) if *known == ownership => return,
            Some(known) => *known = ownership,
            None => {
                front.wanted_by.reserve_exact(1);
                front.wanted_by.push(ownership);
            }
        }
        self.touch(key);
    }

    /// The Service no longer wants it.
    pub(super) fn release(&mut self, key: K, service: &ObjectKey) {
        if let Some(front) = self.by_key.get_mut(&key) {
            front.wanted_by.retain(|c| c.owner.service != *service);
            self.touch(key);
        }
    }

    /// What no Service wants by now is to go.
    pub(super) fn sweep(&mut self) {
        let unwanted = self.by_key.iter().filter(|(_, f)| f.wanted_by.is_empty());
        self.dirty.extend(unwanted.map(|(key, _)| *key));
    }

    /// Every key that Services want, with the flags of all of them.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (K, u32)> {
        let owned = self.by_key.iter().filter(|(_, f)| !f.wanted_by.is_empty());
        owned.map(|(key, f)| (*key, f.wanted_by.iter().fold(0, |all, c| all | c.flags)))
    }

    /// What the map holds under the key.
    pub(crate) fn written(&self, key: &K) -> Option<FrontendValue> {
        self.by_key.get(key)?.written
    }

    /// The map now holds this; returns what it held.
    pub(super) fn set_written(
        &mut self,
        key: K,
        value: Option<FrontendValue>,
    ) -> Option<FrontendValue> {
        let front = self.by_key.entry(key).or_default();
        let before = std::mem::replace(&mut front.written, value);
        self.written += usize::from(value.is_some());
        self.written -= usize::from(before.is_some());
        if value.is_none() && front.wanted_by.is_empty() {
            self.by_key.swap_remove(&key);
        }
        self.dirty.remove(&key);
        before
    }

    /// What has to be written, by key. Keys that are as desired are forgotten; a key whose pool is
    /// not `is_live` waits.
    pub(super) fn steps(&mut self, is_live: impl Fn(u32) -> bool) -> Vec<(K, Step)> {
        let mut steps = Vec::new();
        let mut settled = Vec::new();
        for &key in &self.dirty {
            let Some(front) = self.by_key.get(&key) else {
                settled.push(key);
                continue;
            };
            match (front.desired(), front.written) {
                (None, None) => settled.push(key),
                (None, Some(_)) => steps.push((key, Step::Remove)),
                (Some((value, _)), Some(actual)) if value == actual => settled.push(key),
                (Some((value, owner)), actual) => {
                    let leads = value.flags & frontend::VIP_MARK == 0;
                    if leads && !is_live(value.pool) {
                        continue;
                    }
                    let step = match actual {
                        None => Step::Insert(value, owner.clone()),
                        Some(_) => Step::Replace(value, owner.clone()),
                    };
                    steps.push((key, step));
                }
            }
        }
        for key in settled {
            self.dirty.remove(&key);
        }
        steps
    }

    /// `count` keys before the place `end`, each with its entry if the map holds it, and the place
    /// of the first of them. A walk that goes on from there to the first place meets every key that
    /// is present all the time: new keys come at the end, and the last one takes the place of one
    /// that goes.
    pub(super) fn before(
        &self,
        end: usize,
        count: usize,
    ) -> (usize, impl Iterator<Item = (K, Option<FrontendValue>)>) {
        let end = end.min(self.by_key.len());
        let start = end.saturating_sub(count);
        let some = (start..end).filter_map(|place| self.by_key.get_index(place));
        (start, some.map(|(key, front)| (*key, front.written)))
    }

    /// Keys that the map holds.
    pub(super) fn len(&self) -> usize {
        self.written
    }

    /// Did a contest begin, change or end since the last call?
    pub(super) fn take_contest_change(&mut self) -> bool {
        std::mem::take(&mut self.contest_changed)
    }

    /// Each Service that does not own a frontend that it wants, with the one that does.
    pub(super) fn conflicts(&self) -> impl Iterator<Item = (K, &ObjectKey, &ObjectKey)> {
        self.contested.iter().flat_map(|key| {
            let all = self.by_key.get(key).map_or(&[][..], |f| &f.wanted_by);
            let winner = all.iter().min_by_key(|c| c.rank());
            all.iter().filter_map(move |c| {
                let winner = winner?;
                (c.owner.service != winner.owner.service).then_some((
                    *key,
                    &c.owner.service,
                    &winner.owner.service,
                ))
            })
        })
    }

    fn touch(&mut self, key: K) {
        self.dirty.insert(key);
        let Some(front) = self.by_key.get(&key) else {
            return;
        };
        let contest = front.wanted_by.iter().filter(|c| c.index.is_some()).count() > 1;
        let was = if contest {
            !self.contested.insert(key)
        } else {
            self.contested.remove(&key)
        };
        self.contest_changed |= was || contest;
        if front.wanted_by.is_empty() && front.written.is_none() {
            self.by_key.swap_remove(&key);
        }
    }
}

impl Frontend {
    /// The entry that the map should hold, and its owner.
    fn desired(&self) -> Option<(FrontendValue, &ObjectKey)> {
        let winner = self.wanted_by.iter().min_by_key(|c| c.rank())?;
        let flags = match winner.index {
            Some(_) => winner.flags,
            None => self.wanted_by.iter().fold(0, |all, c| all | c.flags),
        };
        let index = winner.index.or(winner.ping_pool).unwrap_or(0);
        Some((FrontendValue { pool: index, flags }, &winner.owner.service))
    }
}

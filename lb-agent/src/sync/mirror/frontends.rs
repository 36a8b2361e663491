//! Frontends: who claims which, who wins, and what stands in the map. Owns the order of precedence between services.

use std::{collections::BTreeSet, hash::Hash, sync::Arc};

use indexmap::IndexMap;
use jiff::Timestamp;
use lb_common::frontend::{self, FrontendValue};

use crate::model::ObjectKey;

/// A Service's wish for a frontend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sync) struct Claim {
    /// Who. All claims of a Service share it.
    pub(in crate::sync) by: Arc<Claimant>,
    /// Service index; `None` for the mark of a VIP, which any number of services may share.
    pub(in crate::sync) index: Option<u32>,
    /// For the mark of a VIP: the service index that it asks. It may be given away meanwhile, which does no harm.
    pub(in crate::sync) asks: Option<u32>,
    /// See [`lb_common::frontend`].
    pub(in crate::sync) flags: u32,
}

/// A Service that claims frontends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sync) struct Claimant {
    /// Its name.
    pub(in crate::sync) service: ObjectKey,
    /// Its age.
    pub(in crate::sync) created: Option<Timestamp>,
}

impl Claim {
    /// See [`Service::rank`](crate::model::Service::rank).
    fn rank(&self) -> (bool, Option<Timestamp>, &ObjectKey) {
        let Claimant { service, created } = &*self.by;
        (created.is_none(), *created, service)
    }
}

/// One kind of frontends: a map of the ABI.
pub(in crate::sync) struct Fronts<K> {
    by_key: IndexMap<K, Front>,
    /// How many stand in the map.
    standing: usize,
    /// Keys whose entry may have to change.
    dirty: BTreeSet<K>,
    /// Keys with more than one claim.
    contested: BTreeSet<K>,
    /// A claim on one of these came, went or changed since this was last taken.
    pub(in crate::sync) contest: bool,
    /// An element was freed since the last barrier: the next one taken could be the same, under a reader's eyes.
    pub(in crate::sync) freed: bool,
}

#[derive(Default)]
struct Front {
    written: Option<FrontendValue>,
    /// Almost always one, hence room for no more.
    claims: Vec<Claim>,
}

/// What is to happen to one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sync) enum Step {
    /// Nothing stands there.
    Insert(FrontendValue, ObjectKey),
    /// Something else stands there.
    Replace(FrontendValue, ObjectKey),
    /// Nobody claims it.
    Remove,
}

impl<K: Copy + Ord + Hash> Fronts<K> {
    /// As read from the map.
    pub(in crate::sync) fn restored(found: &[(K, FrontendValue)]) -> Self {
        let by_key = found.iter().map(|(key, value)| {
            let front = Front {
                written: Some(*value),
                claims: Vec::new(),
            };
            (*key, front)
        });
        Self {
            standing: found.len(),
            by_key: by_key.collect(),
            dirty: BTreeSet::new(),
            contested: BTreeSet::new(),
            contest: false,
            freed: false,
        }
    }

    /// The Service wants this, in place of what it wanted of the key before.
    pub(in crate::sync) fn claim(&mut self, key: K, claim: Claim) {
        let front = self.by_key.entry(key).or_default();
        match front
            .claims
            .iter_mut()
            .find(|c| c.by.service == claim.by.service)
        {
            Some(known) if *known == claim => return,
            Some(known) => *known = claim,
            None => {
                front.claims.reserve_exact(1);
                front.claims.push(claim);
            }
        }
        self.touch(key);
    }

    /// The Service no longer wants it.
    pub(in crate::sync) fn release(&mut self, key: K, service: &ObjectKey) {
        if let Some(front) = self.by_key.get_mut(&key) {
            front.claims.retain(|c| c.by.service != *service);
            self.touch(key);
        }
    }

    /// What nobody has claimed by now is to go.
    pub(in crate::sync) fn sweep(&mut self) {
        let unclaimed = self.by_key.iter().filter(|(_, f)| f.claims.is_empty());
        self.dirty.extend(unclaimed.map(|(key, _)| *key));
    }

    /// Every key that somebody claims, with all the claims' flags.
    pub(in crate::sync) fn claimed(&self) -> impl Iterator<Item = (K, u32)> {
        let claimed = self.by_key.iter().filter(|(_, f)| !f.claims.is_empty());
        claimed.map(|(key, f)| (*key, f.claims.iter().fold(0, |all, c| all | c.flags)))
    }

    /// What stands in the map under the key.
    pub(in crate::sync) fn written(&self, key: &K) -> Option<FrontendValue> {
        self.by_key.get(key)?.written
    }

    /// The map now holds this; returns what it held.
    pub(in crate::sync) fn set_written(
        &mut self,
        key: K,
        value: Option<FrontendValue>,
    ) -> Option<FrontendValue> {
        let front = self.by_key.entry(key).or_default();
        let before = std::mem::replace(&mut front.written, value);
        self.standing += usize::from(value.is_some());
        self.standing -= usize::from(before.is_some());
        if value.is_none() && front.claims.is_empty() {
            self.by_key.swap_remove(&key);
        }
        self.dirty.remove(&key);
        before
    }

    /// What is to be done, by key; keys that stand as they should are forgotten. A key whose pool `live` denies waits.
    pub(in crate::sync) fn steps(&mut self, live: impl Fn(u32) -> bool) -> Vec<(K, Step)> {
        let mut steps = Vec::new();
        let mut settled = Vec::new();
        for &key in &self.dirty {
            let Some(front) = self.by_key.get(&key) else {
                settled.push(key);
                continue;
            };
            match (front.wanted(), front.written) {
                (None, None) => settled.push(key),
                (None, Some(_)) => steps.push((key, Step::Remove)),
                (Some((value, _)), Some(stands)) if value == stands => settled.push(key),
                (Some((value, who)), stands) => {
                    let leads = value.flags & frontend::VIP_MARK == 0;
                    if leads && !live(value.pool) {
                        continue;
                    }
                    let step = match stands {
                        None => Step::Insert(value, who.clone()),
                        Some(_) => Step::Replace(value, who.clone()),
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

    /// So many keys before the place `end`, each with its entry where it stands in the map, and the place of the first of
    /// them. Whoever goes on from there to the first place of all meets every key that is there all the time: new ones come
    /// at the end, and the last one takes the place of one that goes.
    pub(in crate::sync) fn before(
        &self,
        end: usize,
        count: usize,
    ) -> (usize, impl Iterator<Item = (K, Option<FrontendValue>)>) {
        let end = end.min(self.by_key.len());
        let start = end.saturating_sub(count);
        let some = (start..end).filter_map(|place| self.by_key.get_index(place));
        (start, some.map(|(key, front)| (*key, front.written)))
    }

    /// Keys in the map.
    pub(in crate::sync) fn len(&self) -> usize {
        self.standing
    }

    /// Each claim that lost, with the Service that won.
    pub(in crate::sync) fn losers(&self) -> impl Iterator<Item = (K, &Claim, &ObjectKey)> {
        self.contested.iter().flat_map(|key| {
            let claims = self.by_key.get(key).map_or(&[][..], |f| &f.claims);
            let winner = claims.iter().min_by_key(|c| c.rank());
            claims.iter().filter_map(move |c| {
                let winner = winner?;
                (c.by.service != winner.by.service).then_some((*key, c, &winner.by.service))
            })
        })
    }

    fn touch(&mut self, key: K) {
        self.dirty.insert(key);
        let Some(front) = self.by_key.get(&key) else {
            return;
        };
        let contest = front.claims.iter().filter(|c| c.index.is_some()).count() > 1;
        let was = if contest {
            !self.contested.insert(key)
        } else {
            self.contested.remove(&key)
        };
        self.contest |= was || contest;
        if front.claims.is_empty() && front.written.is_none() {
            self.by_key.swap_remove(&key);
        }
    }
}

impl Front {
    /// The entry, and whose it is.
    fn wanted(&self) -> Option<(FrontendValue, &ObjectKey)> {
        let winner = self.claims.iter().min_by_key(|c| c.rank())?;
        let flags = match winner.index {
            Some(_) => winner.flags,
            None => self.claims.iter().fold(0, |all, c| all | c.flags),
        };
        let index = winner.index.or(winner.asks).unwrap_or(0);
        Some((FrontendValue { pool: index, flags }, &winner.by.service))
    }
}

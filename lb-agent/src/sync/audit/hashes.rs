//! Hash maps and the trie, in two rounds of pages: what stands there against the mirror, and then, if that cannot tell that
//! nothing is missing, the mirror against what stands there. Owns the barriers between repaired frontends.
//!
//! A page and its comparison are one step of the only task that writes, so that what is read now has to be what the mirror
//! says now. An entry that somebody changed for good is met in its bucket, or in its turn in the mirror, whatever the agent
//! writes between the pages.

use std::{fmt::Debug, hash::Hash};

use lb_common::{
    Addr,
    frontend::{FrontendValue, NodeAddr, NodePortKey, VipKey},
    member::MemberKey,
};

use crate::maps::{
    Maps,
    table::{Batch, HashTable, MapError, Page, SourceRangeKey},
};

use super::{At, Audit, Place, Report, Stage, State, Writes};
use crate::sync::{mirror::frontends::Fronts, report::fail, write::batch};

/// Overwritten frontends that one audit of a map repairs, with a barrier (8 ms) before each; the next one does the rest.
const REPLACED: usize = 32;
/// Of these, in one step.
const AT_ONCE: usize = 1;

/// A page of the mirror, and where the next one begins.
type Mirrored<K, V> = (Vec<(K, V)>, Option<At>);

/// What is to be known of a map.
pub(super) struct Audited<K: 'static, V: 'static> {
    table: for<'a> fn(&'a mut Maps) -> &'a mut dyn HashTable<K, V>,
    /// What should stand under a key.
    wanted: fn(&State, &K) -> Option<V>,
    /// So much of what should stand there, and where to go on.
    page: fn(&State, At, usize) -> Mirrored<K, V>,
    /// How much should stand there.
    count: fn(&State) -> usize,
    writes: fn(&mut Writes) -> &mut u64,
    /// Elements lead readers somewhere: between one that was freed and the next that is taken stands a barrier.
    freed: Option<fn(&mut State) -> &mut bool>,
}

pub(super) const MEMBERS: Audited<MemberKey, u32> = Audited {
    table: |maps| &mut *maps.members,
    wanted: |state, key| {
        let bits = state.pools.get(&key.pool)?.members.get(&key.backend)?;
        Some(bits.member_flags())
    },
    page: members,
    count: |state| state.members as usize,
    writes: |writes| &mut writes.members,
    freed: None,
};

pub(super) const RANGES: Audited<SourceRangeKey, u8> = Audited {
    table: |maps| &mut *maps.srcranges,
    wanted: |state, key| {
        let pool = state.pools.get(&key.data.pool)?;
        pool.source_ranges.contains(key).then_some(1)
    },
    // All of them: the trie can only be asked for what is missing as a whole.
    page: |state, _, _| {
        let pools = state.pools.values();
        let all = pools.flat_map(|pool| pool.source_ranges.iter().map(|key| (*key, 1)));
        (all.collect(), None)
    },
    count: |state| state.source_ranges as usize,
    writes: |writes| &mut writes.srcranges,
    freed: None,
};

pub(super) const SERVICES: Audited<VipKey, FrontendValue> = Audited {
    table: |maps| &mut *maps.frontends,
    wanted: |state, key| state.services.written(key),
    page: |state, at, count| fronts(&state.services, at, count),
    count: |state| state.services.len(),
    writes: |writes| &mut writes.services,
    freed: Some(|state| &mut state.services.freed),
};

pub(super) const NODEPORTS: Audited<NodePortKey, FrontendValue> = Audited {
    table: |maps| &mut *maps.nodeports,
    wanted: |state, key| state.nodeports.written(key),
    page: |state, at, count| fronts(&state.nodeports, at, count),
    count: |state| state.nodeports.len(),
    writes: |writes| &mut writes.nodeports,
    freed: Some(|state| &mut state.nodeports.freed),
};

pub(super) const NODEADDRS: Audited<Addr, NodeAddr> = Audited {
    table: |maps| &mut *maps.nodeaddrs,
    wanted: |state, key| state.nodeaddrs.get(key).copied(),
    // A machine has a handful.
    page: |state, _, _| {
        (
            state.nodeaddrs.iter().map(|(k, v)| (*k, *v)).collect(),
            None,
        )
    },
    count: |state| state.nodeaddrs.len(),
    writes: |writes| &mut writes.nodeaddrs,
    freed: Some(|state| &mut state.nodeaddrs_freed),
};

fn fronts<K: Copy + Ord + Hash>(
    fronts: &Fronts<K>,
    at: At,
    count: usize,
) -> Mirrored<K, FrontendValue> {
    let end = match at {
        At::Before(place) => place,
        _ => usize::MAX,
    };
    let (start, some) = fronts.before(end, count);
    let standing = some.filter_map(|(key, entry)| Some((key, entry?)));
    (standing.collect(), (start > 0).then_some(At::Before(start)))
}

/// By pool, each by backend.
fn members(state: &State, at: At, count: usize) -> Mirrored<MemberKey, u32> {
    let mut found = Vec::new();
    let (mut service, mut from) = match at {
        At::Index(service, from) => (service, from),
        _ => (1, 0),
    };
    // Indices without members take their time too.
    let mut looked = 0;
    while service < state.capacity.svc {
        looked += 1;
        let pool = state.pools.get(&service);
        for (&backend, bits) in pool.into_iter().flat_map(|pool| pool.members.range(from..)) {
            if found.len() >= count {
                return (found, Some(At::Index(service, backend)));
            }
            let key = MemberKey {
                pool: service,
                backend,
            };
            found.push((key, bits.member_flags()));
        }
        (service, from) = (service + 1, 0);
        if looked >= 4 * count || found.len() >= count {
            return (found, Some(At::Index(service, 0)));
        }
    }
    (found, None)
}

impl<K: Copy + Debug, V: Copy + PartialEq + Debug> Audited<K, V> {
    /// One page; the next stage, or `None` when the part is through. `quiet`: nothing was written to the map since the part
    /// began.
    pub(super) fn step(
        &self,
        state: &mut State,
        maps: &mut Maps,
        place: &mut Place,
        quiet: bool,
        audit: &mut Audit,
    ) -> Result<Option<Stage>, MapError> {
        let page = place.page;
        let before = *(self.writes)(&mut audit.report.writes);
        match place.stage.clone() {
            Stage::Stands(from) => {
                let Page {
                    entries,
                    next,
                    unseen,
                } = (self.table)(maps).page(from.as_ref(), page)?;
                audit.passed_over(unseen);
                let again = self.stands(entries, state, maps, place, audit)?;
                if again {
                    return Ok(Some(Stage::Stands(from)));
                }
                if next.is_some() {
                    return Ok(Some(Stage::Stands(next)));
                }
                let quiet = quiet && before == *(self.writes)(&mut audit.report.writes);
                // Each entry once and all as they should be: nothing is missing.
                let whole = quiet && place.matched == (self.count)(state) as u64;
                Ok((!whole).then_some(Stage::Wanted(At::Start)))
            }
            Stage::Wanted(at) => {
                let (entries, next) = (self.page)(state, at, page);
                let missing = (self.table)(maps).gone(entries)?;
                self.missing(&missing, state, maps, audit)?;
                Ok(next.map(Stage::Wanted))
            }
        }
    }

    /// Repairs what is not as it should be; true if some of it waits for the next step.
    fn stands(
        &self,
        entries: Vec<(K, V)>,
        state: &mut State,
        maps: &mut Maps,
        place: &mut Place,
        audit: &mut Audit,
    ) -> Result<bool, MapError> {
        let (mut changed, mut foreign) = (Vec::new(), Vec::new());
        for (key, value) in entries {
            match (self.wanted)(state, &key) {
                Some(right) if right == value => place.matched += 1,
                Some(right) => changed.push((key, value, right)),
                None => {
                    audit.found(|| format!("{key:?} is not ours, with {value:?}"));
                    foreign.push(key);
                }
            }
        }
        let left = REPLACED.saturating_sub(place.replaced);
        let room = self.freed.map_or(usize::MAX, |_| AT_ONCE.min(left));
        // What waits is met again, and counted then.
        let waits = changed.len() > room && left > room;
        let told = if waits { room } else { changed.len() };
        for (key, value, right) in changed.iter().take(told) {
            audit.found(|| format!("{key:?} was {value:?} instead of {right:?}"));
        }
        let mut written = 0;
        let now: Vec<(K, V)> = changed
            .iter()
            .take(room)
            .map(|(k, _, v)| (*k, *v))
            .collect();
        if let Some(freed) = self.freed {
            place.replaced += now.len();
            for one in now {
                // Whoever overwrote it has waited for nobody.
                state.barrier(maps, &mut audit.report)?;
                written += insert((self.table)(maps), &[one], &mut audit.report);
                *freed(state) = true;
            }
        } else {
            written += insert((self.table)(maps), &now, &mut audit.report);
        }
        if !foreign.is_empty() {
            written += remove((self.table)(maps), &foreign, &mut audit.report);
            if let Some(freed) = self.freed {
                *freed(state) = true;
            }
        }
        *(self.writes)(&mut audit.report.writes) += written;
        Ok(waits && audit.report.failed.is_empty())
    }

    fn missing(
        &self,
        missing: &[(K, V)],
        state: &mut State,
        maps: &mut Maps,
        audit: &mut Audit,
    ) -> Result<(), MapError> {
        for (key, value) in missing {
            audit.found(|| format!("{key:?} was gone, with {value:?}"));
        }
        if missing.is_empty() {
            return Ok(());
        }
        if let Some(freed) = self.freed {
            *freed(state) = true;
            state.barrier(maps, &mut audit.report)?;
        }
        let written = insert((self.table)(maps), missing, &mut audit.report);
        *(self.writes)(&mut audit.report.writes) += written;
        Ok(())
    }
}

fn insert<K: Copy, V: Copy>(
    table: &mut dyn HashTable<K, V>,
    entries: &[(K, V)],
    report: &mut Report,
) -> u64 {
    run(entries, |entries| table.insert(entries), report)
}

fn remove<K: Copy, V>(table: &mut dyn HashTable<K, V>, keys: &[K], report: &mut Report) -> u64 {
    run(keys, |keys| table.remove(keys), report)
}

fn run<T>(items: &[T], write: impl FnMut(&[T]) -> Batch, report: &mut Report) -> u64 {
    let mut done = 0;
    let mut errors = Vec::new();
    batch::run(
        items,
        write,
        |_, result| match result {
            Ok(()) => done += 1,
            Err(error) => errors.push(error),
        },
        |_| false,
    );
    for error in errors {
        fail(report, None, error);
    }
    done
}

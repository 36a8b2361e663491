//! Writes of pools, in the order that readers need: backends → source ranges → members → slots → word 0, and what is to go
//! behind that. Owns what happens when an element fails: its pool stays as it was, the rest goes on, nothing leaks.

use std::collections::BTreeSet;

use lb_common::{backend::Backend, maps, slot::Slot};

use crate::{
    maps::{Maps, table::MapError},
    model::ObjectKey,
    plan::{Pool, desired::Bits},
};

use super::{
    diff::{PoolDiff, diff},
    members::{ranges_in, remove_members, remove_ranges, set_member, write_members},
};
use crate::sync::{
    mirror::{backends::BackendKey, pool::PoolState, state::State},
    report::{Report, fail},
};

/// One pool on its way into the maps.
pub(in crate::sync) struct Job {
    /// Whose it is.
    pub(in crate::sync) service: ObjectKey,
    pub(in crate::sync) index: u32,
    pub(in crate::sync) diff: PoolDiff,
    /// Backends whose entry is to be written first.
    created: Vec<(u32, Backend)>,
    /// Backends held for memberships to come.
    pub(in crate::sync) pinned: BTreeSet<u32>,
    /// The first thing that failed; nothing of this job is written behind it.
    pub(in crate::sync) error: Option<MapError>,
}

impl Job {
    /// Finds or makes ids for the pool's backends, and compares. `None` if the pool stands as it should.
    pub(in crate::sync) fn new(
        service: &ObjectKey,
        pool: &Pool,
        index: u32,
        state: &mut State,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Option<Self> {
        let mut job = Self {
            service: service.clone(),
            index,
            diff: PoolDiff::default(),
            created: Vec::new(),
            pinned: BTreeSet::new(),
            error: None,
        };
        let mut members = Vec::with_capacity(pool.members.len());
        for member in &pool.members {
            let key = BackendKey {
                addr: member.addr,
                port: member.port,
                proto: pool.id.proto.number(),
            };
            match job.resolve(key, member.bits, state, maps, report) {
                Ok(id) => members.push((id, member.bits)),
                Err(error) => {
                    job.error = Some(error);
                    return Some(job);
                }
            }
        }
        job.diff = diff(pool, index, &members, state.pools.get(&index)?);
        (job.diff != PoolDiff::default()).then_some(job)
    }

    fn resolve(
        &mut self,
        key: BackendKey,
        bits: Bits,
        state: &mut State,
        maps: &mut Maps,
        report: &mut Report,
    ) -> Result<u32, MapError> {
        if let Some(id) = state.backends.find(&key) {
            let pool = state.pools.get(&self.index);
            let known = pool.is_some_and(|p| p.members.contains_key(&id));
            if !known && self.pinned.insert(id) {
                state.backends.pin(id);
            }
            if let Some(value) = state.backends.unwritten(id) {
                self.created.push((id, value));
            }
            return Ok(id);
        }
        let mut made = state.backends.create(key, bits);
        if made.is_none() && !state.backends.retired().is_empty() {
            state.barrier(maps, report)?;
            made = state.backends.create(key, bits);
        }
        let (id, value) = made.ok_or(MapError::Full {
            map: maps::BACKENDS.name,
            capacity: state.capacity.backends,
        })?;
        self.pinned.insert(id);
        self.created.push((id, value));
        Ok(id)
    }
}

/// Everything that must stand before frontends may lead to the pools.
pub(in crate::sync) fn rise(
    jobs: &mut [Job],
    state: &mut State,
    maps: &mut Maps,
    report: &mut Report,
) {
    for job in jobs.iter_mut().filter(|job| job.error.is_none()) {
        for (id, value) in &job.created {
            // Two jobs may count on the same new backend: the first one that can writes it.
            if state.backends.stands(*id) {
                continue;
            }
            let fresh = maps.programs.reset_backend(*id);
            match fresh.and_then(|()| maps.backends.store(*id, value)) {
                Ok(()) => {
                    report.writes.backends += 1;
                    state.backends.written(*id, value);
                }
                Err(error) => {
                    job.error.get_or_insert(error);
                    break;
                }
            }
        }
    }
    ranges_in(jobs, state, maps, report);
    write_members(jobs, |d| &d.rises, state, maps, report);
    for job in &mut *jobs {
        if job.error.is_some() {
            continue;
        }
        match switch(job, state, maps, report) {
            Ok(()) => state.prove(job.index),
            Err(error) => job.error = Some(error),
        }
    }
    for job in jobs {
        for id in std::mem::take(&mut job.pinned) {
            state.backends.unpin(id);
        }
        if let Some(error) = job.error.clone() {
            fail(report, Some(job.service.clone()), error);
        }
    }
}

/// Places the new slots and stores the entry of the service, word 0 last.
fn switch(
    job: &mut Job,
    state: &mut State,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<(), MapError> {
    let Some(mut entry) = job.diff.entry else {
        return Ok(());
    };
    let index = job.index;
    let Some(slots) = job.diff.slots.take() else {
        maps.pools.store(index, &entry)?;
        report.writes.svc += 1;
        if let Some(pool) = state.pools.get_mut(&index) {
            pool.svc = entry;
        }
        return Ok(());
    };
    let count = u16::try_from(slots.len()).unwrap_or(u16::MAX);
    let range = match count {
        0 => None,
        n => Some(state.take_range(n.into(), maps, report)?),
    };
    let written = place(range.map_or(0, |r| r.base), &slots, index, maps).and_then(|()| {
        report.writes.slots += slots.len() as u64;
        entry.base = range.map_or(0, |r| r.base);
        entry.count = count;
        entry.generation = entry.generation.wrapping_add(1);
        maps.pools.store(index, &entry)
    });
    if let Err(error) = written {
        // Nothing ever led there.
        if let Some(range) = range {
            state.ranges.give(range);
        }
        return Err(error);
    }
    report.writes.svc += 1;
    if let Some(pool) = state.pools.get_mut(&index) {
        pool.svc = entry;
        pool.slots = slots;
        if let Some(old) = std::mem::replace(&mut pool.range, range) {
            report.freed |= range.is_none_or(|new| new.len < old.len);
            state.ranges.retire(old);
        }
    }
    Ok(())
}

fn place(base: u32, slots: &[u32], service: u32, maps: &mut Maps) -> Result<(), MapError> {
    let slots: Vec<Slot> = slots
        .iter()
        .map(|&backend| Slot {
            backend,
            pool: service,
        })
        .collect();
    maps.slots.store_run(base, &slots)
}

/// Everything that may go once nothing leads to it any more.
pub(in crate::sync) fn fall(
    jobs: &mut [Job],
    state: &mut State,
    maps: &mut Maps,
    report: &mut Report,
) {
    let before: Vec<bool> = jobs.iter().map(|j| j.error.is_some()).collect();
    write_members(jobs, |d| &d.falls, state, maps, report);
    for job in jobs.iter_mut().filter(|j| j.error.is_none()) {
        for (id, bits) in std::mem::take(&mut job.diff.quiet) {
            set_member(job, id, bits, state);
        }
    }
    let mut gone = Vec::new();
    let mut ranges = Vec::new();
    for job in jobs.iter().filter(|j| j.error.is_none()) {
        let service = Some(&job.service);
        gone.extend(job.diff.leaves.iter().map(|id| (job.index, *id, service)));
        ranges.extend(job.diff.ranges_out.iter().map(|key| (*key, service)));
    }
    remove_members(&gone, state, maps, report);
    remove_ranges(&ranges, state, maps, report);
    for (job, failed_before) in jobs.iter().zip(before) {
        if let (Some(error), false) = (&job.error, failed_before) {
            fail(report, Some(job.service.clone()), error.clone());
        }
    }
}

/// Empties pools that nobody wants and nothing leads to; those that are empty are retired.
pub(in crate::sync) fn bury(state: &mut State, maps: &mut Maps, report: &mut Report) {
    let State {
        pools, condemned, ..
    } = &*state;
    let dead = condemned.iter().filter_map(|i| Some((*i, pools.get(i)?)));
    let dead: Vec<_> = dead.filter(|(_, pool)| pool.fronts == 0).collect();
    let mut members = Vec::new();
    let mut ranges = Vec::new();
    for (index, pool) in &dead {
        members.extend(pool.members.keys().map(|id| (*index, *id, None)));
        ranges.extend(pool.source_ranges.iter().map(|key| (*key, None)));
    }
    let dead: Vec<u32> = dead.iter().map(|(index, _)| *index).collect();
    remove_members(&members, state, maps, report);
    remove_ranges(&ranges, state, maps, report);
    for index in dead {
        let empty = |p: &PoolState| p.members.is_empty() && p.source_ranges.is_empty();
        if !state.pools.get(&index).is_some_and(empty) {
            continue;
        }
        if let Some(pool) = state.pools.remove(&index)
            && let Some(range) = pool.range
        {
            state.ranges.retire(range);
        }
        state.condemned.remove(&index);
        state.indices.retire(index);
        report.freed = true;
    }
}

/// Brings the entries of backends up to date whose users have changed their mind.
pub(in crate::sync) fn refresh_backends(state: &mut State, maps: &mut Maps, report: &mut Report) {
    for (id, value) in state.backends.stale() {
        match maps.backends.store(id, &value) {
            Ok(()) => {
                report.writes.backends += 1;
                state.backends.written(id, &value);
            }
            Err(error) => fail(report, None, error),
        }
    }
}

//! Writes of pools, in the order that readers need: backends → source ranges → members → slots → word 0, and what is to go
//! behind that. Owns what happens when an element fails: its pool stays as it was, the rest goes on, nothing leaks.

use std::collections::BTreeSet;

use lb_common::{
    backend::Backend,
    maps,
    service::{MemberKey, Slot},
};

use crate::{
    datapath::table::{MapError, Maps, SourceRangeKey},
    model::ObjectKey,
    plan::{Pool, desired::Bits},
};

use super::{
    backends::BackendKey,
    batch,
    diff::{PoolDiff, diff},
    publish::fail,
    report::Report,
    state::State,
};

/// One pool on its way into the maps.
pub(super) struct Job {
    /// Whose it is.
    pub(super) service: ObjectKey,
    index: u32,
    diff: PoolDiff,
    /// Backends whose entry is to be written first.
    created: Vec<(u32, Backend)>,
    /// Backends held for memberships to come.
    pinned: BTreeSet<u32>,
    /// The first thing that failed; nothing of this job is written behind it.
    error: Option<MapError>,
}

impl Job {
    /// Finds or makes ids for the pool's backends, and compares. `None` if the pool stands as it should.
    pub(super) fn new(
        service: &ObjectKey,
        pool: &Pool,
        index: u32,
        state: &mut State,
        maps: &mut dyn Maps,
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
        maps: &mut dyn Maps,
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
pub(super) fn rise(jobs: &mut [Job], state: &mut State, maps: &mut dyn Maps, report: &mut Report) {
    for job in &mut *jobs {
        for (id, value) in &job.created {
            // Two jobs may count on the same new backend: the first one that can writes it.
            if state.backends.stands(*id) {
                continue;
            }
            match maps.backends().store(*id, value) {
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
        if job.error.is_none()
            && let Err(error) = switch(job, state, maps, report)
        {
            job.error = Some(error);
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

fn ranges_in(jobs: &mut [Job], state: &mut State, maps: &mut dyn Maps, report: &mut Report) {
    let mut items = Vec::new();
    for (n, job) in jobs.iter().enumerate().filter(|(_, j)| j.error.is_none()) {
        items.extend(job.diff.ranges_in.iter().map(|key| (*key, n)));
    }
    let table = maps.srcranges();
    let mut results = Vec::with_capacity(items.len());
    batch::run(
        items,
        |items| {
            let entries: Vec<(SourceRangeKey, u8)> = items.iter().map(|(k, _)| (*k, 1)).collect();
            table.insert(&entries)
        },
        |item, result| results.push((*item, result)),
        |_| false,
    );
    for ((key, n), result) in results {
        match result {
            Ok(()) => {
                report.writes.srcranges += 1;
                if let Some(pool) = state.pools.get_mut(&jobs[n].index) {
                    pool.source_ranges.insert(key);
                }
            }
            Err(error) => jobs[n].error = Some(error),
        }
    }
}

/// Inserts members or changes their flags.
fn write_members(
    jobs: &mut [Job],
    which: fn(&PoolDiff) -> &Vec<(u32, Bits)>,
    state: &mut State,
    maps: &mut dyn Maps,
    report: &mut Report,
) {
    let mut items = Vec::new();
    for (n, job) in jobs.iter().enumerate().filter(|(_, j)| j.error.is_none()) {
        items.extend(which(&job.diff).iter().map(|(id, bits)| (*id, *bits, n)));
    }
    if items.is_empty() {
        return;
    }
    let indices: Vec<u32> = jobs.iter().map(|j| j.index).collect();
    let table = maps.members();
    let mut results = Vec::with_capacity(items.len());
    let lost = std::cell::RefCell::new(BTreeSet::new());
    batch::run(
        items,
        |items| {
            let entries: Vec<(MemberKey, u32)> = items
                .iter()
                .map(|&(backend, bits, n)| {
                    let service = indices[n];
                    (MemberKey { service, backend }, bits.member_flags())
                })
                .collect();
            table.insert(&entries)
        },
        |item, result| {
            if result.is_err() {
                lost.borrow_mut().insert(item.2);
            }
            results.push((*item, result));
        },
        |item| lost.borrow().contains(&item.2),
    );
    for ((id, bits, n), result) in results {
        match result {
            Ok(()) => {
                report.writes.members += 1;
                set_member(&mut jobs[n], id, bits, state);
            }
            Err(error) => jobs[n].error = Some(error),
        }
    }
}

/// The mirror of a member, and with it the pin or the count of its backend.
fn set_member(job: &mut Job, id: u32, bits: Bits, state: &mut State) {
    let Some(pool) = state.pools.get_mut(&job.index) else {
        return;
    };
    if let Some(before) = pool.members.insert(id, bits) {
        state.backends.change(id, before, bits);
        return;
    }
    if !job.pinned.remove(&id) {
        state.backends.pin(id);
    }
    state.backends.join(id, bits);
}

/// Places the new slots and stores the entry of the service, word 0 last.
fn switch(
    job: &mut Job,
    state: &mut State,
    maps: &mut dyn Maps,
    report: &mut Report,
) -> Result<(), MapError> {
    let Some(mut entry) = job.diff.entry else {
        return Ok(());
    };
    let index = job.index;
    let Some(slots) = job.diff.slots.take() else {
        maps.svc().store(index, &entry)?;
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
        maps.svc().store(index, &entry)
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
            state.ranges.retire(old);
        }
    }
    Ok(())
}

fn place(base: u32, slots: &[u32], service: u32, maps: &mut dyn Maps) -> Result<(), MapError> {
    let slots: Vec<Slot> = slots
        .iter()
        .map(|&backend| Slot { backend, service })
        .collect();
    maps.slots().store_run(base, &slots)
}

/// Everything that may go once nothing leads to it any more.
pub(super) fn fall(jobs: &mut [Job], state: &mut State, maps: &mut dyn Maps, report: &mut Report) {
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
    remove_members(gone, state, maps, report);
    remove_ranges(ranges, state, maps, report);
    for (job, failed_before) in jobs.iter().zip(before) {
        if let (Some(error), false) = (&job.error, failed_before) {
            fail(report, Some(job.service.clone()), error.clone());
        }
    }
}

/// Empties pools that nobody wants and nothing leads to; those that are empty are retired.
pub(super) fn bury(state: &mut State, maps: &mut dyn Maps, report: &mut Report) {
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
    remove_members(members, state, maps, report);
    remove_ranges(ranges, state, maps, report);
    for index in dead {
        let empty = |p: &super::pool::PoolState| p.members.is_empty() && p.source_ranges.is_empty();
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
    }
}

fn remove_members(
    gone: Vec<(u32, u32, Option<&ObjectKey>)>,
    state: &mut State,
    maps: &mut dyn Maps,
    report: &mut Report,
) {
    let table = maps.members();
    let mut results = Vec::with_capacity(gone.len());
    batch::run(
        gone,
        |items| {
            let keys = items
                .iter()
                .map(|&(service, backend, _)| MemberKey { service, backend });
            table.remove(&keys.collect::<Vec<_>>())
        },
        |item, result| results.push((*item, result)),
        |_| false,
    );
    for ((index, id, service), result) in results {
        match result {
            Ok(()) => {
                report.writes.members += 1;
                let pool = state.pools.get_mut(&index);
                if let Some(bits) = pool.and_then(|p| p.members.remove(&id)) {
                    state.backends.leave(id, bits);
                }
            }
            Err(error) => fail(report, service.cloned(), error),
        }
    }
}

fn remove_ranges(
    gone: Vec<(SourceRangeKey, Option<&ObjectKey>)>,
    state: &mut State,
    maps: &mut dyn Maps,
    report: &mut Report,
) {
    let table = maps.srcranges();
    let mut results = Vec::with_capacity(gone.len());
    batch::run(
        gone,
        |items| table.remove(&items.iter().map(|(key, _)| *key).collect::<Vec<_>>()),
        |item, result| results.push((*item, result)),
        |_| false,
    );
    for ((key, service), result) in results {
        match result {
            Ok(()) => {
                report.writes.srcranges += 1;
                if let Some(pool) = state.pools.get_mut(&key.data.service) {
                    pool.source_ranges.remove(&key);
                }
            }
            Err(error) => fail(report, service.cloned(), error),
        }
    }
}

/// Brings the entries of backends up to date whose users have changed their mind.
pub(super) fn refresh_backends(state: &mut State, maps: &mut dyn Maps, report: &mut Report) {
    for (id, value) in state.backends.stale() {
        match maps.backends().store(id, &value) {
            Ok(()) => {
                report.writes.backends += 1;
                state.backends.written(id, &value);
            }
            Err(error) => fail(report, None, error),
        }
    }
}

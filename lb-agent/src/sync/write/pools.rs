//! Writes of pools, in the order that readers need: backends → source ranges → members → slots →
//! word 0, and behind the frontends what nothing leads to any more. When an element fails, its pool
//! stays as it was and the others go on.

use lb_common::slot::Slot;

use super::{
    job::Job,
    members::{insert_source_ranges, remove_members, remove_source_ranges, write_members},
    reuse::take_slots,
};
use crate::{
    maps::{Maps, Table, table::MapError},
    sync::{
        mirror::Mirror,
        report::{Report, fail},
    },
};

/// Writes everything that must be in the maps before frontends may lead to the pools.
pub(crate) fn write_before_publish(
    jobs: &mut [Job],
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) {
    for job in jobs.iter_mut().filter(|job| job.error.is_none()) {
        if let Err(error) = write_backends(job, mirror, maps, report) {
            job.error = Some(error);
        }
    }
    insert_source_ranges(jobs, mirror, maps, report);
    write_members(jobs, |d| &d.members_before, mirror, maps, report);
    for job in &mut *jobs {
        if job.error.is_some() {
            continue;
        }
        match switch(job, mirror, maps, report) {
            Ok(()) => mirror.verify(job.index),
            Err(error) => job.error = Some(error),
        }
    }
    for job in jobs {
        job.unpin(mirror);
        if let Some(error) = job.error.clone() {
            fail(report, Some(job.service.clone()), error);
        }
    }
}

fn write_backends(
    job: &Job,
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<(), MapError> {
    for (id, value) in &job.created {
        // Two jobs may need the same new backend: the first one that can writes it.
        if mirror.backends().is_written(*id) {
            continue;
        }
        maps.programs.reset_backend(*id)?;
        maps.backends.store(*id, value)?;
        report.writes[Table::Backends] += 1;
        mirror.backend_written(*id, value);
    }
    Ok(())
}

/// Writes the new slots, then the pool's entry, word 0 last.
fn switch(
    job: &mut Job,
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<(), MapError> {
    let Some(mut entry) = job.diff.entry else {
        return Ok(());
    };
    let index = job.index;
    let Some(slots) = job.diff.slots.take() else {
        maps.pools.store(index, &entry)?;
        report.writes[Table::Pools] += 1;
        mirror.update_entry(index, entry);
        return Ok(());
    };
    let count = u16::try_from(slots.ids.len()).unwrap_or(u16::MAX);
    let generation = entry.generation.wrapping_add(1);
    let elements: Vec<Slot> = slots.elements(index, generation).collect();
    let range = match u32::try_from(elements.len()).unwrap_or(u32::MAX) {
        0 => None,
        n => Some(take_slots(n, mirror, maps, report)?),
    };
    let base = range.map_or(0, |r| r.base);
    let written = maps.slots.store_run(base, &elements).and_then(|()| {
        report.writes[Table::Slots] += elements.len() as u64;
        entry.base = base;
        entry.count = count;
        entry.generation = generation;
        maps.pools.store(index, &entry)
    });
    if let Err(error) = written {
        // No entry has ever led there.
        if let Some(range) = range {
            mirror.give_back_slots(range);
        }
        return Err(error);
    }
    report.writes[Table::Pools] += 1;
    mirror.switch(index, entry, slots, range);
    Ok(())
}

/// Writes and removes what has to wait until word 0 and the frontends lead elsewhere.
pub(crate) fn write_after_publish(
    jobs: &mut [Job],
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) {
    let failed_before: Vec<bool> = jobs.iter().map(|j| j.error.is_some()).collect();
    write_members(jobs, |d| &d.members_after, mirror, maps, report);
    for job in jobs.iter_mut().filter(|j| j.error.is_none()) {
        for (id, flags) in std::mem::take(&mut job.diff.members_unwritten) {
            job.member_written(id, flags, mirror);
        }
    }
    let mut members = Vec::new();
    let mut ranges = Vec::new();
    for job in jobs.iter().filter(|j| j.error.is_none()) {
        let service = Some(&job.service);
        let diff = &job.diff;
        let gone = diff.members_to_remove.iter();
        members.extend(gone.map(|id| (job.index, *id, service)));
        let gone = diff.source_ranges_to_remove.iter();
        ranges.extend(gone.map(|key| (*key, service)));
    }
    remove_members(&members, mirror, maps, report);
    remove_source_ranges(&ranges, mirror, maps, report);
    for (job, failed_before) in jobs.iter().zip(failed_before) {
        if let (Some(error), false) = (&job.error, failed_before) {
            fail(report, Some(job.service.clone()), error.clone());
        }
    }
}

/// Empties pools that no Service owns and no frontend leads to; retires those that are empty then.
pub(crate) fn prune(mirror: &mut Mirror, maps: &mut Maps, report: &mut Report) {
    let mut members = Vec::new();
    let mut ranges = Vec::new();
    let mut indices = Vec::new();
    for (index, pool) in mirror.prunable() {
        indices.push(index);
        members.extend(pool.members().keys().map(|id| (index, *id, None)));
        ranges.extend(pool.source_ranges().iter().map(|key| (*key, None)));
    }
    remove_members(&members, mirror, maps, report);
    remove_source_ranges(&ranges, mirror, maps, report);
    for index in indices {
        mirror.retire(index);
    }
}

/// Rewrites the entries of backends whose users say something else than before.
pub(crate) fn refresh_backends(mirror: &mut Mirror, maps: &mut Maps, report: &mut Report) {
    for (id, value) in mirror.backends().outdated() {
        match maps.backends.store(id, &value) {
            Ok(()) => {
                report.writes[Table::Backends] += 1;
                mirror.backend_written(id, &value);
            }
            Err(error) => fail(report, None, error),
        }
    }
}

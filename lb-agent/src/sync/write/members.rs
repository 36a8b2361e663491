//! Members and source ranges of pools, written in batches over all jobs.

use std::{cell::RefCell, collections::BTreeSet};

use lb_common::member::MemberKey;

use super::{batch, diff::PoolDiff, job::Job};
use crate::{
    maps::{Maps, Table, table::SourceRangeKey},
    model::ObjectKey,
    plan::desired::MemberFlags,
    sync::{
        mirror::Mirror,
        report::{Report, fail},
    },
};

/// Inserts source ranges.
pub(super) fn insert_source_ranges(
    jobs: &mut [Job],
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) {
    let mut items = Vec::new();
    for (n, job) in jobs.iter().enumerate().filter(|(_, j)| j.error.is_none()) {
        let ranges = job.diff.source_ranges_to_insert.iter();
        items.extend(ranges.map(|key| (*key, n)));
    }
    let table = &mut *maps.srcranges;
    let mut results = Vec::with_capacity(items.len());
    batch::run(
        &items,
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
                report.writes[Table::SourceRanges] += 1;
                mirror.insert_source_range(key);
            }
            Err(error) => jobs[n].error = Some(error),
        }
    }
}

/// Inserts members or changes their flags.
pub(super) fn write_members(
    jobs: &mut [Job],
    which: fn(&PoolDiff) -> &Vec<(u32, MemberFlags)>,
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) {
    let mut items = Vec::new();
    for (n, job) in jobs.iter().enumerate().filter(|(_, j)| j.error.is_none()) {
        items.extend(which(&job.diff).iter().map(|(id, flags)| (*id, *flags, n)));
    }
    if items.is_empty() {
        return;
    }
    let indices: Vec<u32> = jobs.iter().map(|j| j.index).collect();
    let table = &mut *maps.members;
    let mut results = Vec::with_capacity(items.len());
    // Jobs of which a member failed: their other members are left out.
    let failed = RefCell::new(BTreeSet::new());
    batch::run(
        &items,
        |items| {
            let entries: Vec<(MemberKey, u32)> = items
                .iter()
                .map(|&(backend, flags, n)| {
                    let pool = indices[n];
                    (MemberKey { pool, backend }, flags.member_flags())
                })
                .collect();
            table.insert(&entries)
        },
        |item, result| {
            if result.is_err() {
                failed.borrow_mut().insert(item.2);
            }
            results.push((*item, result));
        },
        |item| failed.borrow().contains(&item.2),
    );
    for ((id, flags, n), result) in results {
        match result {
            Ok(()) => {
                report.writes[Table::Members] += 1;
                jobs[n].member_written(id, flags, mirror);
            }
            Err(error) => jobs[n].error = Some(error),
        }
    }
}

/// Removes members, given by pool index and backend id, with the Service that a failure is reported
/// for.
pub(super) fn remove_members(
    gone: &[(u32, u32, Option<&ObjectKey>)],
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) {
    let table = &mut *maps.members;
    let mut results = Vec::with_capacity(gone.len());
    batch::run(
        gone,
        |items| {
            let keys = items
                .iter()
                .map(|&(pool, backend, _)| MemberKey { pool, backend });
            table.remove(&keys.collect::<Vec<_>>())
        },
        |item, result| results.push((*item, result)),
        |_| false,
    );
    for ((index, id, service), result) in results {
        match result {
            Ok(()) => {
                report.writes[Table::Members] += 1;
                mirror.remove_member(index, id);
            }
            Err(error) => fail(report, service.cloned(), error),
        }
    }
}

/// Removes source ranges, with the Service that a failure is reported for.
pub(super) fn remove_source_ranges(
    gone: &[(SourceRangeKey, Option<&ObjectKey>)],
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) {
    let table = &mut *maps.srcranges;
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
                report.writes[Table::SourceRanges] += 1;
                mirror.remove_source_range(&key);
            }
            Err(error) => fail(report, service.cloned(), error),
        }
    }
}

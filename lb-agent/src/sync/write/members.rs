//! Members and source ranges of pools, written in batches over all jobs. Owns their mirrors, and with members the count of
//! users of each backend.

use std::{cell::RefCell, collections::BTreeSet};

use lb_common::member::MemberKey;

use crate::{
    maps::{Maps, table::SourceRangeKey},
    model::ObjectKey,
    plan::desired::Bits,
};

use super::{batch, diff::PoolDiff, pools::Job};
use crate::sync::{
    mirror::state::State,
    report::{Report, fail},
};

/// Inserts source ranges.
pub(in crate::sync) fn ranges_in(
    jobs: &mut [Job],
    state: &mut State,
    maps: &mut Maps,
    report: &mut Report,
) {
    let mut items = Vec::new();
    for (n, job) in jobs.iter().enumerate().filter(|(_, j)| j.error.is_none()) {
        items.extend(job.diff.ranges_in.iter().map(|key| (*key, n)));
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
                report.writes.srcranges += 1;
                if let Some(pool) = state.pools.get_mut(&jobs[n].index) {
                    state.source_ranges += u32::from(pool.source_ranges.insert(key));
                }
            }
            Err(error) => jobs[n].error = Some(error),
        }
    }
}

/// Inserts members or changes their flags.
pub(in crate::sync) fn write_members(
    jobs: &mut [Job],
    which: fn(&PoolDiff) -> &Vec<(u32, Bits)>,
    state: &mut State,
    maps: &mut Maps,
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
    let table = &mut *maps.members;
    let mut results = Vec::with_capacity(items.len());
    let lost = RefCell::new(BTreeSet::new());
    batch::run(
        &items,
        |items| {
            let entries: Vec<(MemberKey, u32)> = items
                .iter()
                .map(|&(backend, bits, n)| {
                    let service = indices[n];
                    (
                        MemberKey {
                            pool: service,
                            backend,
                        },
                        bits.member_flags(),
                    )
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
pub(in crate::sync) fn set_member(job: &mut Job, id: u32, bits: Bits, state: &mut State) {
    let Some(pool) = state.pools.get_mut(&job.index) else {
        return;
    };
    if let Some(before) = pool.members.insert(id, bits) {
        state.backends.change(id, before, bits);
        state.member_left(id, before, Some(bits));
        return;
    }
    state.members += 1;
    if !job.pinned.remove(&id) {
        state.backends.pin(id);
    }
    state.backends.join(id, bits);
}

/// Removes members, given by service index and backend id, with the Service to blame.
pub(in crate::sync) fn remove_members(
    gone: &[(u32, u32, Option<&ObjectKey>)],
    state: &mut State,
    maps: &mut Maps,
    report: &mut Report,
) {
    let table = &mut *maps.members;
    let mut results = Vec::with_capacity(gone.len());
    batch::run(
        gone,
        |items| {
            let keys = items.iter().map(|&(service, backend, _)| MemberKey {
                pool: service,
                backend,
            });
            table.remove(&keys.collect::<Vec<_>>())
        },
        |item, result| results.push((*item, result)),
        |_| false,
    );
    for ((index, id, service), result) in results {
        match result {
            Ok(()) => {
                report.writes.members += 1;
                report.freed = true;
                let pool = state.pools.get_mut(&index);
                if let Some(bits) = pool.and_then(|p| p.members.remove(&id)) {
                    state.members -= 1;
                    state.member_left(id, bits, None);
                    state.backends.leave(id, bits);
                }
            }
            Err(error) => fail(report, service.cloned(), error),
        }
    }
}

/// Removes source ranges, with the Service to blame.
pub(in crate::sync) fn remove_ranges(
    gone: &[(SourceRangeKey, Option<&ObjectKey>)],
    state: &mut State,
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
                report.writes.srcranges += 1;
                report.freed = true;
                if let Some(pool) = state.pools.get_mut(&key.data.pool) {
                    state.source_ranges -= u32::from(pool.source_ranges.remove(&key));
                }
            }
            Err(error) => fail(report, service.cloned(), error),
        }
    }
}

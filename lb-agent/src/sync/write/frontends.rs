//! Writes of frontends: what leads to pools. Between a write that frees an element of a hash map
//! and the next one that takes one stands a barrier, since the kernel recycles the element at once,
//! while readers may look at it.

use std::collections::BTreeSet;

use lb_common::frontend::FrontendValue;

use super::{batch, reuse::barrier};
use crate::{
    maps::{Maps, table::MapError},
    model::ObjectKey,
    sync::{
        mirror::{FrontendMap, Mirror, Step},
        report::{Report, fail},
    },
};

/// Brings one map of frontends up to date; adds to `changed` the Services whose frontends were
/// written. What fails is tried again at the next call.
pub(crate) fn publish<F: FrontendMap>(
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
    changed: &mut BTreeSet<ObjectKey>,
) {
    let (mut inserts, mut replaces, mut removes) = (Vec::new(), Vec::new(), Vec::new());
    for (key, step) in F::steps(mirror) {
        match step {
            Step::Insert(value, owner) => inserts.push(((key, value), owner)),
            Step::Replace(value, owner) => replaces.push(((key, value), owner)),
            Step::Remove => removes.push(key),
        }
    }

    // A replaced entry is never absent: readers find the old one or the new one. Each frees an
    // element, so each waits.
    for (entry, owner) in replaces {
        let ready = wait_if_recycled::<F>(mirror, maps, report);
        let result = ready.and_then(|()| {
            let error = F::table(maps).insert(&[entry]).error;
            error.map_or(Ok(()), Err)
        });
        mirror.mark_recycled::<F>();
        note::<F>(mirror, entry.0, Some(entry.1), result, Some(&owner), report);
        changed.insert(owner);
    }

    if !inserts.is_empty()
        && let Err(error) = wait_if_recycled::<F>(mirror, maps, report)
    {
        fail(report, None, error);
        return;
    }
    let table = F::table(maps);
    let mut results = Vec::with_capacity(inserts.len());
    batch::run(
        &inserts,
        |items| {
            let entries: Vec<(F::Key, FrontendValue)> =
                items.iter().map(|(entry, _)| *entry).collect();
            table.insert(&entries)
        },
        |item, result| results.push((item.clone(), result)),
        |_| false,
    );
    for ((entry, owner), result) in results {
        note::<F>(mirror, entry.0, Some(entry.1), result, Some(&owner), report);
        changed.insert(owner);
    }

    let mut results = Vec::with_capacity(removes.len());
    batch::run(
        &removes,
        |keys| table.remove(keys),
        |key, result| results.push((*key, result)),
        |_| false,
    );
    for (key, result) in results {
        mirror.mark_recycled::<F>();
        note::<F>(mirror, key, None, result, None, report);
    }
}

/// Behind this, no element is free that a reader may still look at.
fn wait_if_recycled<F: FrontendMap>(
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<(), MapError> {
    if mirror.needs_barrier::<F>() {
        barrier(mirror, maps, report)?;
    }
    Ok(())
}

fn note<F: FrontendMap>(
    mirror: &mut Mirror,
    key: F::Key,
    value: Option<FrontendValue>,
    result: Result<(), MapError>,
    owner: Option<&ObjectKey>,
    report: &mut Report,
) {
    match result {
        Ok(()) => {
            mirror.frontend_written::<F>(key, value);
            report.writes[F::TABLE] += 1;
        }
        Err(error) => fail(report, owner.cloned(), error),
    }
}

//! Barriers: what is retired becomes free when no program runs any more that could see it. They are
//! lazy, since one takes about 8 ms: something waits for one only when its place is needed, or when
//! the agent is idle.

use lb_common::{backend::Backend, pool::Pool};

use crate::{
    maps::{Maps, Table, table::MapError},
    sync::{
        mirror::{Mirror, Range},
        report::{Report, fail},
    },
};

/// Waits until no program can still see what was retired, then frees it.
pub(crate) fn barrier(
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<(), MapError> {
    maps.programs.barrier()?;
    report.barriers += 1;
    mirror.barrier_passed();
    // An entry that cannot be cleared stays retired, and is tried again behind the next barrier.
    for index in mirror.indices().retired().clone() {
        match maps.pools.store(index, &Pool::EMPTY) {
            Ok(()) => {
                report.writes[Table::Pools] += 1;
                mirror.index_cleared(index);
            }
            Err(error) => fail(report, None, error),
        }
    }
    for id in mirror.backends().retired().clone() {
        match maps.backends.store(id, &Backend::FREE) {
            Ok(()) => {
                report.writes[Table::Backends] += 1;
                mirror.backend_cleared(id);
            }
            Err(error) => fail(report, None, error),
        }
    }
    Ok(())
}

/// `count` free pool indices with fresh counters; all of them or none. Does not wait for a barrier
/// that could not free enough.
pub(crate) fn take_indices(
    count: usize,
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<Vec<u32>, MapError> {
    let full = MapError::Full {
        map: Table::Pools.name(),
        capacity: mirror.capacity()[Table::Pools],
    };
    let free = mirror.indices().free();
    if free + mirror.indices().retired().len() < count {
        return Err(full);
    }
    if free < count {
        barrier(mirror, maps, report)?;
    }
    let mut taken = Vec::with_capacity(count);
    while taken.len() < count {
        let fresh = mirror.take_index().ok_or_else(|| full.clone());
        let reset = fresh.and_then(|index| {
            taken.push(index);
            maps.programs.reset_pool(index)
        });
        if let Err(error) = reset {
            // No frontend has ever led to them.
            for index in taken {
                mirror.give_back_index(index);
            }
            return Err(error);
        }
    }
    Ok(taken)
}

/// Room for `count` slots.
pub(super) fn take_slots(
    count: u32,
    mirror: &mut Mirror,
    maps: &mut Maps,
    report: &mut Report,
) -> Result<Range, MapError> {
    if let Some(range) = mirror.take_slots(count) {
        return Ok(range);
    }
    if mirror.has_retired_slots() {
        barrier(mirror, maps, report)?;
    }
    mirror.take_slots(count).ok_or(MapError::Full {
        map: Table::Slots.name(),
        capacity: mirror.capacity()[Table::Slots],
    })
}

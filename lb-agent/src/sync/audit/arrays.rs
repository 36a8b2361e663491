//! Arrays: element by element against the mirror. Owns that elements which wait to be cleared are none of the audit's.

use std::fmt::Debug;

use lb_common::{backend::Backend, pool::Pool, slot::Slot};

use crate::maps::{
    Maps,
    table::{ArrayTable, MapError},
};

use super::{At, Audit, Place, Stage, State};

/// The next stage; `None`: the part is through.
type Next = Result<Option<Stage>, MapError>;

pub(super) fn backends(state: &State, maps: &mut Maps, place: &Place, audit: &mut Audit) -> Next {
    let table = &mut *maps.backends;
    let (ids, next) = indices(place, table.len());
    for id in ids {
        let wanted = state.backends.standing(id).unwrap_or(Backend::FREE);
        audit.report.writes.backends += u64::from(element(table, id, &wanted, audit)?);
    }
    Ok(next)
}

pub(super) fn svc(state: &State, maps: &mut Maps, place: &Place, audit: &mut Audit) -> Next {
    let table = &mut *maps.pools;
    let (all, next) = indices(place, table.len());
    let retired = state.indices.retired();
    for index in all {
        let wanted = match state.pools.get(&index) {
            Some(pool) => pool.svc,
            // Cleared behind the next barrier.
            None if retired.contains(&index) => continue,
            None => Pool::EMPTY,
        };
        audit.report.writes.svc += u64::from(element(table, index, &wanted, audit)?);
    }
    Ok(next)
}

/// A pool that has got other slots since its first page was compared goes on in those.
pub(super) fn slots(state: &State, maps: &mut Maps, place: &Place, audit: &mut Audit) -> Next {
    let table = &mut *maps.slots;
    let (mut index, mut done) = place.index();
    let mut room = u32::try_from(place.page).unwrap_or(u32::MAX);
    while index < state.capacity.svc {
        let pool = state.pools.get(&index);
        let pool = pool.and_then(|pool| Some((pool.range?.base, &pool.slots)));
        for (at, &backend) in pool
            .into_iter()
            .flat_map(|(base, slots)| (base..).zip(slots))
            .skip(done as usize)
        {
            if room == 0 {
                return Ok(Some(Stage::Wanted(At::Index(index, done))));
            }
            let service = index;
            let wanted = Slot {
                backend,
                pool: service,
            };
            audit.report.writes.slots += u64::from(element(table, at, &wanted, audit)?);
            (room, done) = (room - 1, done + 1);
        }
        (index, done) = (index + 1, 0);
        // One that has no slots takes its time too.
        let Some(left) = room.checked_sub(1) else {
            return Ok(Some(Stage::Wanted(At::Index(index, done))));
        };
        room = left;
    }
    Ok(None)
}

/// The elements of this page, of an array of `len`; the first one is nobody's.
fn indices(place: &Place, len: u32) -> (std::ops::Range<u32>, Option<Stage>) {
    let (from, _) = place.index();
    let page = u32::try_from(place.page).unwrap_or(u32::MAX);
    let end = from.saturating_add(page).min(len);
    let next = (end < len).then_some(Stage::Wanted(At::Index(end, 0)));
    (from..end, next)
}

/// True if it had to be written.
fn element<T: PartialEq + Debug>(
    table: &mut dyn ArrayTable<T>,
    index: u32,
    wanted: &T,
    audit: &mut Audit,
) -> Result<bool, MapError> {
    let stands = table.load(index)?;
    if stands == *wanted {
        return Ok(false);
    }
    audit.found(|| format!("element {index} was {stands:?} instead of {wanted:?}"));
    table.store(index, wanted)?;
    Ok(true)
}

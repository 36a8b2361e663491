//! Arrays: element by element against the mirror. Elements that wait to be cleared are skipped.

use std::fmt::Debug;

use lb_common::{backend::Backend, pool::Pool};

use super::{Audit, Place, Stage};
use crate::{
    maps::{
        Maps, Table,
        table::{ArrayTable, MapError},
    },
    sync::mirror::{Cursor, Mirror},
};

/// The next stage; `None`: the table is done.
type Next = Result<Option<Stage>, MapError>;

pub(super) fn backends(mirror: &Mirror, maps: &mut Maps, place: &Place, audit: &mut Audit) -> Next {
    let table = &mut *maps.backends;
    let (ids, next) = indices(place, table.len());
    for id in ids {
        let desired = mirror.backends().value(id).unwrap_or(Backend::FREE);
        audit.report.writes[Table::Backends] += u64::from(element(table, id, &desired, audit)?);
    }
    Ok(next)
}

pub(super) fn pools(mirror: &Mirror, maps: &mut Maps, place: &Place, audit: &mut Audit) -> Next {
    let table = &mut *maps.pools;
    let (all, next) = indices(place, table.len());
    let retired = mirror.indices().retired();
    for index in all {
        let desired = match mirror.pool(index) {
            Some(pool) => *pool.entry(),
            // Cleared behind the next barrier.
            None if retired.contains(&index) => continue,
            None => Pool::EMPTY,
        };
        audit.report.writes[Table::Pools] += u64::from(element(table, index, &desired, audit)?);
    }
    Ok(next)
}

/// A pool that has got other slots since its first page was compared goes on in those.
pub(super) fn slots(mirror: &Mirror, maps: &mut Maps, place: &Place, audit: &mut Audit) -> Next {
    let table = &mut *maps.slots;
    let (mut index, mut done) = place.index();
    let mut room = u32::try_from(place.page).unwrap_or(u32::MAX);
    while index < mirror.capacity()[Table::Pools] {
        let pool = mirror.pool(index);
        let pool = pool.and_then(|pool| Some((pool.range()?.base, pool)));
        for (at, desired) in pool
            .into_iter()
            .flat_map(|(base, pool)| {
                let generation = pool.entry().generation;
                (base..).zip(pool.slots().elements(index, generation))
            })
            .skip(done as usize)
        {
            if room == 0 {
                return Ok(Some(Stage::Desired(Cursor::Index(index, done))));
            }
            audit.report.writes[Table::Slots] += u64::from(element(table, at, &desired, audit)?);
            (room, done) = (room - 1, done + 1);
        }
        (index, done) = (index + 1, 0);
        // One that has no slots takes its time too.
        let Some(left) = room.checked_sub(1) else {
            return Ok(Some(Stage::Desired(Cursor::Index(index, done))));
        };
        room = left;
    }
    Ok(None)
}

/// The elements of this page, of an array of `len`; the first one belongs to no pool or backend.
fn indices(place: &Place, len: u32) -> (std::ops::Range<u32>, Option<Stage>) {
    let (from, _) = place.index();
    let page = u32::try_from(place.page).unwrap_or(u32::MAX);
    let end = from.saturating_add(page).min(len);
    let next = (end < len).then_some(Stage::Desired(Cursor::Index(end, 0)));
    (from..end, next)
}

/// True if it had to be written.
fn element<T: PartialEq + Debug>(
    table: &mut dyn ArrayTable<T>,
    index: u32,
    desired: &T,
    audit: &mut Audit,
) -> Result<bool, MapError> {
    let actual = table.load(index)?;
    if actual == *desired {
        return Ok(false);
    }
    audit.found(|| format!("element {index} was {actual:?} instead of {desired:?}"));
    table.store(index, desired)?;
    Ok(true)
}

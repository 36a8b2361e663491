//! Hash maps and the trie, in two rounds of pages: what the map holds against the mirror; then,
//! unless that has shown that nothing is missing, the mirror against the map. A barrier stands
//! behind each repaired frontend.
//!
//! A page and its comparison are one step of the only task that writes, so what is read now has to
//! be what the mirror says now. An entry that another process changed is met in its bucket, or in
//! its turn in the mirror, whatever the agent writes between the pages.

use super::{Audit, History, Place, Stage};
use crate::{
    maps::{
        Maps, Reuse,
        table::{Batch, HashTable, MapError, Page},
    },
    sync::{
        mirror::{Cursor, Mirror, Mirrored},
        report::{Report, fail},
        write,
    },
};

/// Overwritten frontends that one audit of a map repairs, with a barrier (8 ms) before each; the
/// next one does the rest.
const REPLACED: usize = 32;
/// Of these, in one step.
const AT_ONCE: usize = 1;

/// Is anything left for the next step to repair?
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    /// The same page again.
    SamePage,
}

/// Compares one page; the next stage, or `None` when the table is done.
pub(super) fn step<T: Mirrored>(
    mirror: &mut Mirror,
    maps: &mut Maps,
    place: &mut Place,
    history: History,
    audit: &mut Audit,
) -> Result<Option<Stage>, MapError> {
    let page = place.page;
    let before = audit.report.writes[T::TABLE];
    match place.stage.clone() {
        Stage::Actual(from) => {
            let Page {
                entries,
                next,
                unseen,
            } = T::table(maps).page(from.as_ref(), page)?;
            audit.passed_over(unseen);
            if compare::<T>(entries, mirror, maps, place, audit)? == Rest::SamePage {
                return Ok(Some(Stage::Actual(from)));
            }
            if next.is_some() {
                return Ok(Some(Stage::Actual(next)));
            }
            let untouched =
                history == History::Untouched && before == audit.report.writes[T::TABLE];
            // Each entry once and all as desired: nothing is missing.
            let whole = untouched && place.matched == T::len(mirror) as u64;
            Ok((!whole).then_some(Stage::Desired(Cursor::Start)))
        }
        Stage::Desired(at) => {
            let (entries, next) = T::page(mirror, at, page);
            let missing = T::table(maps).gone(entries)?;
            restore_missing::<T>(&missing, mirror, maps, audit)?;
            Ok(next.map(Stage::Desired))
        }
    }
}

/// Repairs the entries that differ.
fn compare<T: Mirrored>(
    entries: Vec<(T::Key, T::Value)>,
    mirror: &mut Mirror,
    maps: &mut Maps,
    place: &mut Place,
    audit: &mut Audit,
) -> Result<Rest, MapError> {
    let (mut changed, mut foreign) = (Vec::new(), Vec::new());
    for (key, actual) in entries {
        match T::desired(mirror, &key) {
            Some(desired) if desired == actual => place.matched += 1,
            Some(desired) => changed.push((key, actual, desired)),
            None => {
                audit.found(|| format!("{key:?} is not ours, with {actual:?}"));
                foreign.push(key);
            }
        }
    }
    let left = REPLACED.saturating_sub(place.replaced);
    let room = match T::TABLE.reuse() {
        Reuse::AtOnce => usize::MAX,
        Reuse::AfterBarrier => AT_ONCE.min(left),
    };
    // What waits is met again, and counted then.
    let waits = changed.len() > room && left > room;
    let reported = if waits { room } else { changed.len() };
    for (key, actual, desired) in changed.iter().take(reported) {
        audit.found(|| format!("{key:?} was {actual:?} instead of {desired:?}"));
    }
    let now = changed.iter().take(room);
    let now: Vec<(T::Key, T::Value)> = now.map(|(key, _, desired)| (*key, *desired)).collect();
    let mut written = 0;
    match T::TABLE.reuse() {
        Reuse::AtOnce => written += insert(T::table(maps), &now, &mut audit.report),
        Reuse::AfterBarrier => {
            place.replaced += now.len();
            for one in now {
                // The process that overwrote it did not wait.
                write::barrier(mirror, maps, &mut audit.report)?;
                written += insert(T::table(maps), &[one], &mut audit.report);
                mirror.mark_recycled::<T>();
            }
        }
    }
    if !foreign.is_empty() {
        written += remove(T::table(maps), &foreign, &mut audit.report);
        mirror.mark_recycled::<T>();
    }
    audit.report.writes[T::TABLE] += written;
    let again = waits && audit.report.failed.is_empty();
    Ok(if again { Rest::SamePage } else { Rest::Nothing })
}

fn restore_missing<T: Mirrored>(
    missing: &[(T::Key, T::Value)],
    mirror: &mut Mirror,
    maps: &mut Maps,
    audit: &mut Audit,
) -> Result<(), MapError> {
    for (key, value) in missing {
        audit.found(|| format!("{key:?} was gone, with {value:?}"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    if T::TABLE.reuse() == Reuse::AfterBarrier {
        mirror.mark_recycled::<T>();
        write::barrier(mirror, maps, &mut audit.report)?;
    }
    let written = insert(T::table(maps), missing, &mut audit.report);
    audit.report.writes[T::TABLE] += written;
    Ok(())
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
    write::run_batch(
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

//! Counts that programs keep by adding and subtracting, compared with what is met on a walk over
//! what they count. Pure.

use std::collections::BTreeMap;

/// What must be added to each count. A number that was met between the counts before and after the
/// walk is no drift.
pub(crate) fn drift(
    before: &BTreeMap<u32, i64>,
    met: &BTreeMap<u32, i64>,
    after: &BTreeMap<u32, i64>,
) -> BTreeMap<u32, i64> {
    let of = |by: &BTreeMap<u32, i64>, id| by.get(id).copied().unwrap_or(0);
    before
        .keys()
        .chain(met.keys())
        .chain(after.keys())
        .filter_map(|id| {
            let (a, b) = (of(before, id), of(after, id));
            let n = of(met, id);
            let off = n - n.clamp(a.min(b), a.max(b));
            (off != 0).then_some((*id, off))
        })
        .collect()
}

/// The part of a drift that the last run saw too: of the same direction, and not larger than then.
pub(crate) fn lasting(last: &BTreeMap<u32, i64>, now: &BTreeMap<u32, i64>) -> BTreeMap<u32, i64> {
    now.iter()
        .filter_map(|(id, n)| {
            let before = last.get(id)?;
            let part = if *n > 0 {
                (*before).clamp(0, *n)
            } else {
                (*before).clamp(*n, 0)
            };
            (part != 0).then_some((*id, part))
        })
        .collect()
}

#[cfg(test)]
mod tests;

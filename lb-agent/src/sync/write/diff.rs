//! The difference between a pool as planned and as the maps hold it, by the phase in which each
//! element may be written.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::srcrange::SourceRange;

use crate::{
    maps::table::SourceRangeKey,
    plan::desired::{MemberFlags, Pool},
    sync::mirror::{Entry, PoolState, SlotContent, SpillContent},
};

/// What to write for one pool. Empty when nothing differs.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct PoolDiff {
    /// Members to insert before the switch: new ones, and those that gain a flag.
    pub(super) members_before: Vec<(u32, MemberFlags)>,
    /// Members that lose a flag and stay, also those that are let go of after a while: written after
    /// the switch.
    pub(super) members_after: Vec<(u32, MemberFlags)>,
    /// Members whose difference shows only in their backend's entry: nothing to write here.
    pub(super) members_unwritten: Vec<(u32, MemberFlags)>,
    /// Members to remove after the switch.
    pub(super) members_to_remove: Vec<u32>,
    /// The new version of the slots.
    pub(super) slots: Option<SlotContent>,
    /// The entry of `lb_pools`; its word 0 is filled in when the slots are placed.
    pub(super) entry: Option<Entry>,
    /// Source ranges to insert before the switch.
    pub(super) source_ranges_to_insert: Vec<SourceRangeKey>,
    /// Source ranges to remove after it.
    pub(super) source_ranges_to_remove: Vec<SourceRangeKey>,
}

/// `members` are the pool's, with ids, in its order; `now` is in [`lb_common::flow::units`].
pub(super) fn diff(
    pool: &Pool,
    index: u32,
    members: &[(u32, MemberFlags)],
    actual: &PoolState,
    now: u32,
) -> PoolDiff {
    let mut out = PoolDiff::default();
    let desired: BTreeMap<u32, MemberFlags> = members.iter().copied().collect();
    for (&id, &flags) in &desired {
        match actual.members().get(&id) {
            Some(&before) if before == flags => {}
            Some(&before) => {
                let (old, new) = (before.member_flags(), flags.member_flags());
                if old == new {
                    out.members_unwritten.push((id, flags));
                } else if new & !old != 0 && !flags.has(MemberFlags::KEPT) {
                    out.members_before.push((id, flags));
                } else {
                    out.members_after.push((id, flags));
                }
            }
            None => out.members_before.push((id, flags)),
        }
    }
    let gone = actual
        .members()
        .keys()
        .filter(|id| !desired.contains_key(id));
    out.members_to_remove.extend(gone);

    // Members that have left stand among those that were planned.
    let stays = |(_, flags): &&(u32, MemberFlags)| !flags.has(MemberFlags::KEPT);
    let planned: Vec<u32> = members.iter().filter(stays).map(|(id, _)| *id).collect();
    let ids = |indices: &[u32]| -> Box<[u32]> {
        let ids = indices.iter();
        ids.filter_map(|at| planned.get(*at as usize).copied())
            .collect()
    };
    let slots = SlotContent {
        ids: ids(&pool.slots.members),
        weights: pool.slots.weights.clone(),
        spill: pool.slots.spill.as_ref().map(|spill| SpillContent {
            share: spill.share,
            inside: ids(&spill.inside),
            outside: ids(&spill.outside),
        }),
    };
    let max_age_secs = pool.max_age_now();
    let aged_since = aged_since(max_age_secs, actual.entry(), now);
    let entry = Entry {
        affinity_secs: pool.affinity_secs,
        max_connections: pool.max_connections,
        max_age_secs,
        aged_since,
        scheduler: pool.scheduler,
        pad: 0,
        flags: pool.flags,
        id: index,
        ..*actual.entry()
    };
    let moved = slots != *actual.slots();
    if moved || entry != *actual.entry() {
        out.entry = Some(entry);
    }
    if moved {
        out.slots = Some(slots);
    }

    let ranges: BTreeSet<SourceRangeKey> = pool
        .source_ranges
        .iter()
        .map(|(addr, flags)| SourceRangeKey {
            prefix_len: 32 + u32::from(*flags),
            data: SourceRange {
                pool: index,
                addr: *addr,
            },
        })
        .collect();
    out.source_ranges_to_insert
        .extend(ranges.difference(actual.source_ranges()));
    out.source_ranges_to_remove
        .extend(actual.source_ranges().difference(&ranges));
    out
}

/// Since when a limit of age holds: since it was set, or became smaller, so that no connection is too
/// old at once.
fn aged_since(max_age_secs: u32, before: &Entry, now: u32) -> u32 {
    match (max_age_secs, before.max_age_secs) {
        (0, _) => 0,
        (new, old) if old == 0 || new < old => now,
        _ => before.aged_since,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_age_looks_forward() {
        let before = |max_age_secs, aged_since| Entry {
            max_age_secs,
            aged_since,
            ..Entry::EMPTY
        };
        for (new, before, since) in [
            // Set, as it was (also by the agent before), larger, smaller, taken away.
            (60, before(0, 0), 100),
            (60, before(60, 7), 7),
            (90, before(60, 7), 7),
            (30, before(60, 7), 100),
            (0, before(60, 7), 0),
        ] {
            assert_eq!(
                aged_since(new, &before, 100),
                since,
                "{new} after {before:?}"
            );
        }
    }
}

//! The difference between a pool as it should be and as it stands. Pure; owns the classification of each element by the
//! phase in which it may be written.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::{pool, srcrange::SourceRange};

use crate::{
    maps::table::SourceRangeKey,
    plan::desired::{Bits, Pool},
};

use crate::sync::mirror::pool::PoolState;

/// What to write for one pool. Empty when nothing differs.
#[derive(PartialEq, Eq, Debug, Default)]
pub(in crate::sync) struct PoolDiff {
    /// Members to insert before the switch: new ones, and those that gain a flag.
    pub(in crate::sync) rises: Vec<(u32, Bits)>,
    /// Members that lose a flag and stay, written after the switch.
    pub(in crate::sync) falls: Vec<(u32, Bits)>,
    /// Members of which only the backend's entry shows a difference.
    pub(in crate::sync) quiet: Vec<(u32, Bits)>,
    /// Members to remove after the switch.
    pub(in crate::sync) leaves: Vec<u32>,
    /// The new version of the slots.
    pub(in crate::sync) slots: Option<Box<[u32]>>,
    /// The entry of `lb_pools`; its word 0 is filled in when the slots are placed.
    pub(in crate::sync) entry: Option<pool::Pool>,
    /// Source ranges to insert before the switch.
    pub(in crate::sync) ranges_in: Vec<SourceRangeKey>,
    /// Source ranges to remove after it.
    pub(in crate::sync) ranges_out: Vec<SourceRangeKey>,
}

/// `members` are the pool's, with ids, in its order.
pub(in crate::sync) fn diff(
    pool: &Pool,
    index: u32,
    members: &[(u32, Bits)],
    stands: &PoolState,
) -> PoolDiff {
    let mut out = PoolDiff::default();
    let wanted: BTreeMap<u32, Bits> = members.iter().copied().collect();
    for (&id, &bits) in &wanted {
        match stands.members.get(&id) {
            Some(&before) if before == bits => {}
            Some(&before) => {
                let (old, new) = (before.member_flags(), bits.member_flags());
                if old == new {
                    out.quiet.push((id, bits));
                } else if new & !old != 0 {
                    out.rises.push((id, bits));
                } else {
                    out.falls.push((id, bits));
                }
            }
            None => out.rises.push((id, bits)),
        }
    }
    let gone = stands.members.keys().filter(|id| !wanted.contains_key(id));
    out.leaves.extend(gone);

    let eligible = members.iter().filter(|(_, b)| b.has(Bits::ELIGIBLE));
    let slots: Box<[u32]> = eligible.map(|(id, _)| *id).collect();
    let entry = pool::Pool {
        affinity_secs: pool.affinity_secs,
        scheduler: pool.scheduler,
        pad: 0,
        flags: pool.flags,
        id: index,
        ..stands.svc
    };
    let moved = slots != stands.slots;
    if moved || entry != stands.svc {
        out.entry = Some(entry);
    }
    if moved {
        out.slots = Some(slots);
    }

    let ranges: BTreeSet<SourceRangeKey> = pool
        .source_ranges
        .iter()
        .map(|(addr, bits)| SourceRangeKey {
            prefix_len: 32 + u32::from(*bits),
            data: SourceRange {
                pool: index,
                addr: *addr,
            },
        })
        .collect();
    out.ranges_in
        .extend(ranges.difference(&stands.source_ranges));
    out.ranges_out
        .extend(stands.source_ranges.difference(&ranges));
    out
}

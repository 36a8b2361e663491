//! What is written into the map, which may be too small for all.

use std::collections::{BTreeMap, BTreeSet};

use super::left::Left;

/// Cookies, in the order of the writes.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Writes {
    /// Taken out first.
    pub(super) remove: Vec<u64>,
    /// The ones that matter most first.
    pub(super) insert: Vec<u64>,
    /// There is no room for these.
    pub(super) refused: BTreeSet<u64>,
}

impl Writes {
    /// Brings the map from what is `there` to what is to be `left` alone. Of the same rank, those
    /// that are there stay. What is there beside, and `stays` while it is not known whether it is
    /// still to be left alone, gives way.
    pub(super) fn plan(
        left: &BTreeMap<u64, Left>,
        there: &BTreeSet<u64>,
        stays: impl Fn(u64) -> bool,
        capacity: u32,
    ) -> Self {
        let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
        let mut wanted: Vec<u64> = left.keys().copied().collect();
        wanted.sort_by_key(|cookie| (left[cookie].rank, !there.contains(cookie), *cookie));
        let refused: BTreeSet<u64> = wanted.drain(capacity.min(wanted.len())..).collect();
        let beside = there.iter().filter(|c| !left.contains_key(c) && stays(**c));
        // The youngest, which are least likely to be gone.
        let beside = beside.rev().take(capacity - wanted.len());
        let kept: BTreeSet<u64> = beside.chain(&wanted).copied().collect();
        Self {
            remove: there.difference(&kept).copied().collect(),
            insert: wanted
                .into_iter()
                .filter(|cookie| !there.contains(cookie))
                .collect(),
            refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::left::Rank::{self, Asked, Marked, Other, Possible},
        *,
    };
    use crate::clients::Because;

    const NONE: Vec<u64> = Vec::new();

    fn plan(left: &[(u64, Rank)], there: &[u64], stay: &[u64], capacity: u32) -> [Vec<u64>; 3] {
        let because = Because::Annotation;
        let left = left.iter().map(|(c, rank)| {
            let rank = *rank;
            (*c, Left { because, rank })
        });
        let there = there.iter().copied().collect();
        let writes = Writes::plan(&left.collect(), &there, |c| stay.contains(&c), capacity);
        [
            writes.remove,
            writes.insert,
            writes.refused.into_iter().collect(),
        ]
    }

    #[test]
    fn where_there_is_room_the_map_has_what_is_left_alone() {
        let left = [(1, Other), (2, Asked), (5, Marked)];
        assert_eq!(
            plan(&left, &[1, 3, 4], &[4], 9),
            [vec![3], vec![2, 5], NONE]
        );
    }

    #[test]
    fn those_of_others_give_way_to_a_pods() {
        let others = [(1, Other), (2, Other), (3, Possible)];
        assert_eq!(plan(&others, &[], &[], 2), [NONE, vec![3, 1], vec![2]]);
        let more = [(1, Other), (2, Other), (3, Possible), (9, Asked)];
        assert_eq!(plan(&more, &[1, 3], &[], 2), [vec![1], vec![9], vec![1, 2]]);
        // And nobody else.
        assert_eq!(plan(&others, &[1, 2, 3], &[], 3), [NONE, NONE, NONE]);
        assert_eq!(
            plan(&[(1, Other), (2, Other)], &[2], &[], 1),
            [NONE, NONE, vec![1]]
        );
    }

    #[test]
    fn what_may_still_have_to_be_left_alone_stays_while_there_is_room() {
        let left = [(7, Other)];
        let there = [1, 2, 3];
        assert_eq!(plan(&left, &there, &there, 4), [NONE, vec![7], NONE]);
        assert_eq!(plan(&left, &there, &there, 3), [vec![1], vec![7], NONE]);
        assert_eq!(plan(&left, &there, &[], 3), [vec![1, 2, 3], vec![7], NONE]);
    }
}

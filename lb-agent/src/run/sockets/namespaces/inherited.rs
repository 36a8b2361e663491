//! Namespaces that an agent before this one has left alone, for a reason that is not known any more.

use std::collections::{BTreeMap, BTreeSet};

use super::super::pod_paths::Word;
use crate::sockets::namespaces::{Finding, Look};

/// Cookies that were in the map at first, of whose namespaces no look has found out more. No other is
/// ever added: what this agent has seen or was told is not kept for what it cannot see. A cookie is
/// never given again, so one that is kept for nothing costs its room in the map, and gives way there.
#[derive(Debug)]
pub(super) struct Inherited(BTreeSet<u64>);

impl Inherited {
    /// What is in the map before the first look.
    pub(super) fn new(there: BTreeSet<u64>) -> Self {
        Self(there)
    }

    /// After a look, and what the pods say, if that is known.
    pub(super) fn update(&mut self, look: &Look, words: Option<&BTreeMap<u64, Word>>) {
        let namespaces = &look.namespaces;
        self.0.retain(|cookie| {
            let is_told = words.is_some_and(|words| words.contains_key(cookie));
            !is_told && namespaces.get(cookie).is_none_or(Finding::is_unknown)
        });
    }

    /// Does one that is in the map, and not among those that are left alone, stay there? Without the
    /// pods, nothing is taken out that may be theirs.
    pub(super) fn stays(&self, cookie: u64, look: &Look, are_pods_known: bool) -> bool {
        if look.namespaces.contains_key(&cookie) {
            !are_pods_known || self.0.contains(&cookie)
        } else {
            look.is_partial || (look.has_strangers && self.0.contains(&cookie))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Rank, *};
    use crate::{
        clients::{Because, Path},
        sockets::namespaces::Unread,
    };

    fn finding(always: Option<bool>) -> Finding {
        let why = String::new();
        Finding {
            unread: always.map(|always| Unread { why, always }),
            ..Finding::default()
        }
    }

    /// Of namespaces that were read, and of those that could not be, now or ever.
    fn look(read: &[u64], unread: &[u64], unknown: &[u64]) -> Look {
        let all = [(read, None), (unread, Some(false)), (unknown, Some(true))];
        let all = all
            .iter()
            .flat_map(|(cookies, always)| cookies.iter().map(|cookie| (*cookie, finding(*always))));
        Look {
            namespaces: all.collect(),
            ..Look::default()
        }
    }

    fn staying(inherited: &Inherited, look: &Look, there: &[u64]) -> Vec<u64> {
        let stays = |cookie: &&u64| inherited.stays(**cookie, look, true);
        there.iter().filter(stays).copied().collect()
    }

    #[test]
    fn what_was_never_read_stays_as_long_as_that_lasts() {
        let there = [1, 2, 3, 4];
        let mut inherited = Inherited::new(there.into());
        // 5 is of this agent.
        for _ in 0..3 {
            let look = look(&[1], &[2], &[3, 4, 5]);
            inherited.update(&look, Some(&BTreeMap::new()));
            assert_eq!(staying(&inherited, &look, &[1, 2, 3, 4, 5]), [3, 4]);
        }
        // Not known any more, but it was.
        let read = look(&[3], &[], &[4]);
        inherited.update(&read, Some(&BTreeMap::new()));
        assert_eq!(staying(&inherited, &read, &[3, 4]), [4]);
        let word = Word {
            path: Path::Socket,
            because: Because::Annotation,
            rank: Rank::Asked,
        };
        let read = look(&[], &[3], &[4]);
        inherited.update(&read, Some(&BTreeMap::from([(4, word)])));
        assert!(staying(&inherited, &read, &[3, 4]).is_empty());
    }

    #[test]
    fn what_is_gone_stays_only_if_it_may_be_a_stranger() {
        let mut inherited = Inherited::new([1, 2].into());
        let mut gone = look(&[2, 3], &[], &[]);
        gone.has_strangers = true;
        inherited.update(&gone, None);
        gone.namespaces.clear();
        inherited.update(&gone, None);
        // 2 and 3 were seen, so they are none; 1 may be.
        assert_eq!(staying(&inherited, &gone, &[1, 2, 3]), [1]);
        gone.has_strangers = false;
        assert!(staying(&inherited, &gone, &[1, 2, 3]).is_empty());
        gone.is_partial = true;
        assert_eq!(staying(&inherited, &gone, &[1, 2, 3]), [1, 2, 3]);
    }

    #[test]
    fn before_the_pods_are_known_nothing_is_taken_from_what_is_there() {
        let mut inherited = Inherited::new(BTreeSet::new());
        let look = look(&[1], &[], &[]);
        inherited.update(&look, None);
        assert!(inherited.stays(1, &look, false));
        assert!(!inherited.stays(1, &look, true));
    }
}

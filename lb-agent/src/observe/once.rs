//! Reports each thing once when it appears and once when it is gone.

use std::{collections::BTreeSet, mem};

/// What held at the last update.
#[derive(Clone, Debug)]
pub(crate) struct Once<T>(BTreeSet<T>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<T: Ord + Clone> Once<T> {
    /// Replaces what held by what holds `now`, and returns the differences: what appeared, and what
    /// is gone.
    pub(crate) fn update(&mut self, now: impl IntoIterator<Item = T>) -> (Vec<T>, Vec<T>) {
        let before = mem::replace(&mut self.0, now.into_iter().collect());
        let appeared = self.0.difference(&before).cloned().collect();
        let gone = before.difference(&self.0).cloned().collect();
        (appeared, gone)
    }

    /// How many things held at the last update.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Something that is tried again and again, and fails for a while. An outage is one outage however
/// the text of its error changes.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    lasts: bool,
}

/// What an attempt changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Change {
    /// It failed, and the attempt before did not: to be reported, with this attempt's error.
    Began,
    /// It did not fail, and the attempt before did.
    Ended,
    /// Neither.
    None,
}

impl Outage {
    /// Takes the outcome of one more attempt.
    pub(crate) fn after<T, E>(&mut self, attempt: &Result<T, E>) -> Change {
        match (mem::replace(&mut self.lasts, attempt.is_err()), self.lasts) {
            (false, true) => Change::Began,
            (true, false) => Change::Ended,
            _ => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_whose_error_changes_is_one_outage() {
        let mut outage = Outage::default();
        for (attempt, change) in [
            (Ok(()), Change::None),
            (Err("address in use"), Change::Began),
            (Err("address in use"), Change::None),
            (Err("no such device"), Change::None),
            (Ok(()), Change::Ended),
            (Ok(()), Change::None),
            (Err("address in use"), Change::Began),
        ] {
            assert_eq!(outage.after(&attempt), change, "{attempt:?}");
        }
    }

    #[test]
    fn what_is_known_is_not_said_twice() {
        let mut once = Once::default();
        let none: [&str; 0] = [];
        for (now, appeared, gone) in [
            (&["a"][..], &["a"][..], &none[..]),
            (&["a"], &none, &none),
            (&["b", "a", "b"], &["b"], &none),
            (&["b"], &none, &["a"]),
            (&["c"], &["c"], &["b"]),
            (&none, &none, &["c"]),
            (&["a"], &["a"], &none),
        ] {
            let (is_new, is_gone) = once.update(now.iter().copied());
            assert_eq!((&is_new[..], &is_gone[..]), (appeared, gone), "{now:?}");
        }
        assert_eq!(once.len(), 1);
    }
}

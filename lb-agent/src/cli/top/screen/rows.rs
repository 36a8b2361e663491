//! Rows of which not all may have room: which one is selected, and which are visible. Pure.

use std::ops::Range;

/// Through rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Move {
    /// So many rows down, or up.
    Rows(isize),
    /// So many times as many as were visible.
    Pages(isize),
    First,
    Last,
}

/// Rows, by what each of them is known by.
pub(super) struct Rows<K> {
    keys: Vec<K>,
    /// Which stays when rows move.
    selected: Option<K>,
    /// Its place: the first one until one is selected, or when it is gone.
    at: usize,
    /// The first one that was visible when they were drawn last.
    top: usize,
    /// How many had room then.
    page: usize,
}

impl<K> Default for Rows<K> {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            selected: None,
            at: 0,
            top: 0,
            page: 1,
        }
    }
}

impl<K: Clone + PartialEq> Rows<K> {
    /// What is there now, in its order.
    pub(super) fn set(&mut self, keys: Vec<K>) {
        let of_selected = keys
            .iter()
            .position(|key| Some(key) == self.selected.as_ref());
        self.at = of_selected.unwrap_or_default();
        self.keys = keys;
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.keys.len()
    }

    /// The place of the one that is selected.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The one that was selected, also if it is gone.
    pub(super) fn selected(&self) -> Option<&K> {
        self.selected.as_ref()
    }

    /// Selects another one, if there is any.
    pub(super) fn go(&mut self, how: Move) {
        let page = isize::try_from(self.page).unwrap_or(1);
        let at = match how {
            Move::Rows(rows) => self.at.saturating_add_signed(rows),
            Move::Pages(pages) => self.at.saturating_add_signed(pages.saturating_mul(page)),
            Move::First => 0,
            Move::Last => usize::MAX,
        };
        self.at = at.min(self.keys.len().saturating_sub(1));
        let found = self.keys.get(self.at).cloned();
        self.selected = found.or(self.selected.take());
    }

    /// The places of those that are visible where so many have room: no others than before, unless
    /// the selected one would not be among them.
    pub(super) fn visible(&mut self, room: usize) -> Range<usize> {
        self.page = room.max(1);
        let lowest = (self.at + 1).saturating_sub(self.page);
        let last = self.keys.len().saturating_sub(self.page);
        self.top = self.top.clamp(lowest, self.at).min(last);
        self.top..(self.top + self.page).min(self.keys.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_is_visible_and_the_others_stay_where_they_are() {
        let mut rows = Rows::default();
        rows.set((0..10).collect::<Vec<u32>>());
        assert_eq!(rows.visible(4), 0..4);
        for (how, at, visible) in [
            (Move::Rows(2), 2, 0..4),
            (Move::Rows(2), 4, 1..5),
            (Move::Rows(-3), 1, 1..5),
            (Move::Pages(1), 5, 2..6),
            (Move::Last, 9, 6..10),
            (Move::Pages(1), 9, 6..10),
            (Move::Pages(-2), 1, 1..5),
            (Move::First, 0, 0..4),
        ] {
            rows.go(how);
            assert_eq!((rows.at(), rows.visible(4)), (at, visible), "{how:?}");
        }
        // Of fewer rows, or with more room, none is left empty.
        rows.go(Move::Last);
        assert_eq!((rows.visible(4), rows.visible(8)), (6..10, 2..10));
        rows.set(vec![7, 9]);
        assert_eq!((rows.at(), rows.visible(8)), (1, 0..2));
        rows.set(Vec::new());
        rows.go(Move::Rows(1));
        assert_eq!((rows.visible(8), rows.selected()), (0..0, Some(&9)));
        assert_eq!(rows.visible(0), 0..0);
    }
}

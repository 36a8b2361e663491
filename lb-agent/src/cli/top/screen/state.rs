//! What the screen shows, and of what: pure.

use std::collections::BTreeMap;

use anyhow::Result;

use super::super::{order::sort, table::SORTS};
use crate::{
    cli::args::TopSort,
    inventory::{
        Member,
        rates::{Key, Rates},
    },
};

/// What was seen in an interval.
#[derive(Default)]
pub(super) struct Interval {
    pub(super) rates: Vec<Rates>,
    /// Of each Service port, by their ids.
    pub(super) backends: BTreeMap<Key, BTreeMap<u32, Member>>,
}

/// What the keys are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// The list.
    List,
    /// Letters of the filter.
    Filter,
    /// The backends of the selected row.
    Backends,
    /// What the keys do.
    Help,
}

/// Everything that is drawn.
pub(super) struct State {
    /// The last interval; rates are sorted, unfiltered.
    seen: Interval,
    pub(super) sort: TopSort,
    pub(super) filter: String,
    pub(super) mode: Mode,
    pub(super) has_colour: bool,
    /// Why nothing new is seen.
    pub(super) problem: Option<String>,
    /// Which stays when rows move.
    selected: Option<Key>,
    /// Whether a first interval is over.
    pub(super) has_seen: bool,
    /// Rows that were visible when it was drawn last.
    pub(super) page: usize,
}

impl State {
    pub(super) fn new(sort: TopSort, has_colour: bool) -> Self {
        Self {
            seen: Interval::default(),
            sort,
            filter: String::new(),
            mode: Mode::List,
            has_colour,
            problem: None,
            selected: None,
            has_seen: false,
            page: 1,
        }
    }

    /// An interval is over.
    pub(super) fn see(&mut self, seen: Result<Interval>) {
        match seen {
            Ok(seen) => {
                (self.seen, self.problem, self.has_seen) = (seen, None, true);
                sort(&mut self.seen.rates, self.sort);
            }
            Err(error) => self.problem = Some(format!("{error:#}")),
        }
    }

    pub(super) fn sort_by(&mut self, by: TopSort) {
        self.sort = by;
        sort(&mut self.seen.rates, by);
    }

    /// By the column beside it.
    pub(super) fn sort_by_next(&mut self) {
        let at = SORTS.iter().position(|by| *by == self.sort);
        let next = at.map_or(0, |at| (at + 1) % SORTS.len());
        self.sort_by(SORTS[next]);
    }

    /// The rows that the filter admits: all of its words are in the name or protocol.
    pub(super) fn rows(&self) -> Vec<&Rates> {
        let words: Vec<String> = self
            .filter
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let admits = |rates: &&Rates| {
            let text = format!("{} {}", rates.name(), rates.protocol).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        self.seen.rates.iter().filter(admits).collect()
    }

    /// The place of the selected row: the first one until one is chosen, or when it is gone.
    pub(super) fn at(&self) -> usize {
        let rows = self.rows();
        let is_it = |r: &&Rates| self.selected.as_ref() == Some(&key(r));
        rows.iter().position(is_it).unwrap_or_default()
    }

    /// The selected row.
    pub(super) fn row(&self) -> Option<&Rates> {
        self.rows().get(self.at()).copied()
    }

    /// The backends of the selected row.
    pub(super) fn backends(&self) -> impl Iterator<Item = &Member> {
        let of = self.row().and_then(|row| self.seen.backends.get(&key(row)));
        of.into_iter().flat_map(BTreeMap::values)
    }

    /// Selects the row so many below, or above.
    pub(super) fn step(&mut self, by: isize) {
        self.select(self.at().saturating_add_signed(by));
    }

    /// Selects a row, the last one if there are not as many.
    pub(super) fn select(&mut self, at: usize) {
        let rows = self.rows();
        let row = rows.get(at.min(rows.len().saturating_sub(1)));
        let found = row.map(|r| key(r));
        self.selected = found.or(self.selected.take());
    }
}

fn key(r: &Rates) -> Key {
    (r.protocol.clone(), r.name())
}

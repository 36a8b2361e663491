//! What the screen shows, and of what: pure.

use std::{collections::BTreeMap, ops::Range};

use anyhow::Result;

use super::{
    super::{order::sort, table::SORTS},
    rows::{Move, Rows},
};
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
    /// Places in it of the rates that the filter admits.
    admitted: Vec<usize>,
    list: Rows<Key>,
    /// Of the row that is selected in the list.
    backends: Rows<u32>,
    pub(super) sort: TopSort,
    filter: String,
    pub(super) mode: Mode,
    pub(super) has_colour: bool,
    /// Why nothing new is seen.
    pub(super) problem: Option<String>,
    /// Whether a first interval is over.
    pub(super) has_seen: bool,
}

impl State {
    pub(super) fn new(sort: TopSort, has_colour: bool) -> Self {
        Self {
            seen: Interval::default(),
            admitted: Vec::new(),
            list: Rows::default(),
            backends: Rows::default(),
            sort,
            filter: String::new(),
            mode: Mode::List,
            has_colour,
            problem: None,
            has_seen: false,
        }
    }

    /// An interval is over.
    pub(super) fn see(&mut self, seen: Result<Interval>) {
        match seen {
            Ok(seen) => {
                (self.seen, self.problem, self.has_seen) = (seen, None, true);
                self.sort_by(self.sort);
            }
            Err(error) => self.problem = Some(format!("{error:#}")),
        }
    }

    pub(super) fn sort_by(&mut self, by: TopSort) {
        self.sort = by;
        sort(&mut self.seen.rates, by);
        self.arrange();
    }

    /// By the column beside it.
    pub(super) fn sort_by_next(&mut self) {
        let at = SORTS.iter().position(|by| *by == self.sort);
        let next = at.map_or(0, |at| (at + 1) % SORTS.len());
        self.sort_by(SORTS[next]);
    }

    pub(super) fn filter(&self) -> &str {
        &self.filter
    }

    pub(super) fn change_filter(&mut self, change: impl FnOnce(&mut String)) {
        change(&mut self.filter);
        self.arrange();
    }

    /// The rows are those that the filter admits: all of its words are in the name or protocol.
    fn arrange(&mut self) {
        let words: Vec<String> = self
            .filter
            .split_whitespace()
            .map(str::to_lowercase)
            .collect();
        let admits = |rates: &Rates| {
            let text = format!("{} {}", rates.name(), rates.protocol).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let all = self.seen.rates.iter().enumerate();
        let admitted = all.filter(|(_, rates)| admits(rates));
        let keys: Vec<Key>;
        (self.admitted, keys) = admitted.map(|(at, rates)| (at, key(rates))).unzip();
        self.list.set(keys);
        let backends = self.members().map(|backend| backend.id).collect();
        self.backends.set(backends);
    }

    /// Shows the backends of the selected row, which stays the one that is looked at.
    pub(super) fn open(&mut self) {
        if self.list.count() > 0 {
            self.list.go(Move::Rows(0));
            self.backends = Rows::default();
            self.arrange();
            self.mode = Mode::Backends;
        }
    }

    /// The Service port whose backends are shown.
    pub(super) fn opened(&self) -> Option<&Key> {
        let selected = self.list.selected();
        selected.filter(|_| self.mode == Mode::Backends)
    }

    pub(super) fn go(&mut self, how: Move) {
        match self.mode {
            Mode::Backends => self.backends.go(how),
            _ => self.list.go(how),
        }
    }

    /// The places of the rows that are visible where so many have room.
    pub(super) fn visible(&mut self, room: usize) -> Range<usize> {
        match self.mode {
            Mode::Backends => self.backends.visible(room),
            _ => self.list.visible(room),
        }
    }

    /// How many rows there are, and which is selected.
    pub(super) fn count_and_place(&self) -> (usize, usize) {
        match self.mode {
            Mode::Backends => (self.backends.count(), self.backends.at()),
            _ => (self.list.count(), self.list.at()),
        }
    }

    /// The rows at these places of the list.
    pub(super) fn rates(&self, places: Range<usize>) -> impl Iterator<Item = &Rates> {
        let admitted = self.admitted.get(places).unwrap_or_default();
        admitted.iter().map(|at| &self.seen.rates[*at])
    }

    /// The backends at these places.
    pub(super) fn backends(&self, places: Range<usize>) -> impl Iterator<Item = &Member> {
        self.members().skip(places.start).take(places.len())
    }

    /// The backends of the selected row.
    fn members(&self) -> impl Iterator<Item = &Member> {
        let selected = self.list.selected();
        let of = selected.and_then(|key| self.seen.backends.get(key));
        of.into_iter().flat_map(BTreeMap::values)
    }
}

fn key(r: &Rates) -> Key {
    (r.protocol.clone(), r.name())
}

//! The map audit: compares the maps with the mirror, page by page, and repairs drift. It goes in
//! the order of writing, so an entry is repaired after what it leads to.
//!
//! The agent is the only writer of these maps, so drift is the work of another process, or of a
//! bug.

mod arrays;
mod hashes;

use lb_common::maps;

use super::{
    engine::Engine,
    mirror::{Cursor, Members, NodeAddresses, NodePorts, SourceRanges, Vips},
    report::{Report, fail},
};
use crate::maps::{
    Maps, Table,
    table::{MapError, Token},
};

/// Elements of a step: about a millisecond of an optimised agent.
const PAGE: usize = 2048;
/// Differences that are described.
const EXAMPLES: usize = 5;

/// Every table in the order of an audit.
pub const ORDER: [Table; Table::COUNT] = [
    Table::Backends,
    Table::SourceRanges,
    Table::Members,
    Table::Slots,
    Table::Pools,
    Table::Frontends,
    Table::NodePorts,
    Table::NodeAddrs,
];

/// The progress of an audit of all maps. Maps may be written between its steps: each compares what
/// a map holds now with what it should hold now.
#[derive(Clone, Debug)]
pub struct Place {
    /// Index into [`ORDER`].
    table: usize,
    stage: Stage,
    /// Elements of a step.
    page: usize,
    /// Entries of the map that were as desired.
    matched: u64,
    /// Writes to the map when its audit began.
    since: Option<u64>,
    /// Overwritten frontends that were repaired in this map.
    replaced: usize,
}

/// What comes next in a map.
#[derive(Clone, Debug)]
enum Stage {
    /// Is what a hash map holds as desired?
    Actual(Option<Token>),
    /// Does the map hold what is desired? Arrays have this stage only.
    Desired(Cursor),
}

/// What one step of an audit found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    /// The map.
    pub table: Table,
    /// The map is done.
    pub last: bool,
    /// All maps are done: the next step begins a new audit.
    pub ended: bool,
    /// Entries that differed.
    pub drift: u64,
    /// Of these, entries that were as desired but that no program looked up; programs look them up
    /// again now.
    pub unseen: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// What was written, and what failed.
    pub report: Report,
}

/// Was the map written to since its audit began?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum History {
    Untouched,
    Written,
}

impl Default for Place {
    fn default() -> Self {
        Self::with_pages(PAGE)
    }
}

impl Place {
    /// The start of an audit that takes `page` elements at a time.
    #[must_use]
    pub fn with_pages(page: usize) -> Self {
        Self {
            table: 0,
            stage: Stage::Actual(None),
            page,
            matched: 0,
            since: None,
            replaced: 0,
        }
    }

    /// The next element of an array; or the next pool, and how much of it was done.
    fn index(&self) -> (u32, u32) {
        match self.stage {
            Stage::Desired(Cursor::Index(index, done)) => (index, done),
            _ => (1, 0),
        }
    }

    fn table(&self) -> Table {
        ORDER.get(self.table).copied().unwrap_or(Table::Backends)
    }

    /// Goes on to the next map; true behind the last one.
    fn turn(&mut self) -> bool {
        let next = (self.table + 1) % ORDER.len();
        *self = Self {
            table: next,
            ..Self::with_pages(self.page)
        };
        next == 0
    }
}

impl Engine {
    /// Compares the next page with what the agent has written there, and repairs it.
    #[must_use = "it says what was found"]
    pub fn audit(&mut self, place: &mut Place, maps: &mut Maps) -> Audit {
        let table = place.table();
        let mut audit = Audit {
            table,
            last: false,
            ended: false,
            drift: 0,
            unseen: 0,
            examples: Vec::new(),
            report: Report::default(),
        };
        let written = self.wrote[table];
        let history = if *place.since.get_or_insert(written) == written {
            History::Untouched
        } else {
            History::Written
        };
        let mirror = &mut self.mirror;
        let next = match table {
            Table::Backends => arrays::backends(mirror, maps, place, &mut audit),
            Table::Slots => arrays::slots(mirror, maps, place, &mut audit),
            Table::Pools => arrays::pools(mirror, maps, place, &mut audit),
            Table::Members => hashes::step::<Members>(mirror, maps, place, history, &mut audit),
            Table::SourceRanges => {
                hashes::step::<SourceRanges>(mirror, maps, place, history, &mut audit)
            }
            Table::Frontends => hashes::step::<Vips>(mirror, maps, place, history, &mut audit),
            Table::NodePorts => hashes::step::<NodePorts>(mirror, maps, place, history, &mut audit),
            Table::NodeAddrs => {
                hashes::step::<NodeAddresses>(mirror, maps, place, history, &mut audit)
            }
        };
        self.wrote.add(&audit.report.writes);
        if let Some(stage) = audit.take(next) {
            place.stage = stage;
        } else {
            audit.last = true;
            audit.ended = place.turn();
        }
        audit
    }
}

impl Audit {
    fn found(&mut self, what: impl FnOnce() -> String) {
        self.drift += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(what());
        }
    }

    /// Entries whose addresses had no bit in `lb_known`.
    fn passed_over(&mut self, entries: u64) {
        if entries == 0 {
            return;
        }
        self.drift += entries;
        self.unseen += entries;
        let known = maps::KNOWN.name;
        self.examples
            .push(format!("{entries} without their bits in {known}"));
    }

    /// A map that cannot be read is left to the next audit.
    fn take(&mut self, next: Result<Option<Stage>, MapError>) -> Option<Stage> {
        next.unwrap_or_else(|error| {
            fail(&mut self.report, None, error);
            None
        })
    }
}

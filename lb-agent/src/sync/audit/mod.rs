//! The audit: what stands in the maps against the mirror, page by page, and back to the mirror where they differ. Owns the
//! order of its parts, which is that of writing: what leads somewhere is repaired after what it leads to.
//!
//! The agent is the only writer of these maps, so a difference is the work of somebody else, or of a bug.

mod arrays;
mod hashes;

use lb_common::maps;

use crate::maps::{
    Maps,
    table::{MapError, Token},
};

use super::{
    engine::Engine,
    mirror::state::State,
    report::{Report, Writes, fail},
};

/// Elements of a step: about a millisecond of an optimised agent.
const PAGE: usize = 2048;
/// Differences that are described.
const EXAMPLES: usize = 5;

/// One map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `lb_backends`
    Backends,
    /// `lb_srcranges`
    SourceRanges,
    /// `lb_members`
    Members,
    /// `lb_slots`, as far as services have them.
    Slots,
    /// `lb_pools`
    Svc,
    /// `lb_frontends`
    Services,
    /// `lb_nodeports`
    NodePorts,
    /// `lb_nodeaddrs`
    NodeAddresses,
}

/// Where an audit of all maps stands. Maps may be written between its steps: each compares what stands there now with what
/// should stand there now.
#[derive(Clone, Debug)]
pub struct Place {
    part: usize,
    stage: Stage,
    /// Elements of a step.
    page: usize,
    /// Entries of the part that were as they should be.
    matched: u64,
    /// Written to the part's map when the part began, as soon as it has.
    since: Option<u64>,
    /// Overwritten frontends that were repaired in this part.
    replaced: usize,
}

/// What of a part comes next.
#[derive(Clone, Debug)]
enum Stage {
    /// What stands in a hash map: is it as it should be?
    Stands(Option<Token>),
    /// What should stand there: does it? Arrays have this alone.
    Wanted(At),
}

/// Where the next page of the mirror begins.
#[derive(Clone, Copy, Debug)]
enum At {
    Start,
    /// Index of an element; or of a pool, and how much of it was done.
    Index(u32, u32),
    /// Frontends: behind the last place of the page, from the end on.
    Before(usize),
}

/// What one step of an audit found and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    /// The map.
    pub part: Part,
    /// The map is through.
    pub last: bool,
    /// All maps are: the next step begins anew.
    pub ended: bool,
    /// Entries that differed.
    pub drift: u64,
    /// Of these, the ones that stood as they should and that no program looked for; they are looked for again.
    pub unseen: u64,
    /// Some of them, in words.
    pub examples: Vec<String>,
    /// What was written, and what failed.
    pub report: Report,
}

impl Part {
    /// In the order of an audit.
    pub const ALL: [Self; 8] = [
        Self::Backends,
        Self::SourceRanges,
        Self::Members,
        Self::Slots,
        Self::Svc,
        Self::Services,
        Self::NodePorts,
        Self::NodeAddresses,
    ];

    /// Name of the map.
    #[must_use]
    pub fn map(self) -> &'static str {
        let spec = match self {
            Self::Backends => maps::BACKENDS,
            Self::SourceRanges => maps::SRCRANGES,
            Self::Members => maps::MEMBERS,
            Self::Slots => maps::SLOTS,
            Self::Svc => maps::POOLS,
            Self::Services => maps::FRONTENDS,
            Self::NodePorts => maps::NODEPORTS,
            Self::NodeAddresses => maps::NODEADDRS,
        };
        spec.name
    }

    fn written(self, writes: &Writes) -> u64 {
        let all = writes.by_map();
        let ours = all.iter().find(|(map, _)| *map == self.map());
        ours.map_or(0, |(_, n)| *n)
    }
}

impl Default for Place {
    fn default() -> Self {
        Self::with_pages(PAGE)
    }
}

impl Place {
    /// At the start of an audit that takes so many elements at a time.
    #[must_use]
    pub fn with_pages(page: usize) -> Self {
        Self {
            part: 0,
            stage: Stage::Stands(None),
            page,
            matched: 0,
            since: None,
            replaced: 0,
        }
    }

    /// Where an array goes on, or the pool and how much of it was done.
    fn index(&self) -> (u32, u32) {
        match self.stage {
            Stage::Wanted(At::Index(index, done)) => (index, done),
            _ => (1, 0),
        }
    }

    fn part(&self) -> Part {
        Part::ALL.get(self.part).copied().unwrap_or(Part::Backends)
    }

    /// On to the next map; true behind the last one.
    fn turn(&mut self) -> bool {
        let next = (self.part + 1) % Part::ALL.len();
        *self = Self {
            part: next,
            ..Self::with_pages(self.page)
        };
        next == 0
    }
}

impl Engine {
    /// Compares the next page with what the agent has written there, and repairs it.
    #[must_use = "it tells what was found"]
    pub fn audit(&mut self, place: &mut Place, maps: &mut Maps) -> Audit {
        let part = place.part();
        let mut audit = Audit {
            part,
            last: false,
            ended: false,
            drift: 0,
            unseen: 0,
            examples: Vec::new(),
            report: Report::default(),
        };
        let written = part.written(&self.wrote);
        let quiet = *place.since.get_or_insert(written) == written;
        let state = &mut self.state;
        let next = match part {
            Part::Backends => arrays::backends(state, maps, place, &mut audit),
            Part::Slots => arrays::slots(state, maps, place, &mut audit),
            Part::Svc => arrays::svc(state, maps, place, &mut audit),
            Part::Members => hashes::MEMBERS.step(state, maps, place, quiet, &mut audit),
            Part::SourceRanges => hashes::RANGES.step(state, maps, place, quiet, &mut audit),
            Part::Services => hashes::SERVICES.step(state, maps, place, quiet, &mut audit),
            Part::NodePorts => hashes::NODEPORTS.step(state, maps, place, quiet, &mut audit),
            Part::NodeAddresses => hashes::NODEADDRS.step(state, maps, place, quiet, &mut audit),
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

    /// A map that cannot be read is left for the next audit.
    fn take(&mut self, next: Result<Option<Stage>, MapError>) -> Option<Stage> {
        next.unwrap_or_else(|error| {
            fail(&mut self.report, None, error);
            None
        })
    }
}

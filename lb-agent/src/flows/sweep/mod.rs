//! Removal of what is past: entries of flows, and of connections that are none of ours, whose time
//! is over. Programs take such entries for nobody's, so this only makes room. On the way flows are
//! counted anew by backend.

mod judge;
mod recount;
mod tables;

use std::collections::BTreeMap;

use judge::Verdict;
use lb_common::{
    flow::{Flow, FlowKey, State, Timeouts, direction, is_foreign_past},
    maps::{self, MapSpec},
};
use recount::Recount;
use tables::{Entries, Flows};

use super::clock::monotonic;
use crate::maps::{
    dir::BpfDir,
    table::{MapError, Token},
};

/// Entries of a step: about a millisecond of an optimised agent.
const PAGE: usize = 2048;

/// A sweep of all three maps, again and again, one page at a time.
#[derive(Debug)]
pub struct Sweep {
    flows: Flows,
    foreign: Entries<u32>,
    timeouts: Timeouts,
    map: SweptMap,
    /// Where the next page of this map begins.
    from: Option<Token>,
    states: BTreeMap<State, u64>,
    recount: Recount,
}

/// The maps in the order of a sweep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SweptMap {
    /// `lb_newflows`
    New,
    /// `lb_flows`
    Established,
    /// `lb_foreign`
    Foreign,
}

/// What a step did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Entries removed, by map.
    pub removed: BTreeMap<&'static str, u64>,
    /// Entries that were taken out for past, and put back, since they were another's by then.
    pub restored: u64,
    /// The last step of a sweep: flows by state, as they were met.
    pub ended: Option<BTreeMap<State, u64>>,
    /// By how many flows the running counts of backends were repaired.
    pub repaired: u64,
}

impl SweptMap {
    /// Every map.
    pub const ALL: [Self; 3] = [Self::New, Self::Established, Self::Foreign];

    /// Its name and layout.
    #[must_use]
    pub const fn spec(self) -> MapSpec {
        match self {
            Self::New => maps::NEWFLOWS,
            Self::Established => maps::FLOWS,
            Self::Foreign => maps::FOREIGN,
        }
    }
}

impl Sweep {
    /// Opens the maps. `timeouts` are those of the programs.
    pub fn open(dir: &BpfDir, timeouts: Timeouts) -> Result<Self, MapError> {
        Ok(Self {
            flows: Flows::open(dir)?,
            foreign: Entries::open(dir, maps::FOREIGN)?,
            timeouts,
            map: SweptMap::New,
            from: None,
            states: BTreeMap::new(),
            recount: Recount::open(dir)?,
        })
    }

    /// Reads the next page, and removes what is past of it.
    pub fn step(&mut self) -> Result<Step, MapError> {
        let mut step = Step {
            removed: BTreeMap::new(),
            restored: 0,
            ended: None,
            repaired: 0,
        };
        if self.map == SweptMap::New && self.from.is_none() {
            self.recount.begin()?;
        }
        let next = match self.map {
            SweptMap::New | SweptMap::Established => self.flow_page(&mut step)?,
            SweptMap::Foreign => self.foreign_page(&mut step)?,
        };
        let ended = next.is_none();
        self.from = next;
        if ended {
            self.map = match self.map {
                SweptMap::New => SweptMap::Established,
                SweptMap::Established => {
                    step.repaired = self.recount.end()?;
                    SweptMap::Foreign
                }
                SweptMap::Foreign => {
                    step.ended = Some(std::mem::take(&mut self.states));
                    SweptMap::New
                }
            };
        }
        Ok(step)
    }

    fn flow_page(&mut self, step: &mut Step) -> Result<Option<Token>, MapError> {
        let page = self.flows.of(self.map).page(self.from.as_ref(), PAGE)?;
        let now = monotonic();
        for (key, flow) in page.entries {
            match judge::alone(&key, &flow, &self.timeouts, now) {
                Verdict::Live => {
                    if flow.direction == direction::REPLY {
                        *self.states.entry(flow.state(key.proto)).or_default() += 1;
                        self.recount.met(self.map, &key, &flow)?;
                    }
                }
                Verdict::Past => self.remove(self.map, &key, &flow, step)?,
                Verdict::AsReply => self.forward(&key, &flow, now, step)?,
            }
        }
        Ok(page.next)
    }

    /// A forward entry that was not verified lately: its reply entry decides.
    fn forward(
        &self,
        key: &FlowKey,
        flow: &Flow,
        now: u64,
        step: &mut Step,
    ) -> Result<(), MapError> {
        let reply = self.flows.find(&flow.reverse_key(key.proto))?;
        if judge::forward(key, flow, reply.as_ref(), self.map, &self.timeouts, now) {
            let _ = self.flows.remove(self.map, key, step, |found| {
                found.generation == flow.generation && found.seen == flow.seen
            })?;
        }
        Ok(())
    }

    /// Removes an entry that is past by itself, after the forward entry of its flow: else the next
    /// packet of the client would make this one again.
    fn remove(
        &self,
        map: SweptMap,
        key: &FlowKey,
        flow: &Flow,
        step: &mut Step,
    ) -> Result<(), MapError> {
        let still = |found: &Flow| {
            found.generation == flow.generation
                && judge::alone(key, found, &self.timeouts, monotonic()) == Verdict::Past
        };
        if self
            .flows
            .of(map)
            .get(key)?
            .is_none_or(|found| !still(&found))
        {
            return Ok(());
        }
        if flow.direction == direction::REPLY && flow.generation != 0 {
            let forward = flow.reverse_key(key.proto);
            for map in [SweptMap::New, SweptMap::Established] {
                let _ = self.flows.remove(map, &forward, step, |found| {
                    found.generation == flow.generation && found.direction == direction::FORWARD
                })?;
            }
        }
        if let Some(gone) = self.flows.remove(map, key, step, still)?
            && gone.direction == direction::REPLY
        {
            self.recount.closed(key, &gone)?;
        }
        Ok(())
    }

    fn foreign_page(&mut self, step: &mut Step) -> Result<Option<Token>, MapError> {
        let page = self.foreign.page(self.from.as_ref(), PAGE)?;
        let now = monotonic();
        for (key, last) in page.entries {
            let past = |last: &u32| is_foreign_past(*last, key.proto, &self.timeouts, now);
            if past(&last) {
                let _ = self.foreign.remove(&key, step, past)?;
            }
        }
        Ok(page.next)
    }
}

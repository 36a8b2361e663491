//! Flows counted anew by backend on the way of a sweep, compared with `lb_flow_counts`, which
//! programs keep by adding and subtracting, and repaired.

use std::collections::{BTreeMap, HashSet};

use lb_common::{
    flow::{Flow, FlowKey},
    load::FlowCounts,
    maps,
};

use super::SweptMap;
use crate::maps::{
    current_ids::CurrentIds,
    dir::BpfDir,
    drift::{drift, lasting},
    pinned::{Access, ArrayPin},
    table::{ArrayTable as _, MapError},
};

/// Numbers of flows by backend id.
type ById = BTreeMap<u32, i64>;

/// Those that are open, and the others.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Counts {
    active: ById,
    inactive: ById,
}

/// The recount.
#[derive(Debug)]
pub(super) struct Recount {
    counts: ArrayPin<u64>,
    ids: CurrentIds,
    before: Counts,
    met: Counts,
    /// Those of `lb_newflows`: a flow that is confirmed meanwhile is met in `lb_flows` too.
    new: HashSet<FlowKey>,
    /// The drift that the last sweep saw, as far as it was not repaired.
    last: Counts,
}

impl Recount {
    pub(super) fn open(dir: &BpfDir) -> Result<Self, MapError> {
        Ok(Self {
            counts: ArrayPin::open(dir, maps::FLOW_COUNTS, Access::Write)?,
            ids: CurrentIds::open(dir)?,
            before: Counts::default(),
            met: Counts::default(),
            new: HashSet::new(),
            last: Counts::default(),
        })
    }

    /// A sweep begins.
    pub(super) fn begin(&mut self) -> Result<(), MapError> {
        self.met = Counts::default();
        self.new = HashSet::new();
        self.ids.renew();
        self.before = self.read()?;
        Ok(())
    }

    /// The reply entry of a flow that lives.
    pub(super) fn met(
        &mut self,
        map: SweptMap,
        key: &FlowKey,
        flow: &Flow,
    ) -> Result<(), MapError> {
        // One of no Service has no backend.
        if flow.backend >= self.counts.len() {
            return Ok(());
        }
        if map == SweptMap::New {
            self.new.insert(*key);
        } else if self.new.contains(key) {
            return Ok(());
        }
        // A reply comes from the backend.
        let place = (key.src, key.sport, key.proto);
        if let Some(id) = self.ids.of(flow.backend, place)? {
            self.met.add(id, one(key, flow));
        }
        Ok(())
    }

    /// A reply entry was removed by the sweep.
    pub(super) fn closed(&self, key: &FlowKey, flow: &Flow) -> Result<(), MapError> {
        if flow.backend >= self.counts.len() {
            return Ok(());
        }
        let word = one(key, flow).to_word().wrapping_neg();
        self.counts.add(flow.backend, word.cast_signed())
    }

    /// All flows were met: repairs the drift that the last sweep saw too, and says how much.
    pub(super) fn end(&mut self) -> Result<u64, MapError> {
        let after = self.read()?;
        let (before, met) = (&self.before, &self.met);
        let mut found = Counts {
            active: drift(&before.active, &met.active, &after.active),
            inactive: drift(&before.inactive, &met.inactive, &after.inactive),
        };
        let active = lasting(&self.last.active, &found.active);
        let inactive = lasting(&self.last.inactive, &found.inactive);
        let mut repaired = 0;
        for (of, left, shift) in [
            (active, &mut found.active, 0),
            (inactive, &mut found.inactive, 32),
        ] {
            for (backend, n) in of {
                self.counts.add(backend, n << shift)?;
                repaired += n.unsigned_abs();
                if let Some(left) = left.get_mut(&backend) {
                    *left -= n;
                }
            }
        }
        self.last = found;
        self.new = HashSet::new();
        Ok(repaired)
    }

    /// Every count that is not zero.
    fn read(&self) -> Result<Counts, MapError> {
        let mut counts = Counts::default();
        for (backend, word) in self.counts.used()? {
            counts.add(backend, FlowCounts::from_word(word));
        }
        Ok(counts)
    }
}

impl Counts {
    fn add(&mut self, backend: u32, FlowCounts { active, inactive }: FlowCounts) {
        for (by, n) in [(&mut self.active, active), (&mut self.inactive, inactive)] {
            if n != 0 {
                *by.entry(backend).or_default() += i64::from(n);
            }
        }
    }
}

fn one(key: &FlowKey, flow: &Flow) -> FlowCounts {
    FlowCounts::one(flow.state(key.proto))
}

//! Open connections counted anew from the sockets themselves, compared with `lb_active`, which
//! programs keep by adding and subtracting, and repaired; records of session affinity likewise.

mod affinity;

use std::collections::BTreeMap;

use affinity::Shares;
use anyhow::{Context as _, Result};
use lb_common::maps;

use super::records::Records;
use crate::maps::{
    current_ids::CurrentIds,
    dir::BpfDir,
    drift::{drift, lasting},
    pinned::{Access, ArrayPin},
    table::ArrayTable as _,
};

/// Records of session affinity are counted in one of so many runs.
const AFFINITY_EVERY: u64 = 3;

/// In how many walks a recount must see a difference before it takes it for drift.
const WALKS: usize = 3;

/// What a recount found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Recounted {
    /// Sockets with a record.
    pub sockets: u64,
    /// Open connections among them.
    pub connections: u64,
    /// By how much the counts were off in each of three walks, summed over all backends. Part of it
    /// may be connections that were opened or closed meanwhile.
    pub drift: u64,
    /// How much of the drift the last recount saw too, and this one repaired.
    pub repaired: u64,
}

/// One walk over all sockets.
struct Walk {
    sockets: u64,
    connections: u64,
    /// What must be added to each count, by backend id.
    drift: BTreeMap<u32, i64>,
}

/// Starts recounts.
#[derive(Debug)]
pub struct Recounts {
    dir: BpfDir,
    records: Records,
}

impl Recounts {
    pub(crate) fn new(dir: &BpfDir, records: Records) -> Self {
        let dir = dir.clone();
        Self { dir, records }
    }

    /// A recount that has seen no drift yet. The pins of new maps must have replaced those of the
    /// old ones.
    pub fn start(&self) -> Result<Recount> {
        Ok(Recount {
            records: self.records.try_clone()?,
            active: ArrayPin::open(&self.dir, maps::ACTIVE, Access::Write)?,
            ids: CurrentIds::open(&self.dir)?,
            shares: Shares::open(&self.dir)?,
            runs: 0,
            last: BTreeMap::new(),
        })
    }
}

/// The recount, to be run every few seconds.
#[derive(Debug)]
pub struct Recount {
    records: Records,
    active: ArrayPin<u64>,
    ids: CurrentIds,
    shares: Shares,
    /// How often it has run.
    runs: u64,
    /// Drift by backend id, of the last run.
    last: BTreeMap<u32, i64>,
}

impl Recount {
    /// Walks over all sockets, compares, and repairs the drift that the last run saw too.
    pub fn run(&mut self) -> Result<Recounted> {
        if self.runs.is_multiple_of(AFFINITY_EVERY) {
            let recounted = self.shares.recount();
            recounted.context("records of session affinity")?;
        }
        self.runs += 1;
        let mut walk = self.walk()?;
        // What was opened and closed again meanwhile is gone the next time.
        for _ in 1..WALKS {
            if walk.drift.is_empty() {
                break;
            }
            let again = self.walk()?;
            walk = Walk {
                drift: lasting(&walk.drift, &again.drift),
                ..again
            };
        }
        let Walk {
            sockets,
            connections,
            drift,
        } = walk;
        let repairs = lasting(&self.last, &drift);
        for (backend, n) in &repairs {
            self.active.add(*backend, *n)?;
        }
        let total = |by: &BTreeMap<u32, i64>| by.values().map(|n| n.unsigned_abs()).sum();
        let found = Recounted {
            sockets,
            connections,
            drift: total(&drift),
            repaired: total(&repairs),
        };
        self.last = drift;
        for (backend, n) in repairs {
            if let Some(left) = self.last.get_mut(&backend) {
                *left -= n;
            }
        }
        Ok(found)
    }

    /// Counts the sockets, and compares.
    fn walk(&mut self) -> Result<Walk> {
        let before = self.counts()?;
        let records = self.records.read()?;
        let after = self.counts()?;
        let (mut met, mut connections) = (BTreeMap::new(), 0);
        self.ids.renew();
        for record in records.iter().filter(|r| r.counted != 0) {
            let place = (record.backend, record.backend_port, record.proto);
            if let Some(id) = self.ids.of(record.backend_id, place)? {
                *met.entry(id).or_default() += 1;
                connections += 1;
            }
        }
        Ok(Walk {
            sockets: records.len() as u64,
            connections,
            drift: drift(&before, &met, &after),
        })
    }

    /// Every count that is not zero; one that fell below zero is negative.
    fn counts(&self) -> Result<BTreeMap<u32, i64>> {
        let used = self.active.used()?.into_iter();
        Ok(used.map(|(id, word)| (id, word.cast_signed())).collect())
    }
}

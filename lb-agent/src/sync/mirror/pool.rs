//! What stands in the maps under one service index. A mirror, updated element by element as writes succeed.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::pool::Pool;

use crate::{maps::table::SourceRangeKey, plan::desired::Bits};

use super::slot_ranges::Range;

/// The mirror of one service index.
pub(in crate::sync) struct PoolState {
    /// A planned Service holds it; false for one that a previous agent left, until it is recognised.
    pub(in crate::sync) owned: bool,
    /// What stands here is what its Service wants, or was. One that is recognised by a frontend may hold what another Service
    /// has left there, until it is written or found to be as it should.
    pub(in crate::sync) proven: bool,
    /// The entry of `lb_pools`.
    pub(in crate::sync) svc: Pool,
    /// Its slots, if it has any.
    pub(in crate::sync) range: Option<Range>,
    /// Backend ids in the slots.
    pub(in crate::sync) slots: Box<[u32]>,
    /// Entries of `lb_members`.
    pub(in crate::sync) members: BTreeMap<u32, Bits>,
    /// Entries of `lb_srcranges`.
    pub(in crate::sync) source_ranges: BTreeSet<SourceRangeKey>,
    /// Frontends that lead here.
    pub(in crate::sync) fronts: u32,
}

impl PoolState {
    /// Nothing in the maps.
    pub(in crate::sync) fn new() -> Self {
        Self {
            owned: true,
            proven: true,
            svc: Pool::EMPTY,
            range: None,
            slots: Box::default(),
            members: BTreeMap::new(),
            source_ranges: BTreeSet::new(),
            fronts: 0,
        }
    }

    /// Its entry in `lb_pools` is written and its Service's own, so that frontends may lead to it.
    pub(in crate::sync) fn live(&self) -> bool {
        self.svc.id != 0 && self.proven
    }
}

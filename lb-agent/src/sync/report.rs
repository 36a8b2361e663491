//! What a sync did, for logs, metrics, Events and readiness, with writes counted by map.

use std::{
    collections::BTreeSet,
    fmt,
    ops::{Index, IndexMut},
};

use crate::{
    maps::{PerTable, Table, table::MapError},
    model::{ObjectKey, Synced, Trigger},
    plan,
};

/// What one [`Engine::sync`](super::Engine::sync) did.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Services that were planned anew.
    pub planned: usize,
    /// Services of which something was written.
    pub services_changed: usize,
    /// Services that were planned anew or are gone, and those of which something was written:
    /// what is known of their names may be out of date.
    pub services: BTreeSet<ObjectKey>,
    /// Elements written or removed.
    pub writes: Writes,
    /// Something was removed, so there may be room now for what failed.
    pub freed: bool,
    /// Barriers waited for, about 8 ms each.
    pub barriers: u32,
    /// What did not work this time.
    pub failed: Vec<Failure>,
    /// Every source had finished its first list, so what is absent was removed.
    pub synced: bool,
    /// The first sync of which that is true.
    pub first_synced: bool,
    /// [`Engine::health_checks`](super::Engine::health_checks) reports something else than before.
    pub health_changed: bool,
    /// [`Engine::problems`](super::Engine::problems) may report something else than before.
    pub problems_changed: bool,
    /// What connected UDP sockets may have lost: memberships of UDP backends that no longer serve,
    /// and UDP frontends that lead elsewhere or are gone.
    pub udp_lost: u64,
    /// Backends that pools with a removal policy lost, and pools that got one: sockets of other
    /// protocols than UDP may have to be reset.
    pub connections_lost: u64,
    /// When the changes behind the slices of this sync were made (see
    /// [`Changes`](crate::model::Changes)).
    pub trigger_times: Vec<Trigger>,
}

impl Report {
    /// Nothing is pending: what could not be written was refused for a reason that retrying does
    /// not remove.
    #[must_use]
    pub fn applied(&self) -> bool {
        self.failed.iter().all(|f| f.error.is_refusal())
    }
}

/// Something that could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The Service that it belongs to; `None` for what belongs to none any more.
    pub service: Option<ObjectKey>,
    /// Why.
    pub error: FailureCause,
}

/// Why something could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FailureCause {
    /// The kernel refused.
    Map(MapError),
    /// The Service cannot be programmed; retrying is of no use until it changes.
    Plan(plan::PlanError),
}

impl FailureCause {
    /// What was asked for does not fit, and retrying does not help: the object or a map's size has
    /// to change. Any other failure is the agent's own.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Plan(_) | Self::Map(MapError::Full { .. }))
    }
}

impl fmt::Display for FailureCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map(e) => e.fmt(f),
            Self::Plan(e) => e.fmt(f),
        }
    }
}

/// Elements written (inserted, stored or removed), by table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Writes(PerTable<u64>);

impl Writes {
    /// Adds these.
    pub fn add(&mut self, more: &Self) {
        for (table, n) in more.iter() {
            self[table] += n;
        }
    }

    /// Every table with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Table, u64)> {
        self.0.iter().map(|(table, n)| (table, *n))
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.iter().map(|(_, n)| n).sum()
    }

    /// Writes that cost a system call or a part of one: all except those of mapped arrays.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        let arrays = [Table::Pools, Table::Slots, Table::Backends];
        let hashed = self.iter().filter(|(table, _)| !arrays.contains(table));
        hashed.map(|(_, n)| n).sum()
    }
}

impl Index<Table> for Writes {
    type Output = u64;

    fn index(&self, table: Table) -> &u64 {
        &self.0[table]
    }
}

impl IndexMut<Table> for Writes {
    fn index_mut(&mut self, table: Table) -> &mut u64 {
        &mut self.0[table]
    }
}

/// How full a map is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Its name.
    pub map: &'static str,
    /// Entries in use, including those that wait for a barrier.
    pub entries: u32,
    /// Entries it can hold.
    pub capacity: u32,
}

/// The state of the engine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Which sources have listed everything.
    pub sources: Synced,
    /// A sync with every source listed has been done.
    pub synced: bool,
    /// Services that are planned.
    pub services: usize,
    /// Services that are not completely in the maps.
    pub retrying: usize,
    /// Of these, the ones that do not fit, see [`FailureCause::is_refusal`].
    pub refused: usize,
    /// [`Engine::retry`](super::Engine::retry) may help some.
    pub waiting: bool,
    /// Something waits for a barrier: [`Engine::settle`](super::Engine::settle) when idle.
    pub unsettled: bool,
    /// The maps that services live in.
    pub usage: Vec<Usage>,
}

/// What the servers on a Service's `healthCheckNodePort` answer with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// Their port, and the endpoints that they count.
    pub facts: plan::HealthCheck,
    /// The maps hold its node ports. A Service whose node port was refused is not served here,
    /// however many endpoints it has.
    pub programmed: bool,
}

/// Adds a failure to the report.
pub(super) fn fail(report: &mut Report, service: Option<ObjectKey>, error: MapError) {
    report.failed.push(Failure {
        service,
        error: FailureCause::Map(error),
    });
}

//! What a sync did, for logs, metrics, Events and readiness. Owns the counting of writes by map.

use std::fmt;

use crate::{
    maps::table::MapError,
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
    /// Elements written or removed.
    pub writes: Writes,
    /// Something was taken away, so that there may be room now for what failed.
    pub freed: bool,
    /// Barriers waited for, about 8 ms each.
    pub barriers: u32,
    /// What did not work this time.
    pub failed: Vec<Failure>,
    /// Every watch had finished its first list, so what is absent was removed.
    pub synced: bool,
    /// The first sync of which that is true.
    pub first_synced: bool,
    /// [`Engine::health_checks`](super::Engine::health_checks) tells something else than before.
    pub health_changed: bool,
    /// [`Engine::problems`](super::Engine::problems) may tell something else than before.
    pub problems_changed: bool,
    /// What connected UDP sockets may have lost: memberships of UDP backends that no longer serve, and UDP frontends that
    /// lead elsewhere or nowhere.
    pub udp_left: u64,
    /// When the changes behind the slices of this sync were made (see [`Changes`](crate::model::Changes)).
    pub trigger_times: Vec<Trigger>,
}

impl Report {
    /// Nothing waits any more: what could not be written was refused for a reason that waiting does not cure.
    #[must_use]
    pub fn applied(&self) -> bool {
        self.failed.iter().all(|f| f.error.is_refusal())
    }
}

/// Something that could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Whose it is; `None` for what belongs to no Service any more.
    pub service: Option<ObjectKey>,
    /// Why.
    pub error: FailureCause,
}

/// Why something could not be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FailureCause {
    /// The kernel refused.
    Map(MapError),
    /// The Service cannot be carried as it is; trying again is of no use until it changes.
    Plan(plan::PlanError),
}

impl FailureCause {
    /// What was asked for does not fit, and waiting cures nothing: the object or a map's size has to change. Anything else
    /// is the agent's own trouble.
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

/// Elements written (inserted, stored or removed), by map.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Writes {
    /// `lb_frontends`
    pub services: u64,
    /// `lb_nodeports`
    pub nodeports: u64,
    /// `lb_nodeaddrs`
    pub nodeaddrs: u64,
    /// `lb_members`
    pub members: u64,
    /// `lb_srcranges`
    pub srcranges: u64,
    /// `lb_pools`
    pub svc: u64,
    /// `lb_slots`
    pub slots: u64,
    /// `lb_backends`
    pub backends: u64,
}

impl Writes {
    /// These too.
    pub fn add(&mut self, more: &Self) {
        let Self {
            services,
            nodeports,
            nodeaddrs,
            members,
            srcranges,
            svc,
            slots,
            backends,
        } = *more;
        self.services += services;
        self.nodeports += nodeports;
        self.nodeaddrs += nodeaddrs;
        self.members += members;
        self.srcranges += srcranges;
        self.svc += svc;
        self.slots += slots;
        self.backends += backends;
    }

    /// By name of the map.
    #[must_use]
    pub fn by_map(&self) -> [(&'static str, u64); 8] {
        use lb_common::maps;
        let Self {
            services,
            nodeports,
            nodeaddrs,
            members,
            srcranges,
            svc,
            slots,
            backends,
        } = *self;
        [
            (maps::FRONTENDS.name, services),
            (maps::NODEPORTS.name, nodeports),
            (maps::NODEADDRS.name, nodeaddrs),
            (maps::MEMBERS.name, members),
            (maps::SRCRANGES.name, srcranges),
            (maps::POOLS.name, svc),
            (maps::SLOTS.name, slots),
            (maps::BACKENDS.name, backends),
        ]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_map().iter().map(|(_, n)| n).sum()
    }

    /// Those that cost a system call or a part of one: all but the mapped arrays.
    #[must_use]
    pub fn hashed(&self) -> u64 {
        self.services + self.nodeports + self.nodeaddrs + self.members + self.srcranges
    }
}

/// How full a map is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Its name.
    pub map: &'static str,
    /// Entries in use, those that wait for a barrier included.
    pub entries: u32,
    /// Entries it can hold.
    pub capacity: u32,
}

/// Where the engine stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Which sources have listed everything.
    pub sources: Synced,
    /// A sync with every source listed has been done.
    pub synced: bool,
    /// Services that are carried.
    pub services: usize,
    /// Services of which not all could be written, this time or at an earlier one.
    pub retrying: usize,
    /// Those of them that do not fit, see [`FailureCause::is_refusal`].
    pub refused: usize,
    /// [`Engine::retry`](super::Engine::retry) may help some.
    pub waiting: bool,
    /// Something waits for a barrier: [`Engine::settle`](super::Engine::settle) when idle.
    pub unsettled: bool,
    /// The maps that services live in.
    pub usage: Vec<Usage>,
}

/// What the servers on a Service's `healthCheckNodePort` have to tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// Where they listen, and what they count.
    pub facts: plan::HealthCheck,
    /// Its node ports stand in the maps. One that was refused is not served here, however many endpoints it has.
    pub carried: bool,
}

/// Adds a failure to the report.
pub(super) fn fail(report: &mut Report, service: Option<ObjectKey>, error: MapError) {
    report.failed.push(Failure {
        service,
        error: FailureCause::Map(error),
    });
}

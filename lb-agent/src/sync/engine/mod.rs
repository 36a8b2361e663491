//! The engine: facts in, map writes out. It remembers what is planned and what has to be retried,
//! and never removes what a previous agent left before every source has finished its first list.

mod leavers;
mod ownership;
mod queries;
mod retry;
mod stale_sockets;
mod starters;
mod watched;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Instant,
};

use leavers::Leavers;
use queries::Recheck;
pub use stale_sockets::Association;
use starters::{Newcomers, Starters};
pub use watched::Watched;

use super::{
    mirror::{Effects, Mirror, NodePorts, Vips, restore},
    report::{Failure, FailureCause, HealthCheck, Report, Writes, fail},
    write::{
        self, Job, Outcome, prune, publish, refresh_backends, write_after_publish,
        write_before_publish, write_node_addresses,
    },
};
use crate::{
    maps::{Maps, Table, table::MapError},
    model::{Cluster, Event, ObjectKey, Service},
    plan::{self, FrontendKey, PlanConfig, PoolId, ServicePlan, no_local::NoLocal},
};

/// Services that are planned at a time where they need not all be planned before the first write.
const PART: usize = 500;

/// Model, plan and sync of one node. One task owns it; no clock, nothing asynchronous.
pub struct Engine {
    config: PlanConfig,
    pub(super) cluster: Cluster,
    pub(super) mirror: Mirror,
    pub(super) planned: HashMap<ObjectKey, Planned>,
    /// Services whose plan has problems.
    pub(super) troubled: BTreeSet<ObjectKey>,
    /// To be planned at the next sync.
    pub(super) dirty: BTreeSet<ObjectKey>,
    /// What did not fit: to be planned when the Service changes, or at [`Engine::retry`].
    pub(super) refused: BTreeSet<ObjectKey>,
    /// To be planned when every source has finished its first list.
    deferred: BTreeSet<ObjectKey>,
    /// What failed last, by Service.
    pub(super) errors: BTreeMap<ObjectKey, FailureCause>,
    /// What the health checks of Services report.
    pub(super) checks: BTreeMap<ObjectKey, HealthCheck>,
    addresses_dirty: bool,
    leavers: Leavers,
    starters: Starters,
    /// The time that [`Engine::set_time`] brought; `None` before it does.
    now: Option<Instant>,
    /// Services with passive health.
    watching: BTreeSet<ObjectKey>,
    /// Services whose removal policy resets connections.
    resetting: BTreeSet<ObjectKey>,
    /// Services whose connections may not be of any age.
    aging: BTreeSet<ObjectKey>,
    /// See [`Report::problems_changed`].
    pub(super) problems_changed: bool,
    pub(super) synced: bool,
    /// Over all that is planned.
    pub(super) no_local: NoLocal,
    /// Since the start.
    pub(super) wrote: Writes,
}

/// What the engine remembers of a plan.
pub(super) struct Planned {
    pub(super) pools: Box<[(PoolId, u32)]>,
    pub(super) frontends: Box<[FrontendKey]>,
    pub(super) problems: Box<[String]>,
    pub(super) sctp_ports: usize,
    pub(super) health: Option<plan::HealthCheck>,
    no_local: NoLocal,
}

impl Engine {
    /// Takes over what the maps hold.
    pub fn restore(maps: &mut Maps, config: PlanConfig) -> Result<Self, MapError> {
        Ok(Self {
            config,
            cluster: Cluster::default(),
            mirror: restore(maps)?,
            planned: HashMap::new(),
            troubled: BTreeSet::new(),
            dirty: BTreeSet::new(),
            refused: BTreeSet::new(),
            deferred: BTreeSet::new(),
            errors: BTreeMap::new(),
            checks: BTreeMap::new(),
            addresses_dirty: false,
            leavers: Leavers::default(),
            starters: Starters::default(),
            now: None,
            watching: BTreeSet::new(),
            resetting: BTreeSet::new(),
            aging: BTreeSet::new(),
            problems_changed: false,
            synced: false,
            no_local: NoLocal::default(),
            wrote: Writes::default(),
        })
    }

    /// Takes in one fact. Cheap; nothing is written before [`Engine::sync`].
    pub fn handle(&mut self, event: Event) {
        self.cluster.apply(event);
    }

    /// Writes what has changed since the last call, and retries what failed then, except what did
    /// not fit into a map (see [`Engine::retry`]). When nothing has changed, nothing is written.
    /// Until Services, slices and the Node are known completely, a Service is programmed only if it
    /// has an endpoint and no previous agent left it in the maps; nothing is removed.
    #[must_use = "it says what failed"]
    pub fn sync(&mut self, maps: &mut Maps) -> Report {
        let mut report = Report {
            synced: self.cluster.synced().objects(),
            ..Report::default()
        };
        report.first_synced = report.synced && !self.synced;
        let changed = self.gather(&mut report);
        let mut changed: Vec<ObjectKey> = changed.into_iter().collect();
        if report.first_synced {
            // Owners of contested frontends come first, and recognise the indices that these lead
            // to.
            changed.sort_by_cached_key(|key| self.cluster.service(key).map(|s| s.rank()));
        }
        // A first sync onto empty maps, owners first, has nothing to move or to remove, so it need
        // not hold everything that it is about to write.
        let part = if report.first_synced && !self.has_leftovers() {
            PART
        } else {
            usize::MAX
        };
        let mut touched = BTreeSet::new();
        let mut parts = changed.chunks(part).peekable();
        loop {
            let jobs = self.plan_all(parts.next().unwrap_or_default(), maps, &mut report);
            let is_last = parts.peek().is_none();
            if is_last && report.first_synced {
                self.mirror.sweep();
                self.synced = true;
            }
            self.write(jobs, maps, &mut report, &mut touched);
            if is_last {
                break;
            }
        }
        if self.addresses_dirty {
            let desired = self.cluster.addresses();
            let outcome = write_node_addresses(desired, &mut self.mirror, maps, &mut report);
            self.addresses_dirty = outcome == Outcome::Incomplete;
        }
        report.services_changed = touched.len();
        touched.extend(changed.iter().cloned());
        report.services = touched;
        let recheck = match report.writes[Table::NodePorts] {
            0 => Recheck::Changed,
            _ => Recheck::All,
        };
        report.health_changed = self.check_health(changed, recheck);
        let Effects {
            freed,
            udp_lost,
            connections_lost,
        } = self.mirror.take_effects();
        (report.freed, report.udp_lost) = (freed, udp_lost);
        report.connections_lost = connections_lost;
        self.remember(&report);
        self.problems_changed |= self.mirror.take_contest_change();
        report.problems_changed = std::mem::take(&mut self.problems_changed);
        self.wrote.add(&report.writes);
        report
    }

    /// Waits for a barrier and clears what is retired, if anything is. For idle times: 8 ms.
    #[must_use = "it says what failed"]
    pub fn settle(&mut self, maps: &mut Maps) -> Report {
        let mut report = Report::default();
        if self.mirror.is_unsettled()
            && let Err(error) = write::barrier(&mut self.mirror, maps, &mut report)
        {
            fail(&mut report, None, error);
        }
        self.wrote.add(&report.writes);
        report
    }

    /// Services to plan now.
    fn gather(&mut self, report: &mut Report) -> BTreeSet<ObjectKey> {
        let changes = self.cluster.take_changes();
        report.trigger_times = changes.trigger_times;
        self.addresses_dirty |= changes.addresses;
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.extend(changes.services);
        if changes.everything {
            self.config.machine.clone_from(self.cluster.machine());
            dirty.extend(self.cluster.services().map(|s| s.key.clone()));
        }
        if report.synced {
            dirty.append(&mut self.deferred);
        }
        dirty
    }

    /// Plans these Services, and forgets those that no longer exist.
    fn plan_all(
        &mut self,
        changed: &[ObjectKey],
        maps: &mut Maps,
        report: &mut Report,
    ) -> Vec<Job> {
        let mut jobs = Vec::new();
        for key in changed {
            report.planned += 1;
            self.problems_changed |= self.errors.remove(key).is_some();
            self.refused.remove(key);
            match self.cluster.service(key).cloned() {
                Some(service) => self.plan(&service, &mut jobs, maps, report),
                None => self.forget(key),
            }
        }
        jobs
    }

    /// Writes what was planned; adds to `touched` the Services of which something was.
    fn write(
        &mut self,
        mut jobs: Vec<Job>,
        maps: &mut Maps,
        report: &mut Report,
        touched: &mut BTreeSet<ObjectKey>,
    ) {
        touched.extend(jobs.iter().map(|j| j.service.clone()));
        let mirror = &mut self.mirror;
        write_before_publish(&mut jobs, mirror, maps, report);
        publish::<Vips>(mirror, maps, report, touched);
        publish::<NodePorts>(mirror, maps, report, touched);
        write_after_publish(&mut jobs, mirror, maps, report);
        prune(mirror, maps, report);
        refresh_backends(mirror, maps, report);
    }

    /// Plans a Service, finds its indices, and makes a job of each pool that differs.
    fn plan(
        &mut self,
        service: &Service,
        jobs: &mut Vec<Job>,
        maps: &mut Maps,
        report: &mut Report,
    ) {
        let slices = self.cluster.slices(&service.key);
        let zone = self.cluster.zone().map(|z| &**z);
        let mut plan = plan::plan(service, slices, zone, &self.config);
        if !report.synced && self.waits(&plan) {
            self.deferred.insert(service.key.clone());
            return;
        }
        let indices = match self.indices(&service.key, &plan, maps, report) {
            Ok(indices) => indices,
            Err(error) => {
                fail(report, Some(service.key.clone()), error);
                return;
            }
        };
        self.own_frontends(service, &plan, &indices);
        // What a Service has when it gets slow start is not new.
        let known = self.starters.knows(&service.key) || !self.planned.contains_key(&service.key);
        let newcomers = if self.synced && known {
            Newcomers::Start
        } else {
            Newcomers::Old
        };
        self.starters.apply(service, &mut plan, self.now, newcomers);
        for (pool, index) in plan.pools.iter_mut().zip(&indices) {
            if let Some(error) = pool.refused.clone() {
                report.failed.push(Failure {
                    service: Some(service.key.clone()),
                    error: FailureCause::Plan(error),
                });
                continue;
            }
            let quarantined = self.cluster.quarantined(&service.key);
            plan::quarantine::apply(pool, quarantined);
            self.leavers
                .keep(&service.key, pool, *index, &self.mirror, self.now);
            match Job::new(&service.key, pool, *index, &mut self.mirror, maps, report) {
                Some(job) => jobs.push(job),
                None => self.mirror.verify(*index),
            }
        }
        self.watch(&service.key, &plan);
        if plan.pools.iter().any(|pool| pool.grace.is_some()) {
            self.resetting.insert(service.key.clone());
        } else {
            self.resetting.remove(&service.key);
        }
        if plan.pools.iter().any(|pool| pool.max_age_secs > 0) {
            self.aging.insert(service.key.clone());
        } else {
            self.aging.remove(&service.key);
        }
        let ServicePlan {
            pools,
            frontends,
            problems,
            sctp_ports,
            health,
            no_local,
        } = plan;
        let ids = pools.into_iter().map(|p| p.id);
        let planned = Planned {
            pools: ids.zip(indices).collect(),
            frontends: frontends.iter().map(|f| f.key).collect(),
            problems: problems.into(),
            sctp_ports,
            health,
            no_local,
        };
        if planned.problems.is_empty() {
            self.troubled.remove(&service.key);
        } else {
            self.troubled.insert(service.key.clone());
        }
        let known = self.planned.get(&service.key);
        self.problems_changed |= known.map_or(&[][..], |p| &p.problems) != &*planned.problems;
        let before = self.planned.insert(service.key.clone(), planned);
        let before = before.map_or_else(NoLocal::default, |p| p.no_local);
        self.no_local = self.no_local.replaced(before, no_local);
    }

    /// Before everything is listed: a Service that a previous agent left in the maps is not
    /// touched, since some of its slices may be missing; one without endpoints would gain nothing.
    fn waits(&self, plan: &ServicePlan) -> bool {
        let restored = |key: &FrontendKey| {
            let target = self.mirror.target(key);
            let pool = target.and_then(|index| self.mirror.pool(index));
            pool.is_some_and(|pool| !pool.is_owned())
        };
        plan.pools.iter().all(|p| p.members.is_empty())
            || plan.frontends.iter().any(|f| restored(&f.key))
    }

    /// The Service is gone.
    fn forget(&mut self, key: &ObjectKey) {
        self.deferred.remove(key);
        self.errors.remove(key);
        self.watching.remove(key);
        self.resetting.remove(key);
        self.aging.remove(key);
        self.starters.forget(key);
        self.problems_changed |= self.troubled.remove(key);
        let Some(planned) = self.planned.remove(key) else {
            return;
        };
        self.no_local = self.no_local.replaced(planned.no_local, NoLocal::default());
        for front in &planned.frontends {
            self.mirror.release(front, key);
        }
        for (_, index) in &planned.pools {
            self.leavers.forget(*index);
        }
        let indices = planned.pools.iter().map(|(_, index)| *index);
        self.mirror.abandon(indices);
    }
}

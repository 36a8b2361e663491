//! The engine: facts in, map writes out. Owns what is planned, what is retried, and the rule that nothing a previous agent
//! left is taken away before every watch has finished its first list.

mod ownership;
mod queries;
mod retry;
pub(in crate::sync) mod stale_sockets;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use lb_common::frontend::{self, VipKey, scope};

use crate::{
    maps::{Maps, table::MapError},
    model::{Cluster, Event, ObjectKey, Service},
    plan::{self, FrontKey, PlanConfig, PoolId, ServicePlan, no_local::NoLocal},
};

use super::{
    mirror::{restore::restore, state::State},
    report::{Failure, FailureCause, HealthCheck, Report, Writes, fail},
    write::{
        frontends::{self, NODEPORTS, SERVICES},
        pools::{self, Job},
    },
};

/// Services that are planned before their maps are written, where they need not all be.
const PART: usize = 500;

/// Model, plan and sync of one node. One task owns it; no clock, nothing asynchronous.
pub struct Engine {
    config: PlanConfig,
    pub(in crate::sync) cluster: Cluster,
    pub(in crate::sync) state: State,
    pub(in crate::sync) planned: HashMap<ObjectKey, Planned>,
    /// Those of which a plan has problems.
    pub(in crate::sync) troubled: BTreeSet<ObjectKey>,
    /// To be planned at the next sync.
    pub(in crate::sync) dirty: BTreeSet<ObjectKey>,
    /// What did not fit: to be planned when something has changed about it, or at [`Engine::retry`].
    pub(in crate::sync) refused: BTreeSet<ObjectKey>,
    /// To be planned when every watch has finished its first list.
    deferred: BTreeSet<ObjectKey>,
    /// What failed last, by Service.
    pub(in crate::sync) errors: BTreeMap<ObjectKey, FailureCause>,
    /// What the health checks of Services tell.
    pub(in crate::sync) checks: BTreeMap<ObjectKey, HealthCheck>,
    addresses_dirty: bool,
    /// See [`Report::problems_changed`].
    pub(in crate::sync) problems_changed: bool,
    pub(in crate::sync) synced: bool,
    /// Over all that is planned.
    pub(in crate::sync) no_local: NoLocal,
    /// Since the start.
    pub(in crate::sync) wrote: Writes,
}

/// What the engine remembers of a plan.
pub(in crate::sync) struct Planned {
    pub(in crate::sync) pools: Box<[(PoolId, u32)]>,
    pub(in crate::sync) fronts: Box<[FrontKey]>,
    pub(in crate::sync) problems: Box<[String]>,
    pub(in crate::sync) sctp_ports: usize,
    pub(in crate::sync) health: Option<plan::HealthCheck>,
    no_local: NoLocal,
}

impl Engine {
    /// Takes over what stands in the maps.
    pub fn restore(maps: &mut Maps, config: PlanConfig) -> Result<Self, MapError> {
        Ok(Self {
            config,
            cluster: Cluster::default(),
            state: restore(maps)?,
            planned: HashMap::new(),
            troubled: BTreeSet::new(),
            dirty: BTreeSet::new(),
            refused: BTreeSet::new(),
            deferred: BTreeSet::new(),
            errors: BTreeMap::new(),
            checks: BTreeMap::new(),
            addresses_dirty: false,
            problems_changed: false,
            synced: false,
            no_local: NoLocal::default(),
            wrote: Writes::default(),
        })
    }

    /// Services stand in the maps that nobody has claimed yet.
    #[must_use]
    pub fn has_leftovers(&self) -> bool {
        self.state.pools.values().any(|pool| !pool.owned)
    }

    /// Takes in one fact. Cheap; nothing is written before [`Engine::sync`].
    pub fn handle(&mut self, event: Event) {
        self.cluster.apply(event);
    }

    /// What is known.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The addresses that services are to have on `lb0`, as far as they are planned; some more than once.
    pub fn routed(&self) -> impl Iterator<Item = IpAddr> {
        self.state.services.claimed().filter_map(|(key, flags)| {
            let wanted = frontend::VIP_MARK | frontend::ROUTED;
            (key.scope == scope::INTERNAL && flags & wanted == wanted).then(|| key.addr.into())
        })
    }

    /// Ports of load balancers' and external addresses whose packets are to be led to `lb0`, as far as they are planned.
    pub fn led(&self) -> impl Iterator<Item = VipKey> {
        self.state.services.claimed().filter_map(|(key, flags)| {
            let port = flags & (frontend::VIP_MARK | frontend::ROUTED) == frontend::ROUTED;
            (key.scope == scope::INTERNAL && port).then_some(key)
        })
    }

    /// Writes what has changed since the last call, and tries again what failed then, but for what did not fit into a map
    /// (see [`Engine::retry`]). When nothing has changed, nothing is written. Until Services, slices and the Node
    /// are known completely, only services are carried that no previous agent has left in the maps and that have an
    /// endpoint; nothing is taken away.
    #[must_use = "it tells what failed"]
    pub fn sync(&mut self, maps: &mut Maps) -> Report {
        let mut report = Report {
            synced: self.cluster.synced().objects(),
            ..Report::default()
        };
        report.first_synced = report.synced && !self.synced;
        let changed = self.gather(&mut report);
        let mut changed: Vec<ObjectKey> = changed.into_iter().collect();
        if report.first_synced {
            // Those that win contested frontends come first, and recognise the indices that these lead to.
            changed.sort_by_cached_key(|key| self.cluster.service(key).map(|s| s.rank()));
        }
        // A first sync onto empty maps, winners first, has nothing to move or to take away, so it need not hold all that it
        // is about to write.
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
                self.sweep();
                self.synced = true;
            }
            self.write(jobs, maps, &mut report, &mut touched);
            if is_last {
                break;
            }
        }
        if self.addresses_dirty {
            let wanted = self.cluster.addresses();
            self.addresses_dirty =
                !frontends::addresses(wanted, &mut self.state, maps, &mut report);
        }
        report.services_changed = touched.len();
        report.health_changed = self.check_health(changed, report.writes.nodeports > 0);
        report.udp_left = std::mem::take(&mut self.state.udp_left);
        self.remember(&report);
        for contest in [
            &mut self.state.services.contest,
            &mut self.state.nodeports.contest,
        ] {
            self.problems_changed |= std::mem::take(contest);
        }
        report.problems_changed = std::mem::take(&mut self.problems_changed);
        self.wrote.add(&report.writes);
        report
    }

    /// Waits for a barrier and clears what is retired, if anything is. For idle times: 8 ms.
    #[must_use = "it tells what failed"]
    pub fn settle(&mut self, maps: &mut Maps) -> Report {
        let mut report = Report::default();
        if self.state.unsettled()
            && let Err(error) = self.state.barrier(maps, &mut report)
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

    /// Plans these Services, and lets go of those that are no more.
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
        let state = &mut self.state;
        pools::rise(&mut jobs, state, maps, report);
        frontends::publish(&SERVICES, state, maps, report, touched);
        frontends::publish(&NODEPORTS, state, maps, report, touched);
        pools::fall(&mut jobs, state, maps, report);
        pools::bury(state, maps, report);
        pools::refresh_backends(state, maps, report);
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
        let plan = plan::plan(service, slices, zone, &self.config);
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
        self.claim(service, &plan, &indices);
        for (pool, index) in plan.pools.iter().zip(&indices) {
            if let Some(error) = pool.refused.clone() {
                report.failed.push(Failure {
                    service: Some(service.key.clone()),
                    error: FailureCause::Plan(error),
                });
                continue;
            }
            match Job::new(&service.key, pool, *index, &mut self.state, maps, report) {
                Some(job) => jobs.push(job),
                None => self.state.prove(*index),
            }
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
            fronts: frontends.iter().map(|f| f.key).collect(),
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

    /// Before everything is listed: a Service that a previous agent left in the maps is not touched, since half of its
    /// slices may not have come yet; one without endpoints gains nothing.
    fn waits(&self, plan: &ServicePlan) -> bool {
        let restored = |key: &FrontKey| {
            let written = self.written(key);
            written.is_some_and(|index| self.state.pools.get(&index).is_some_and(|p| !p.owned))
        };
        plan.pools.iter().all(|p| p.members.is_empty())
            || plan.frontends.iter().any(|f| restored(&f.key))
    }

    pub(in crate::sync) fn written(&self, key: &FrontKey) -> Option<u32> {
        let written = match key {
            FrontKey::Address(key) => self.state.services.written(key),
            FrontKey::NodePort(key) => self.state.nodeports.written(key),
        };
        written.map(|r| r.pool)
    }

    /// The Service is gone.
    fn forget(&mut self, key: &ObjectKey) {
        self.deferred.remove(key);
        self.errors.remove(key);
        self.problems_changed |= self.troubled.remove(key);
        let Some(planned) = self.planned.remove(key) else {
            return;
        };
        self.no_local = self.no_local.replaced(planned.no_local, NoLocal::default());
        for front in &planned.fronts {
            self.state.release(front, key);
        }
        let indices = planned.pools.iter().map(|(_, index)| *index);
        self.state.condemned.extend(indices);
    }

    /// Everything is listed: what a previous agent left and nobody has claimed is to go.
    fn sweep(&mut self) {
        self.state.services.sweep();
        self.state.nodeports.sweep();
        let left = self.state.pools.iter().filter(|(_, p)| !p.owned);
        let left: Vec<u32> = left.map(|(index, _)| *index).collect();
        self.state.condemned.extend(left);
    }
}

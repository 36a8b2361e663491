//! What the engine reports when asked: problems, health checks, how full the maps are, which
//! addresses and ports are served.

use std::{collections::BTreeMap, net::IpAddr, time::Instant};

use lb_common::{
    Addr, Proto,
    frontend::{self, NodePortKey, VipKey, scope},
};

use super::{Engine, Planned};
use crate::{
    model::{Cluster, ObjectKey, Service},
    plan::{FrontendKey, MemberFlags, PlanConfig, PoolId, no_local::NoLocal},
    sync::{
        mirror::PoolState,
        report::{HealthCheck, Snapshot},
    },
};

/// Which health checks to compute anew.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Recheck {
    /// Those of Services that changed.
    Changed,
    /// All: a node port was written or removed.
    All,
}

impl Engine {
    /// The maps hold pools of a previous agent that no Service owns yet.
    #[must_use]
    pub fn has_leftovers(&self) -> bool {
        self.mirror.has_leftovers()
    }

    /// The planner's settings, with what it knows of this machine.
    #[must_use]
    pub fn config(&self) -> &PlanConfig {
        &self.config
    }

    /// What is known.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The addresses of planned Services that should be routed to `lb0`; some more than once.
    pub fn routed(&self) -> impl Iterator<Item = IpAddr> {
        self.mirror.vips().owned().filter_map(|(key, flags)| {
            let routed = frontend::VIP_MARK | frontend::ROUTED;
            (key.scope == scope::INTERNAL && flags & routed == routed).then(|| key.addr.into())
        })
    }

    /// Ports of load-balancer and external addresses of planned Services whose packets should be
    /// routed to `lb0`.
    pub fn routed_ports(&self) -> impl Iterator<Item = VipKey> {
        self.mirror.vips().owned().filter_map(|(key, flags)| {
            let port = flags & (frontend::VIP_MARK | frontend::ROUTED) == frontend::ROUTED;
            (key.scope == scope::INTERNAL && port).then_some(key)
        })
    }

    /// The node ports of planned Services; some more than once.
    pub fn node_ports(&self) -> impl Iterator<Item = u16> {
        self.mirror.node_ports().owned().map(|(key, _)| key.port)
    }

    /// Does the map of node ports hold this one, of either family?
    #[must_use]
    pub fn has_node_port(&self, port: u16, proto: u8) -> bool {
        [4, 6].into_iter().any(|family| {
            let key = NodePortKey {
                port,
                proto,
                scope: scope::EXTERNAL,
                family,
                pad: [0; 3],
            };
            self.mirror.node_ports().written(&key).is_some()
        })
    }

    /// It is this late. Services of which a backend goes by now, or one has a larger share, are
    /// planned at the next sync.
    pub fn set_time(&mut self, now: Instant) {
        self.now = Some(now);
        self.dirty.extend(self.leavers.gone(now));
        self.dirty.extend(self.starters.grown(now));
    }

    /// When the next backend goes, or has a larger share.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        let both = self.leavers.next().into_iter().chain(self.starters.next());
        both.min()
    }

    /// Everything that is not programmed as asked, by Service: invalid values, frontends that
    /// another Service owns, failed writes.
    #[must_use]
    pub fn problems(&self) -> BTreeMap<ObjectKey, Vec<String>> {
        let mut all: BTreeMap<ObjectKey, Vec<String>> = BTreeMap::new();
        for key in &self.troubled {
            if let Some(planned) = self.planned.get(key) {
                all.insert(key.clone(), planned.problems.to_vec());
            }
        }
        let mut add = |key: &ObjectKey, text: String| {
            let texts = all.entry(key.clone()).or_default();
            if !texts.contains(&text) {
                texts.push(text);
            }
        };
        for (what, proto, loser, owner) in self.mirror.conflicts() {
            add(loser, taken(&what, proto, owner));
        }
        for (key, error) in &self.errors {
            add(key, error.to_string());
        }
        all
    }

    /// SCTP ports that this node's own clients cannot reach, since there is no `lb0`.
    #[must_use]
    pub fn sctp_ports(&self) -> usize {
        let troubled = self.troubled.iter().filter_map(|key| self.planned.get(key));
        troubled.map(|planned| planned.sctp_ports).sum()
    }

    /// Services with a health check, by name.
    #[must_use]
    pub fn health_checks(&self) -> &BTreeMap<ObjectKey, HealthCheck> {
        &self.checks
    }

    /// Updates the health checks of `changed` Services, and of all others if asked. Has any of them
    /// changed?
    pub(super) fn check_health(&mut self, changed: Vec<ObjectKey>, recheck: Recheck) -> bool {
        let mut keys = changed;
        if recheck == Recheck::All {
            keys.extend(self.checks.keys().cloned());
        }
        let mut different = false;
        for key in keys {
            let planned = self.planned.get(&key);
            let now = planned.and_then(|planned| {
                let facts = planned.health?;
                let programmed = planned
                    .frontends
                    .iter()
                    .all(|frontend| self.is_programmed(frontend, planned));
                Some(HealthCheck { facts, programmed })
            });
            if self.checks.get(&key) != now.as_ref() {
                different = true;
                match now {
                    Some(check) => self.checks.insert(key, check),
                    None => self.checks.remove(&key),
                };
            }
        }
        different
    }

    /// Does the map hold the node port, and lead it to this Service? Other frontends do not matter
    /// here.
    fn is_programmed(&self, frontend: &FrontendKey, planned: &Planned) -> bool {
        let ours = |index| planned.pools.iter().any(|(_, i)| *i == index);
        matches!(frontend, FrontendKey::Address(_))
            || self.mirror.target(frontend).is_some_and(ours)
    }

    /// The pools of a planned Service, with their indices.
    #[must_use]
    pub fn pools(&self, service: &ObjectKey) -> &[(PoolId, u32)] {
        self.planned.get(service).map_or(&[], |p| &p.pools)
    }

    /// The backends of a pool, with their addresses and what they are to it.
    pub fn members(&self, index: u32) -> impl Iterator<Item = (u32, IpAddr, MemberFlags)> {
        let members = self.mirror.pool(index).map(PoolState::members);
        members.into_iter().flatten().filter_map(|(id, flags)| {
            let key = self.mirror.backends().key(*id)?;
            Some((*id, key.addr.into(), *flags))
        })
    }

    /// The frontends in the maps that lead to this Service, each with the pool that it leads to.
    #[must_use]
    pub fn served(&self, service: &ObjectKey) -> Vec<(FrontendKey, PoolId)> {
        let Some(planned) = self.planned.get(service) else {
            return Vec::new();
        };
        let frontends = planned.frontends.iter();
        let served = frontends.filter_map(|key| {
            let target = self.mirror.target(key)?;
            let mut pools = planned.pools.iter();
            let (id, _) = pools.find(|(_, index)| *index == target)?;
            Some((*key, id.clone()))
        });
        // The mark of a VIP leads nowhere; the pool that it names decides about ping.
        let leads = |key: &FrontendKey| !matches!(key, FrontendKey::Address(key) if key.port == 0);
        served.filter(|(key, _)| leads(key)).collect()
    }

    /// The parts of its weight that an endpoint of this Service has now, by address, port and
    /// protocol; `None` if it is not new.
    #[must_use]
    pub fn parts(&self, service: &Service, place: (Addr, u16, Proto), now: Instant) -> Option<u8> {
        self.starters.parts(service, place, now)
    }

    /// Ports with a local-only policy and no endpoint on this node.
    #[must_use]
    pub fn no_local(&self) -> NoLocal {
        self.no_local
    }

    /// Do the maps hold everything that was planned for this Service?
    #[must_use]
    pub fn is_written(&self, service: &ObjectKey) -> bool {
        !self.errors.contains_key(service)
    }

    /// The state of the engine.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            sources: self.cluster.synced(),
            synced: self.synced,
            services: self.planned.len(),
            retrying: self.errors.len(),
            refused: self.errors.values().filter(|e| e.is_refusal()).count(),
            waiting: self.waits_for_room(),
            unsettled: self.mirror.is_unsettled(),
            usage: self.mirror.usage(),
        }
    }
}

fn taken(what: &str, proto: u8, owner: &ObjectKey) -> String {
    let proto = lb_common::Proto::from_number(proto).map_or("?".to_owned(), |p| p.to_string());
    format!(
        "{what}/{proto} belongs to Service {owner}, the older one (or first by name): not served for this one"
    )
}

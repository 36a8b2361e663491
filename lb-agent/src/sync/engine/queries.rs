//! What the engine tells those who ask: problems, health checks, how full the maps are.

use std::collections::BTreeMap;

use crate::{
    model::ObjectKey,
    plan::{FrontKey, no_local::NoLocal},
};

use super::{Engine, Planned};
use crate::sync::report::{HealthCheck, Snapshot};

impl Engine {
    /// Everything that could not be honoured, by Service: values that make no sense, frontends that another Service has,
    /// failed writes.
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
        for (key, claim, winner) in self.state.services.losers() {
            let what = format!("{} port {}", key.addr, key.port);
            add(&claim.by.service, taken(&what, key.proto, winner));
        }
        for (key, claim, winner) in self.state.nodeports.losers() {
            let what = format!("node port {}", key.port);
            add(&claim.by.service, taken(&what, key.proto, winner));
        }
        for (key, error) in &self.errors {
            add(key, error.to_string());
        }
        all
    }

    /// Ports that are not carried for this node's own clients, since they are SCTP and there is no `lb0`.
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

    /// Takes over what `changed` Services, or all that have a health check, tell now. Has anything become different?
    pub(in crate::sync) fn check_health(&mut self, changed: Vec<ObjectKey>, all: bool) -> bool {
        let mut keys = changed;
        if all {
            keys.extend(self.checks.keys().cloned());
        }
        let mut different = false;
        for key in keys {
            let planned = self.planned.get(&key);
            let now = planned.and_then(|planned| {
                let facts = planned.health?;
                let carried = planned
                    .fronts
                    .iter()
                    .all(|front| self.leads(front, planned));
                Some(HealthCheck { facts, carried })
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

    /// Of node ports alone: does it stand in the map, and lead to this Service?
    fn leads(&self, front: &FrontKey, planned: &Planned) -> bool {
        let ours = |index| planned.pools.iter().any(|(_, i)| *i == index);
        matches!(front, FrontKey::Address(_)) || self.written(front).is_some_and(ours)
    }

    /// Ports that nothing serves on this node, though their policy asks for it.
    #[must_use]
    pub fn no_local(&self) -> NoLocal {
        self.no_local
    }

    /// Is all of this Service in the maps that could be planned?
    #[must_use]
    pub fn is_written(&self, service: &ObjectKey) -> bool {
        !self.errors.contains_key(service)
    }

    /// Where the engine stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            sources: self.cluster.synced(),
            synced: self.synced,
            services: self.planned.len(),
            retrying: self.errors.len(),
            refused: self.errors.values().filter(|e| e.is_refusal()).count(),
            waiting: self.waits_for_room(),
            unsettled: self.state.unsettled(),
            usage: self.state.usage(),
        }
    }
}

fn taken(what: &str, proto: u8, winner: &ObjectKey) -> String {
    let proto = lb_common::Proto::from_number(proto).map_or("?".to_owned(), |p| p.to_string());
    format!(
        "{what}/{proto} belongs to Service {winner}, the older one (or first by name): not served for this one"
    )
}

//! What the engine tells those who ask: problems, health checks, how full the maps are.

use std::collections::BTreeMap;

use crate::model::ObjectKey;

use super::{
    engine::Engine,
    report::{HealthCheck, Snapshot},
};

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
            add(&claim.service, taken(&what, key.proto, winner));
        }
        for (key, claim, winner) in self.state.nodeports.losers() {
            let what = format!("node port {}", key.port);
            add(&claim.service, taken(&what, key.proto, winner));
        }
        for (key, error) in &self.errors {
            add(key, error.to_string());
        }
        all
    }

    /// Services with a `healthCheckNodePort`.
    #[must_use]
    pub fn health_checks(&self) -> Vec<HealthCheck> {
        let planned = self.planned.iter();
        let mut all: Vec<HealthCheck> = planned
            .filter_map(|(service, p)| {
                let (port, local_endpoints) = p.health?;
                Some(HealthCheck {
                    service: service.clone(),
                    port,
                    local_endpoints,
                })
            })
            .collect();
        all.sort_by(|a, b| a.service.cmp(&b.service));
        all
    }

    /// Where the engine stands.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            sources: self.cluster.synced(),
            synced: self.synced,
            services: self.planned.len(),
            retrying: self.errors.len(),
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

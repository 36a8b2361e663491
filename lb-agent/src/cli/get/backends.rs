//! `lb-agent get backends`: every backend once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    columns::{self, Column, column, field, joined, place, service, wide},
    listing::{Listing, Row},
};
use crate::inventory::{Frontend, Member, ServicePort};

/// Of its table.
pub(super) const COLUMNS: &[Column] = &[
    column("ADDRESS", place),
    column("WEIGHT", |i| field(&i["weight"])),
    column("ACTIVE", |i| field(&i["activeConnections"])),
    column("INACTIVE", |i| field(&i["inactiveConnections"])),
    column("STATE", |i| field(&i["state"])),
    column("LOCAL", |i| field(&i["local"])),
    column("POD", |i| field(&i["pod"])),
    column("NODE", |i| field(&i["node"])),
    column("ZONE", |i| field(&i["zone"])),
    wide("ID", |i| field(&i["id"])),
    wide("FRONTENDS", |i| field(&i["frontends"])),
    wide("SERVICES", |i| joined(&i["services"], service)),
];

/// A backend, and who uses it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Used {
    #[serde(flatten)]
    backend: Member,
    /// Ports of Services that lead to it, as far as their names are known.
    services: BTreeSet<ServicePort>,
    /// Frontends that lead to it.
    frontends: usize,
}

/// Every backend.
pub(super) fn list(all: &[Frontend]) -> Listing<Used> {
    let mut once: BTreeMap<u32, Used> = BTreeMap::new();
    for frontend in all {
        for b in &frontend.backends {
            let used = once.entry(b.id).or_insert_with(|| Used {
                backend: b.clone(),
                services: BTreeSet::new(),
                frontends: 0,
            });
            used.frontends += 1;
            used.services.extend(frontend.service.clone());
            // Draining from one frontend, it may be another one's.
            if used.backend.weight == 0 {
                used.backend = b.clone();
            }
        }
    }
    let rows = once.into_values().map(|used| {
        let place = format!("{}:{}", used.backend.address, used.backend.port);
        let pod = used.backend.place.pod.clone();
        let mut services: Vec<String> = used.services.iter().map(ServicePort::service).collect();
        services.dedup();
        Row {
            id: format!("backend {} ({place})", used.backend.id),
            name: match &pod {
                Some(pod) => format!("pod/{pod}"),
                None => format!("backend/{place}"),
            },
            services,
            places: vec![place],
            pods: pod.into_iter().collect(),
            item: used,
        }
    });
    Listing {
        kind: "BackendList",
        rows: rows.collect(),
        table: columns::table(COLUMNS),
        partial: None,
    }
}

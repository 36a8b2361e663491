//! `lb-agent get backends`: every backend once.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{
    ServicePort, columns,
    listing::{Beside, Headers, Listing, Row, Width},
};
use crate::cli::frontends::{Frontend, Member};

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
        table,
        beside: Beside::default(),
    }
}

fn table(all: &[&Used], width: Width, headers: Headers) -> String {
    let head = columns::of_width(
        width,
        &[
            "ADDRESS", "WEIGHT", "ACTIVE", "INACTIVE", "STATE", "LOCAL", "POD", "NODE", "ZONE",
        ],
        &["ID", "FRONTENDS", "SERVICES"],
    );
    let rows = all.iter().map(|used| {
        let b = &used.backend;
        let mut row = vec![
            format!("{}:{}", b.address, b.port),
            b.weight.to_string(),
            b.active_connections.to_string(),
            b.inactive_connections.to_string(),
            b.state.to_owned(),
            if b.local { "yes" } else { "no" }.to_owned(),
        ];
        row.extend(columns::place(&b.place));
        if width == Width::Wide {
            let services: Vec<String> = used.services.iter().map(ToString::to_string).collect();
            row.extend([
                b.id.to_string(),
                used.frontends.to_string(),
                services.join(","),
            ]);
        }
        row
    });
    columns::columns(&head, rows.collect(), headers)
}

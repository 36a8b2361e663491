//! `lb-agent get affinity`: which backend each client of a sticky Service has.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use lb_common::{
    Addr,
    affinity::{Affinity, AffinityKey},
    maps,
};
use serde::Serialize;

use super::{
    columns::{self, Column, column, field, seconds, service, wide},
    listing::{Listing, Row},
};
use crate::{
    flows::clock::monotonic,
    inventory::{Frontend, Member, Place, ServicePort},
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::HashTable as _,
    },
};

/// Of its table.
pub(super) const COLUMNS: &[Column] = &[
    column("CLIENT", |i| field(&i["client"])),
    column("SERVICE", |i| service(&i["service"])),
    column("BACKEND", |i| field(&i["backend"])),
    column("POD", |i| field(&i["pod"])),
    column("NODE", |i| field(&i["node"])),
    column("ZONE", |i| field(&i["zone"])),
    column("IDLE", |i| seconds(&i["idleSeconds"])),
    column("REMAINING", |i| seconds(&i["remainingSeconds"])),
    wide("POOL", |i| field(&i["pool"])),
    wide("BACKEND-ID", |i| field(&i["backendId"])),
];

/// A remembered client.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sticky {
    /// An address, or `netns:` and the cookie of a network namespace.
    client: String,
    /// Of a Service whose name is known.
    service: Option<ServicePort>,
    /// `address:port`; none of a backend that the Service no longer has.
    backend: Option<String>,
    /// Where the backend runs.
    #[serde(flatten)]
    place: Place,
    /// Since its last connection.
    idle_seconds: u64,
    /// Until it is forgotten; 0: it is, or the Service is not sticky any more.
    remaining_seconds: u64,
    /// Index of the pool.
    pool: u32,
    backend_id: u32,
}

/// Every client that is remembered, also one whose time is over.
fn read(dir: &BpfDir, frontends: &[Frontend]) -> Result<Vec<Sticky>> {
    let all = HashPin::<AffinityKey, Affinity>::open(dir, maps::AFFINITY, Access::Read)?;
    let mut pools: BTreeMap<u32, &Frontend> = BTreeMap::new();
    for frontend in frontends {
        for scope in &frontend.scopes {
            pools.entry(scope.pool).or_insert(frontend);
        }
    }
    let now = monotonic();
    let found = all
        .entries()?
        .into_iter()
        .map(|(key, value)| of(key, value, pools.get(&key.pool).copied(), now));
    Ok(found.collect())
}

/// How many clients keep their backend, by pool and backend.
pub(super) fn kept(dir: &BpfDir, frontends: &[Frontend]) -> Result<BTreeMap<(u32, u32), u64>> {
    let mut kept = BTreeMap::new();
    for sticky in read(dir, frontends)? {
        if sticky.remaining_seconds > 0 {
            *kept.entry((sticky.pool, sticky.backend_id)).or_default() += 1;
        }
    }
    Ok(kept)
}

/// Every client that is remembered.
pub(super) fn list(dir: &BpfDir, frontends: &[Frontend]) -> Result<Listing<Sticky>> {
    let mut found = read(dir, frontends)?;
    found.sort_by(|a, b| (&a.service, a.pool, &a.client).cmp(&(&b.service, b.pool, &b.client)));
    let rows = found.into_iter().map(|sticky| Row {
        id: format!("client {} of pool {}", sticky.client, sticky.pool),
        name: format!("affinity/{}/{}", sticky.pool, sticky.client),
        services: sticky.service.iter().map(ServicePort::service).collect(),
        places: [Some(&sticky.client), sticky.backend.as_ref()]
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
        pods: sticky.place.pod.iter().cloned().collect(),
        item: sticky,
    });
    Ok(Listing {
        kind: "AffinityList",
        rows: rows.collect(),
        table: columns::table(COLUMNS),
        partial: None,
    })
}

fn of(key: AffinityKey, value: Affinity, frontend: Option<&Frontend>, now: u64) -> Sticky {
    let backend: Option<&Member> =
        frontend.and_then(|f| f.backends.iter().find(|b| b.id == value.backend));
    let idle = now.saturating_sub(value.last_used_ns) / 1_000_000_000;
    let timeout = frontend.map_or(0, |f| u64::from(f.affinity_seconds));
    Sticky {
        client: client(key.client),
        service: frontend.and_then(|f| f.service.clone()),
        backend: backend.map(|b| format!("{}:{}", b.address, b.port)),
        place: backend.map(|b| b.place.clone()).unwrap_or_default(),
        idle_seconds: idle,
        remaining_seconds: timeout.saturating_sub(idle),
        pool: key.pool,
        backend_id: value.backend,
    }
}

/// See [`AffinityKey::netns`].
fn client(addr: Addr) -> String {
    let [head @ .., a, b, c, d, e, f, g, h] = addr.b;
    let cookie = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    if head == AffinityKey::netns(0).b[..8] {
        format!("netns:{cookie}")
    } else {
        IpAddr::from(addr).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_addresses_or_network_namespaces() {
        assert_eq!(client(AffinityKey::netns(4026)), "netns:4026");
        assert_eq!(client(Addr::v4([10, 0, 0, 1])), "10.0.0.1");
    }
}

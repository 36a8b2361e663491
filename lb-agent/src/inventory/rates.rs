//! What each Service port does, from two looks at what the programs count.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{Frontend, ServicePort, Stats};

/// What was counted for a Service port until now.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Over all its pools.
    pub stats: Stats,
    /// Open connections by backend.
    pub active: BTreeMap<u32, u64>,
    /// Of one whose name is known.
    pub service: Option<ServicePort>,
}

/// A Service port between two looks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Of a Service whose name is known.
    pub service: Option<ServicePort>,
    /// The first frontend of one whose name is not.
    pub frontend: Option<String>,
    /// TCP, UDP or SCTP.
    pub protocol: String,
    /// Connections given a backend.
    pub connections_per_second: f64,
    /// Connections open now, over its backends.
    pub active_connections: u64,
    /// Packets of the packet path.
    pub packets_per_second: f64,
    /// Bytes of the packet path.
    pub bytes_per_second: f64,
    /// Refused or dropped.
    pub rejects_per_second: f64,
}

/// Protocol and name of a Service port.
pub type Key = (String, String);

/// By Service port.
pub type All = BTreeMap<Key, Counted>;

/// The Service port of a frontend; of one whose name is not known, the frontend itself.
#[must_use]
pub fn key(f: &Frontend) -> Key {
    let name = match &f.service {
        Some(service) => service.to_string(),
        None => format!("{}:{}", f.address, f.port),
    };
    (f.protocol.clone(), name)
}

/// Sums over all frontends, families and policies of a Service port.
#[must_use]
pub fn sums(frontends: &[Frontend]) -> All {
    let (mut all, mut seen) = (All::new(), BTreeSet::new());
    for f in frontends {
        let of = all.entry(key(f)).or_default();
        of.service.clone_from(&f.service);
        for scope in &f.scopes {
            // Several frontends lead to one pool.
            if seen.insert(scope.pool) {
                let (sum, more) = (&mut of.stats, scope.stats);
                sum.connections += more.connections;
                sum.packets += more.packets;
                sum.bytes += more.bytes;
                sum.rejects += more.rejects;
            }
        }
        let active = f.backends.iter().map(|b| (b.id, b.active_connections));
        of.active.extend(active);
    }
    all
}

/// What each port that both looks have did in the seconds between them.
#[must_use]
pub fn between(before: &All, now: &All, seconds: f64) -> Vec<Rates> {
    // What was not there at the first look may have counted for long.
    let rates = now.iter().filter_map(|(key, counted)| {
        let (protocol, name) = key;
        let was = before.get(key)?.stats;
        #[expect(
            clippy::cast_precision_loss,
            reason = "what is counted in seconds is far below 2^52"
        )]
        let rate = |now: u64, was: u64| now.saturating_sub(was) as f64 / seconds;
        let is_known = counted.service.is_some();
        Some(Rates {
            service: counted.service.clone(),
            frontend: (!is_known).then(|| name.clone()),
            protocol: protocol.clone(),
            connections_per_second: rate(counted.stats.connections, was.connections),
            active_connections: counted.active.values().sum(),
            packets_per_second: rate(counted.stats.packets, was.packets),
            bytes_per_second: rate(counted.stats.bytes, was.bytes),
            rejects_per_second: rate(counted.stats.rejects, was.rejects),
        })
    });
    rates.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(connections: u64) -> Counted {
        Counted {
            stats: Stats {
                connections,
                ..Stats::default()
            },
            active: BTreeMap::from([(1, 2), (2, 3)]),
            service: None,
        }
    }

    #[test]
    fn rates_are_differences_by_time() {
        let key = |name: &str| ("TCP".to_owned(), name.to_owned());
        let before = All::from([(key("a"), counted(10)), (key("b"), counted(10))]);
        let now = All::from([
            (key("a"), counted(14)),
            (key("b"), counted(30)),
            (key("c"), counted(50_000)),
        ]);
        let rates = between(&before, &now, 2.0);
        let found: Vec<(Option<&str>, f64, u64)> = rates
            .iter()
            .map(|r| {
                (
                    r.frontend.as_deref(),
                    r.connections_per_second,
                    r.active_connections,
                )
            })
            .collect();
        // The new one has a rate from the next look on.
        assert_eq!(found, [(Some("a"), 2.0, 5), (Some("b"), 10.0, 5)]);
        // A pool that begins anew counts nothing for once.
        assert!(between(&now, &before, 2.0)[0].connections_per_second.abs() < 0.1);
    }
}

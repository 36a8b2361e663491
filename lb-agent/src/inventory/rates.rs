//! What each Service port does, from two looks at what the programs count.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::AddAssign,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{Frontend, ServicePort, Stats};
use crate::maps::tcp::TcpCounts;

/// Between two looks at least: rates of less mean nothing.
pub const SHORTEST: Duration = Duration::from_millis(100);

/// What is counted in a second.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct PerSecond {
    /// Connections given a backend.
    pub connections: f64,
    /// Packets of the packet path.
    pub packets: f64,
    /// Bytes of the packet path.
    pub bytes: f64,
    /// Refused or dropped.
    pub rejects: f64,
}

/// How often a second, of what was counted in so many.
#[expect(
    clippy::cast_precision_loss,
    reason = "what is counted in seconds is far below 2^52"
)]
#[must_use]
pub fn per_second(n: u64, seconds: f64) -> f64 {
    n as f64 / seconds
}

impl AddAssign for Stats {
    fn add_assign(&mut self, more: Self) {
        let Self {
            connections,
            packets,
            bytes,
            rejects,
        } = more;
        self.connections = self.connections.saturating_add(connections);
        self.packets = self.packets.saturating_add(packets);
        self.bytes = self.bytes.saturating_add(bytes);
        self.rejects = self.rejects.saturating_add(rejects);
    }
}

impl Stats {
    /// What was counted since `before`, so many seconds ago. What counts anew has counted nothing.
    #[must_use]
    pub fn since(self, before: Self, seconds: f64) -> PerSecond {
        let rate = |now: u64, was: u64| per_second(now.saturating_sub(was), seconds);
        PerSecond {
            connections: rate(self.connections, before.connections),
            packets: rate(self.packets, before.packets),
            bytes: rate(self.bytes, before.bytes),
            rejects: rate(self.rejects, before.rejects),
        }
    }
}

/// What each pool had counted at a look.
#[must_use]
pub fn by_pool(frontends: &[Frontend]) -> BTreeMap<u32, Stats> {
    let scopes = frontends.iter().flat_map(|f| &f.scopes);
    scopes.map(|s| (s.pool, s.stats)).collect()
}

/// What a frontend counted since a look so many seconds ago; none of one whose pools were not all
/// there.
#[must_use]
pub fn of(f: &Frontend, before: &BTreeMap<u32, Stats>, seconds: f64) -> Option<PerSecond> {
    let mut was = Stats::default();
    for scope in f.pools() {
        was += *before.get(&scope.pool)?;
    }
    Some(f.stats().since(was, seconds))
}

/// What was counted for a Service port until now.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// Over all its pools.
    pub stats: Stats,
    /// Likewise, of TCP ports, where the programs count it.
    pub tcp: Option<TcpCounts>,
    /// Open connections by backend.
    pub active: BTreeMap<u32, u64>,
    /// Of one whose name is known.
    pub service: Option<ServicePort>,
}

/// A Service port between two looks, of one node or of several together. An agent of another version
/// may tell less.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
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
    /// Handshakes of this node's sockets. Like what follows of TCP alone, where the programs count it.
    pub handshakes_per_second: Option<f64>,
    /// The mean of their round trip times; none without a handshake.
    pub round_trip_seconds: Option<f64>,
    /// Connects that came to nothing.
    pub connect_failures_per_second: Option<f64>,
    /// Segments sent once more.
    pub retransmits_per_second: Option<f64>,
}

impl Rates {
    /// `namespace/name:port`, or the frontend.
    #[must_use]
    pub fn name(&self) -> String {
        let service = self.service.as_ref().map(ToString::to_string);
        service
            .or_else(|| self.frontend.clone())
            .unwrap_or_default()
    }

    /// What another node tells of the same Service port.
    pub fn add(&mut self, more: Self) {
        self.round_trip_seconds = mean([&*self, &more]);
        self.service = more.service;
        self.frontend = more.frontend;
        self.protocol = more.protocol;
        self.connections_per_second += more.connections_per_second;
        self.active_connections = self
            .active_connections
            .saturating_add(more.active_connections);
        self.packets_per_second += more.packets_per_second;
        self.bytes_per_second += more.bytes_per_second;
        self.rejects_per_second += more.rejects_per_second;
        for (sum, more) in [
            (&mut self.handshakes_per_second, more.handshakes_per_second),
            (
                &mut self.connect_failures_per_second,
                more.connect_failures_per_second,
            ),
            (
                &mut self.retransmits_per_second,
                more.retransmits_per_second,
            ),
        ] {
            *sum = match (*sum, more) {
                (Some(sum), Some(more)) => Some(sum + more),
                (sum, more) => sum.or(more),
            };
        }
    }
}

/// The mean of all handshakes: each node's by how many it had.
fn mean(both: [&Rates; 2]) -> Option<f64> {
    let known = both.iter().filter_map(|rates| {
        let handshakes = rates.handshakes_per_second?;
        Some((rates.round_trip_seconds? * handshakes, handshakes))
    });
    let (sum, handshakes) = known.fold((0.0, 0.0), |(a, b), (c, d)| (a + c, b + d));
    (handshakes > 0.0).then(|| sum / handshakes)
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
                of.stats += scope.stats;
                if let Some(more) = scope.tcp {
                    of.tcp = Some(of.tcp.unwrap_or_default().plus(more));
                }
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
        let before = before.get(key)?;
        let stats = counted.stats.since(before.stats, seconds);
        let per_second = |n: u64| per_second(n, seconds);
        let tcp = counted
            .tcp
            .map(|now| now.grown(before.tcp.unwrap_or_default()));
        let is_known = counted.service.is_some();
        Some(Rates {
            service: counted.service.clone(),
            frontend: (!is_known).then(|| name.clone()),
            protocol: protocol.clone(),
            connections_per_second: stats.connections,
            active_connections: counted
                .active
                .values()
                .copied()
                .fold(0, u64::saturating_add),
            packets_per_second: stats.packets,
            bytes_per_second: stats.bytes,
            rejects_per_second: stats.rejects,
            handshakes_per_second: tcp.map(|tcp| per_second(tcp.handshakes())),
            round_trip_seconds: tcp
                .and_then(|tcp| tcp.mean_rtt())
                .map(|mean| mean.as_secs_f64()),
            connect_failures_per_second: tcp.map(|tcp| per_second(tcp.failures)),
            retransmits_per_second: tcp.map(|tcp| per_second(tcp.retransmits)),
        })
    });
    rates.collect()
}

#[cfg(test)]
mod tests;

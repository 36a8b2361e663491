//! What each Service port does, from two looks at what the programs count.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Frontend, ServicePort, Stats};
use crate::maps::tcp::TcpCounts;

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
        self.active_connections += more.active_connections;
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
                let (sum, more) = (&mut of.stats, scope.stats);
                sum.connections += more.connections;
                sum.packets += more.packets;
                sum.bytes += more.bytes;
                sum.rejects += more.rejects;
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
        let was = before.stats;
        #[expect(
            clippy::cast_precision_loss,
            reason = "what is counted in seconds is far below 2^52"
        )]
        let per_second = |n: u64| n as f64 / seconds;
        let rate = |now: u64, was: u64| per_second(now.saturating_sub(was));
        let tcp = counted
            .tcp
            .map(|now| now.since(before.tcp.unwrap_or_default()));
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

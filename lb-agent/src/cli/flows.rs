//! `lb-agent get flows`: connections that the packet path translates.

use anyhow::Result;
use lb_common::{
    Addr,
    flow::{Flow, FlowKey, NONE, direction, flags},
    maps,
};
use serde::Serialize;

use super::{
    args::Output,
    frontends::protocol,
    get::{borderless, json},
};
use crate::{
    flows::clock::monotonic,
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::HashTable as _,
    },
};

/// One connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    protocol: String,
    client: String,
    frontend: String,
    backend: String,
    /// What the backend sees as the client.
    source: String,
    /// See [`lb_common::flow::State`].
    state: &'static str,
    /// Since its last packet, as exact as entries are: four seconds.
    idle_seconds: u64,
    kind: Kind,
    /// The backend runs on this node.
    local: bool,
    /// Index of its pool; none of a direct connection.
    service: Option<u32>,
    /// None of a direct connection.
    backend_id: Option<u32>,
    ifindex: u32,
}

/// Whose connection it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Of a Service.
    Service,
    /// A direct one to a backend, whose source port was changed since a Service's had it.
    Direct,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Direct => "direct",
        }
    }
}

/// The flows as text.
pub(super) fn show(dir: &BpfDir, output: Output) -> Result<String> {
    let mut all = Vec::new();
    for spec in [maps::FLOWS, maps::NEWFLOWS] {
        all.extend(HashPin::<FlowKey, Flow>::open(dir, spec, Access::Read)?.entries()?);
    }
    let mut rows = joined(&all, monotonic());
    rows.sort();
    rows.dedup();
    if output == Output::Json {
        return json("FlowList", &rows);
    }
    let mut head = vec![
        "PROT", "CLIENT", "FRONTEND", "SOURCE", "BACKEND", "STATE", "IDLE",
    ];
    if output == Output::Wide {
        head.extend(["KIND", "LOCAL", "SERVICE", "BACKEND-ID", "IFINDEX"]);
    }
    let lines = rows.into_iter().map(|r| {
        let mut line = vec![
            r.protocol,
            r.client,
            r.frontend,
            r.source,
            r.backend,
            r.state.to_owned(),
            format!("{}s", r.idle_seconds),
        ];
        if output == Output::Wide {
            let local = if r.local { "yes" } else { "no" };
            let number = |n: Option<u32>| n.map_or("-".to_owned(), |n| n.to_string());
            line.extend([
                r.kind.name().to_owned(),
                local.to_owned(),
                number(r.service),
                number(r.backend_id),
                r.ifindex.to_string(),
            ]);
        }
        line
    });
    Ok(borderless(&head, lines.collect()))
}

/// A row for each forward entry; its reverse entry holds what both sides have done.
fn joined(all: &[(FlowKey, Flow)], now: u64) -> Vec<Row> {
    let replies: std::collections::HashMap<FlowKey, Flow> = all
        .iter()
        .filter(|(_, f)| f.direction == direction::REPLY)
        .copied()
        .collect();
    let forward = all
        .iter()
        .filter(|(_, f)| f.direction == direction::FORWARD && f.generation != 0);
    forward
        .map(|(k, f)| {
            let reply = replies
                .get(&f.reverse_key(k.proto))
                .filter(|r| r.generation == f.generation);
            Row {
                protocol: protocol(k.proto),
                client: endpoint(k.src, k.sport),
                frontend: endpoint(k.dst, k.dport),
                source: endpoint(f.src, f.sport),
                backend: endpoint(f.dst, f.dport),
                // Until its next packet makes the reverse entry again, nothing more is known.
                state: reply.map_or("unknown", |r| r.state(k.proto).name()),
                idle_seconds: idle_seconds(reply.unwrap_or(f), now),
                kind: if f.flags & flags::DIRECT == 0 {
                    Kind::Service
                } else {
                    Kind::Direct
                },
                local: f.flags & flags::LOCAL != 0,
                service: Some(f.pool).filter(|pool| *pool != NONE),
                backend_id: Some(f.backend).filter(|backend| *backend != NONE),
                ifindex: f.ifindex,
            }
        })
        .collect()
}

/// Of an entry whose reply entry was driven out, since the client's last packet.
fn idle_seconds(entry: &Flow, now: u64) -> u64 {
    (u64::from(entry.age(now)) << 32) / 1_000_000_000
}

fn endpoint(addr: Addr, port: u16) -> String {
    std::net::SocketAddr::new(addr.into(), port).to_string()
}

#[cfg(test)]
mod tests {
    use lb_common::flow::{seen, units};

    use super::*;

    const TCP: u8 = 6;

    fn addr(n: u8) -> Addr {
        Addr::v4([198, 18, 0, n])
    }

    /// A flow of the client 198.18.0.1 to port 80 of 198.18.0.2, at 198.18.0.3.
    fn pair(flow_flags: u8, pool: u32, at: u64) -> [(FlowKey, Flow); 2] {
        let key = FlowKey {
            src: addr(1),
            dst: addr(2),
            sport: 4000,
            dport: 80,
            proto: TCP,
            pad: [0; 3],
        };
        let forward = Flow {
            src: addr(9),
            dst: addr(3),
            sport: 4000,
            dport: 8080,
            ifindex: 2,
            pool,
            backend: pool,
            generation: 5,
            direction: direction::FORWARD,
            flags: flow_flags,
            client: 0,
            server: 0,
            proof: 0,
            seen: 0,
        };
        let reply = Flow {
            src: key.dst,
            dst: key.src,
            sport: 80,
            dport: 4000,
            direction: direction::REPLY,
            client: seen::PACKET | seen::DATA,
            server: seen::PACKET,
            seen: units(at),
            ..forward
        };
        [(key, forward), (forward.reverse_key(TCP), reply)]
    }

    #[test]
    fn the_state_and_the_idle_time_are_those_of_the_reply_entry() {
        let start = 1_000_000_000_000_000;
        let rows = joined(&pair(flags::LOCAL, 7, start), start + 60_000_000_000);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.state, "established");
        assert!((56..=60).contains(&row.idle_seconds), "{row:?}");
        assert_eq!((row.kind, row.service), (Kind::Service, Some(7)));
        assert!(row.local);
    }

    #[test]
    fn a_direct_connection_has_no_service() {
        let rows = joined(&pair(flags::DIRECT, NONE, 0), 0);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.kind, row.service), (Kind::Direct, None));
        assert_eq!(row.backend_id, None);
    }

    #[test]
    fn without_its_reply_entry_a_flow_is_shown_all_the_same() {
        let start = 1_000_000_000_000_000;
        let mut forward = pair(0, 1, start)[0];
        forward.1.set_verified(start);
        let rows = joined(&[forward], start + 30_000_000_000);
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!(row.state, "unknown");
        assert!((25..=30).contains(&row.idle_seconds), "{row:?}");
    }
}

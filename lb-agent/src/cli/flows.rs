//! `lb-agent get flows`: connections that the packet path translates.

use anyhow::Result;
use lb_common::{
    Addr,
    flow::{Flow, FlowKey, direction, flags},
    maps,
};
use serde::Serialize;

use super::{
    args::Output,
    frontends::protocol,
    get::{borderless, json},
};
use crate::maps::{
    dir::BpfDir,
    pinned::{Access, HashPin},
    table::HashTable as _,
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

    /// The backend runs on this node.
    local: bool,
    service: u32,
    backend_id: u32,
    ifindex: u32,
}

/// The flows as text.
pub(super) fn show(dir: &BpfDir, output: Output) -> Result<String> {
    let mut rows = Vec::new();
    for spec in [maps::FLOWS, maps::NEWFLOWS] {
        let all = HashPin::<FlowKey, Flow>::open(dir, spec, Access::Read)?.entries()?;
        rows.extend(joined(&all));
    }
    rows.sort();
    rows.dedup();
    if output == Output::Json {
        return json("FlowList", &rows);
    }
    let mut head = vec!["PROT", "CLIENT", "FRONTEND", "SOURCE", "BACKEND", "STATE"];
    if output == Output::Wide {
        head.extend(["LOCAL", "SERVICE", "BACKEND-ID", "IFINDEX"]);
    }
    let lines = rows.into_iter().map(|r| {
        let mut line = vec![
            r.protocol,
            r.client,
            r.frontend,
            r.source,
            r.backend,
            r.state.to_owned(),
        ];
        if output == Output::Wide {
            let local = if r.local { "yes" } else { "no" };
            line.extend([
                local.to_owned(),
                r.service.to_string(),
                r.backend_id.to_string(),
                r.ifindex.to_string(),
            ]);
        }
        line
    });
    Ok(borderless(&head, lines.collect()))
}

/// A row for each forward entry; its reverse entry holds what both sides have done.
fn joined(all: &[(FlowKey, Flow)]) -> Vec<Row> {
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
                local: f.flags & flags::LOCAL != 0,
                service: f.pool,
                backend_id: f.backend,
                ifindex: f.ifindex,
            }
        })
        .collect()
}

fn endpoint(addr: Addr, port: u16) -> String {
    std::net::SocketAddr::new(addr.into(), port).to_string()
}

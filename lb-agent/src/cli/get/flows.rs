//! `lb-agent get flows`: connections that the packet path translates.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use lb_common::{
    Addr,
    flow::{Flow as Entry, FlowKey, NONE, direction, flags},
    maps,
};
use serde::Serialize;

use super::{
    columns::{self, Column, column, field, seconds, service, wide},
    listing::{Listing, Row},
};
use crate::{
    flows::clock::monotonic,
    inventory::{Place, ServicePort},
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
        table::HashTable as _,
    },
    names::{Book, record::protocol},
};

/// Of its table.
pub(super) const COLUMNS: &[Column] = &[
    column("PROT", |i| field(&i["protocol"])),
    column("CLIENT", |i| field(&i["client"])),
    column("FRONTEND", |i| field(&i["frontend"])),
    column("SOURCE", |i| field(&i["source"])),
    column("BACKEND", |i| field(&i["backend"])),
    column("STATE", |i| field(&i["state"])),
    column("IDLE", |i| seconds(&i["idleSeconds"])),
    column("SERVICE", |i| service(&i["service"])),
    column("POD", |i| field(&i["pod"])),
    wide("NODE", |i| field(&i["node"])),
    wide("ZONE", |i| field(&i["zone"])),
    wide("CLIENT-POD", |i| field(&i["clientPod"])),
    wide("KIND", |i| field(&i["kind"])),
    wide("LOCAL", |i| field(&i["local"])),
    wide("POOL", |i| field(&i["pool"])),
    wide("BACKEND-ID", |i| field(&i["backendId"])),
    wide("IFINDEX", |i| field(&i["ifindex"])),
];

/// One connection.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::cli) struct Flow {
    pub(in crate::cli) protocol: String,
    pub(in crate::cli) client: String,
    pub(in crate::cli) frontend: String,
    pub(in crate::cli) backend: String,
    /// What the backend sees as the client.
    source: String,
    /// See [`lb_common::flow::State`].
    pub(in crate::cli) state: &'static str,
    /// Since its last packet, as exact as entries are: four seconds.
    pub(in crate::cli) idle_seconds: u64,
    kind: Kind,
    /// The backend runs on this node.
    local: bool,
    /// Of a Service whose name is known.
    service: Option<ServicePort>,
    /// Where the backend runs.
    #[serde(flatten)]
    pub(in crate::cli) place: Place,
    /// `namespace/name` of the client, where it is a known pod itself.
    client_pod: Option<String>,
    /// Index of its pool; none of a direct connection.
    pool: Option<u32>,
    /// None of a direct connection.
    backend_id: Option<u32>,
    ifindex: u32,
    #[serde(skip)]
    to: SocketAddr,
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

/// Every flow.
pub(in crate::cli) fn list(dir: &BpfDir, book: &Book) -> Result<Listing<Flow>> {
    let mut all = Vec::new();
    for spec in [maps::FLOWS, maps::NEWFLOWS] {
        all.extend(HashPin::<FlowKey, Entry>::open(dir, spec, Access::Read)?.entries()?);
    }
    let mut flows = joined(&all, monotonic());
    flows.sort();
    flows.dedup();
    let rows = flows.into_iter().map(|(key, mut flow)| {
        let named = book.destination(key.proto, socket(key.dst, key.dport));
        // A direct connection is one past every Service.
        let named = named.filter(|_| flow.kind == Kind::Service);
        flow.service = named.map(ServicePort::of);
        flow.place = Place::of(book, named, flow.to.ip());
        flow.client_pod = Place::of(book, None, IpAddr::from(key.src)).pod;
        let ends = format!("{}/{}/{}", flow.protocol, flow.client, flow.frontend);
        Row {
            id: format!("flow {ends}"),
            name: format!("flow/{ends}"),
            services: flow.service.iter().map(ServicePort::service).collect(),
            places: [&flow.client, &flow.frontend, &flow.source, &flow.backend]
                .map(String::clone)
                .into(),
            pods: flow
                .place
                .pod
                .iter()
                .chain(&flow.client_pod)
                .cloned()
                .collect(),
            item: flow,
        }
    });
    Ok(Listing {
        kind: "FlowList",
        rows: rows.collect(),
        table: columns::table(COLUMNS),
        partial: None,
    })
}

/// A row for each forward entry; its reverse entry holds what both sides have done.
fn joined(all: &[(FlowKey, Entry)], now: u64) -> Vec<(FlowKey, Flow)> {
    let replies: std::collections::HashMap<FlowKey, Entry> = all
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
            let flow = Flow {
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
                service: None,
                place: Place::default(),
                client_pod: None,
                pool: Some(f.pool).filter(|pool| *pool != NONE),
                backend_id: Some(f.backend).filter(|backend| *backend != NONE),
                ifindex: f.ifindex,
                to: socket(f.dst, f.dport),
            };
            (*k, flow)
        })
        .collect()
}

/// Of an entry whose reply entry was driven out, since the client's last packet.
fn idle_seconds(entry: &Entry, now: u64) -> u64 {
    (u64::from(entry.age(now)) << 32) / 1_000_000_000
}

fn endpoint(addr: Addr, port: u16) -> String {
    socket(addr, port).to_string()
}

fn socket(addr: Addr, port: u16) -> SocketAddr {
    SocketAddr::new(addr.into(), port)
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
    fn pair(flow_flags: u8, pool: u32, at: u64) -> [(FlowKey, Entry); 2] {
        let key = FlowKey {
            src: addr(1),
            dst: addr(2),
            sport: 4000,
            dport: 80,
            proto: TCP,
            pad: [0; 3],
        };
        let forward = Entry {
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
        let reply = Entry {
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
        let [(_, row)] = &rows[..] else {
            panic!("{rows:?}")
        };
        assert_eq!(row.state, "established");
        assert!((56..=60).contains(&row.idle_seconds), "{row:?}");
        assert_eq!((row.kind, row.pool), (Kind::Service, Some(7)));
        assert!(row.local);
    }

    #[test]
    fn a_direct_connection_has_no_service() {
        let rows = joined(&pair(flags::DIRECT, NONE, 0), 0);
        let [(_, row)] = &rows[..] else {
            panic!("{rows:?}")
        };
        assert_eq!((row.kind, row.pool), (Kind::Direct, None));
        assert_eq!(row.backend_id, None);
    }

    #[test]
    fn without_its_reply_entry_a_flow_is_shown_all_the_same() {
        let start = 1_000_000_000_000_000;
        let mut forward = pair(0, 1, start)[0];
        forward.1.set_verified(start);
        let rows = joined(&[forward], start + 30_000_000_000);
        let [(_, row)] = &rows[..] else {
            panic!("{rows:?}")
        };
        assert_eq!(row.state, "unknown");
        assert!((25..=30).contains(&row.idle_seconds), "{row:?}");
    }
}

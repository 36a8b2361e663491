//! `lb-agent get sockets`: connections and senders that were translated when their sockets
//! connected or sent, in every network namespace.

use std::{
    net::{IpAddr, SocketAddr},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use lb_common::{
    maps,
    sock::{Agent, SockRecord, kind},
};
use serde::Serialize;

use super::{
    columns::{self, Column, column, field, service, wide},
    listing::{Listing, Row},
};
use crate::{
    inventory::{Place, ServicePort},
    maps::{
        dir::BpfDir,
        pinned::{Access, HashPin},
    },
    names::{Book, record::protocol},
    sockets::records::Records,
};

/// Of its table.
pub(super) const COLUMNS: &[Column] = &[
    column("PROT", |i| field(&i["protocol"])),
    column("FRONTEND", |i| field(&i["frontend"])),
    column("BACKEND", |i| field(&i["backend"])),
    column("KIND", |i| field(&i["kind"])),
    column("SERVICE", |i| service(&i["service"])),
    column("POD", |i| field(&i["pod"])),
    column("NODE", |i| field(&i["node"])),
    column("ZONE", |i| field(&i["zone"])),
    wide("COUNTED", |i| field(&i["counted"])),
    wide("NETNS", |i| field(&i["netns"])),
    wide("COOKIE", |i| field(&i["cookie"])),
    wide("POOL", |i| field(&i["pool"])),
    wide("BACKEND-ID", |i| field(&i["backendId"])),
];

/// How long an agent that starts is waited for.
const START: (u32, Duration) = (20, Duration::from_millis(100));

/// A translated socket.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Socket {
    protocol: String,
    /// What the application asked for.
    frontend: SocketAddr,
    /// What it got.
    backend: SocketAddr,
    /// Of a Service whose name is known.
    service: Option<ServicePort>,
    /// Where the backend runs.
    #[serde(flatten)]
    place: Place,
    kind: Kind,
    /// Counted among the backend's open connections.
    counted: bool,
    /// SO_COOKIE of the socket.
    cookie: u64,
    /// SO_NETNS_COOKIE: its network namespace.
    netns: u64,
    /// Index of its pool.
    pool: u32,
    /// None of its own with [`Kind::Lb0`]: a flow has it.
    backend_id: Option<u32>,
}

/// When it was translated.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// At connect.
    Connected,
    /// At the last datagram that it sent.
    Unconnected,
    /// By either, to a node port on loopback, bound to loopback itself: `lb0` balances its packets.
    Lb0,
}

/// Every socket with a record.
pub(super) fn list(dir: &BpfDir, book: &Book) -> Result<Listing<Socket>> {
    let mut sockets: Vec<Socket> = read(dir)?.iter().map(|r| of(r, book)).collect();
    // The copy of an MPTCP connection has the cookie of its first subflow.
    sockets.sort_by_key(|s| (s.frontend, s.protocol.clone(), s.cookie, !s.counted));
    sockets.dedup_by_key(|s| (s.cookie, s.frontend));
    let rows = sockets.into_iter().map(|socket| Row {
        id: format!("socket {} to {}", socket.cookie, socket.frontend),
        name: format!("socket/{}", socket.cookie),
        services: socket.service.iter().map(ServicePort::service).collect(),
        places: vec![socket.frontend.to_string(), socket.backend.to_string()],
        pods: socket.place.pod.iter().cloned().collect(),
        item: socket,
    });
    Ok(Listing {
        kind: "SocketList",
        rows: rows.collect(),
        table: columns::table(COLUMNS),
        partial: None,
    })
}

fn of(record: &SockRecord, book: &Book) -> Socket {
    let frontend = SocketAddr::new(record.vip.into(), record.vip_port);
    let backend = IpAddr::from(record.backend);
    let named = book.destination(record.proto, frontend);
    Socket {
        protocol: protocol(record.proto),
        frontend,
        backend: SocketAddr::new(backend, record.backend_port),
        service: named.map(ServicePort::of),
        place: Place::of(book, named, backend),
        kind: match record.kind {
            kind::CONNECTED => Kind::Connected,
            kind::BY_LB0 => Kind::Lb0,
            _ => Kind::Unconnected,
        },
        counted: record.counted != 0,
        cookie: record.cookie,
        netns: record.netns,
        pool: record.pool,
        backend_id: Some(record.backend_id).filter(|id| *id != SockRecord::NO_BACKEND),
    }
}

/// Reads the attached iterator.
fn read(dir: &BpfDir) -> Result<Vec<SockRecord>> {
    let pin = dir.sockets();
    let link = lb_sys::open_pin(&pin).with_context(|| {
        format!(
            "cannot open {}: no agent has attached its programs here",
            pin.display()
        )
    })?;
    // An agent that starts takes the first reader for itself.
    let agent: HashPin<u32, Agent> = HashPin::open(dir, maps::AGENT, Access::Read)?;
    let (times, pause) = START;
    for _ in 0..times {
        if agent.map().get(&0)?.is_none_or(|a| a.tgid != Agent::CLAIM) {
            return Records::new(link).read();
        }
        thread::sleep(pause);
    }
    bail!("an agent is starting: try again")
}

//! `lb-agent get services`: in the shape of `ipvsadm -L -n`, with names.

use std::{fmt::Write as _, path::Path};

use anyhow::Result;
use serde_json::Value;

use super::{
    columns::{Column, column, field, joined, place, service, wide, word},
    levels::{Columns, Levels},
    listing::{Headers, Listing, Row, Table, Width},
    views,
};
use crate::{
    cli::args::ListArgs,
    inventory::{self, Frontend, Place, ServicePort},
    maps::dir::BpfDir,
    model::BackendState,
    names::Book,
    observe::problem_file::ProblemFile,
};

/// Of its table where several nodes have theirs together: a row for each frontend.
pub(super) const COLUMNS: &[Column] = &[
    column("PROT", |i| field(&i["protocol"])),
    column("FRONTEND", place),
    column("SERVICE", |i| service(&i["service"])),
    column("KIND", |i| joined(&i["kinds"], field)),
    column("SCHEDULER", |i| field(&i["scheduler"])),
    column("READY", |i| {
        counted(i, |b| b["state"] == BackendState::Ready.name())
    }),
    column("BACKENDS", |i| counted(i, |_| true)),
    column("ACTIVE", active),
    wide("AFFINITY", |i| field(&i["affinitySeconds"])),
    wide("MAX", |i| field(&i["maxConnections"])),
    wide("NOTE", |i| field(&i["withoutBackends"])),
];

/// Every frontend, and how it is shown.
pub(super) fn open(
    list: &ListArgs,
    dir: &BpfDir,
    book: &Book,
) -> Result<(Vec<Frontend>, Table<Frontend>)> {
    match views::asked(list)? {
        Some(view) => views::open(view, list, dir, book),
        None => Ok((inventory::named(dir, book)?, Box::new(ipvsadm))),
    }
}

/// Every frontend, and what is not among them.
pub(super) fn list(
    all: Vec<Frontend>,
    table: Table<Frontend>,
    state: &Path,
    dir: &BpfDir,
) -> Listing<Frontend> {
    let problems = ProblemFile::of(state, dir.root());
    let partial = problems.load().map(|kept| kept.services);
    let partial = partial.unwrap_or_else(|error| {
        eprintln!("lb-agent: which Services are partially programmed is not shown: {error:#}");
        Vec::new()
    });
    let rows = all.into_iter().map(|frontend| {
        let local = local(&frontend);
        let scopes: Vec<&str> = frontend.scopes.iter().map(|s| s.name).collect();
        let backends = frontend.backends.iter();
        let services: Vec<String> = frontend.service.iter().map(ServicePort::service).collect();
        Row {
            id: format!("{}/{local}/{}", frontend.protocol, scopes.join("+")),
            name: match services.first() {
                Some(service) => format!("service/{service}"),
                None => format!("frontend/{}/{local}", frontend.protocol),
            },
            places: vec![local],
            pods: backends.filter_map(|b| b.place.pod.clone()).collect(),
            services,
            item: frontend,
        }
    });
    Listing {
        kind: "FrontendList",
        rows: rows.collect(),
        table,
        partial: Some(partial),
    }
}

fn counted(frontend: &Value, which: impl Fn(&Value) -> bool) -> String {
    let backends = frontend["backends"].as_array().into_iter().flatten();
    backends.filter(|b| which(b)).count().to_string()
}

fn active(frontend: &Value) -> String {
    let backends = frontend["backends"].as_array().into_iter().flatten();
    let numbers = backends.filter_map(|b| b["activeConnections"].as_u64());
    numbers.sum::<u64>().to_string()
}

fn local(f: &Frontend) -> String {
    format!("{}:{}", f.address, f.port)
}

/// The shape of `ipvsadm -L -n`.
pub(super) fn ipvsadm(all: &[&Frontend], width: Width, headers: Headers) -> String {
    let levels = Levels {
        heads: [
            &["Scheduler", "Service", "Flags"],
            &[
                "Forward",
                "Weight",
                "ActiveConn",
                "InActConn",
                "State      ",
                "Pod",
                "Node",
                "Zone",
            ],
        ],
        columns: Columns::OfEach,
        frontend: &|f| about(f, width),
        backend: &|_, b| {
            let Place { pod, node, zone } = &b.place;
            let mut cells = vec![
                if b.local { "Local" } else { "Masq" }.to_owned(),
                b.weight.to_string(),
                b.active_connections.to_string(),
                b.inactive_connections.to_string(),
                b.state.name().to_owned(),
                word(pod.as_ref()),
                word(node.as_ref()),
                word(zone.as_ref()),
            ];
            if width == Width::Wide {
                cells.push(format!("id={}", b.id));
            }
            cells
        },
    };
    levels.table(all, headers)
}

/// What is told of a frontend in front of its backends.
pub(super) fn about(f: &Frontend, width: Width) -> Vec<String> {
    let service = f.service.as_ref().map(ToString::to_string);
    vec![
        f.scheduler.to_owned(),
        word(service.as_ref()),
        notes(f, width),
    ]
}

fn notes(f: &Frontend, width: Width) -> String {
    let mut notes = f.kinds.join(",");
    if f.affinity_seconds > 0 {
        let _ = write!(notes, " persistent {}", f.affinity_seconds);
    }
    if f.max_connections > 0 {
        let _ = write!(notes, " max-connections {}", f.max_connections);
    }
    if f.max_connection_age_seconds > 0 {
        let _ = write!(
            notes,
            " max-connection-age {}",
            f.max_connection_age_seconds
        );
    }
    if let [only] = f.scopes.as_slice() {
        let _ = write!(notes, " {}", only.name);
    }
    if let Some(why) = f.without_backends {
        let _ = write!(notes, " {why}");
    }
    if f.source_ranges {
        notes.push_str(" source-ranges");
    }
    if f.snat {
        notes.push_str(" snat");
    }
    if width == Width::Wide {
        for s in f.pools() {
            let _ = write!(
                notes,
                " pool={} connections={} packets={} bytes={} rejects={}",
                s.pool, s.stats.connections, s.stats.packets, s.stats.bytes, s.stats.rejects
            );
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_broken_file_of_problems_takes_no_frontend_away() {
        let state = tempfile::tempdir().unwrap();
        fs::write(state.path().join("problems.json"), "").unwrap();
        let dir = BpfDir::at(state.path());
        let list = list(Vec::new(), Box::new(ipvsadm), state.path(), &dir);
        assert_eq!(list.partial, Some(Vec::new()));
    }
}

//! `lb-agent get services`: in the shape of `ipvsadm -L -n`, with names.

use std::{fmt::Write as _, path::Path};

use serde_json::Value;

use super::{
    columns::{Column, column, field, joined, place, service, wide},
    listing::{Headers, Listing, Row, Width},
};
use crate::{
    inventory::{Frontend, Member, Place, ServicePort},
    maps::dir::BpfDir,
    observe::problem_file::ProblemFile,
};

/// Of its table where several nodes have theirs together: a row for each frontend.
pub(super) const COLUMNS: &[Column] = &[
    column("PROT", |i| field(&i["protocol"])),
    column("FRONTEND", place),
    column("SERVICE", |i| service(&i["service"])),
    column("KIND", |i| joined(&i["kinds"], field)),
    column("SCHEDULER", |i| field(&i["scheduler"])),
    column("READY", |i| counted(i, |b| b["state"] == "ready")),
    column("BACKENDS", |i| counted(i, |_| true)),
    column("ACTIVE", active),
    wide("AFFINITY", |i| field(&i["affinitySeconds"])),
    wide("NOTE", |i| field(&i["withoutBackends"])),
];

/// Every frontend, and what is not among them.
pub(super) fn list(all: Vec<Frontend>, state: &Path, dir: &BpfDir) -> Listing<Frontend> {
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
        table: ipvsadm,
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

fn remote(b: &Member) -> String {
    format!("{}:{}", b.address, b.port)
}

/// The width of a column: of its longest word, and at least `least`.
fn widest(words: impl Iterator<Item = usize>, least: usize) -> usize {
    words.max().unwrap_or(0).max(least)
}

/// The shape of `ipvsadm -L -n`.
fn ipvsadm(all: &[&Frontend], width: Width, headers: Headers) -> String {
    let backends = all.iter().flat_map(|f| &f.backends);
    let locals = all.iter().map(|f| local(f).len());
    let address = widest(backends.clone().map(|b| remote(b).len()).chain(locals), 20);
    let known = |name: String| {
        if name.is_empty() {
            "-".to_owned()
        } else {
            name
        }
    };
    let service_of = |f: &Frontend| {
        known(
            f.service
                .as_ref()
                .map_or_else(String::new, ToString::to_string),
        )
    };
    let service = widest(all.iter().map(|f| service_of(f).len()), 7);
    let names_of = |b: &Member| {
        let Place { pod, node, zone } = &b.place;
        [pod, node, zone].map(|name| known(name.clone().unwrap_or_default()))
    };
    let pod = widest(backends.clone().map(|b| names_of(b)[0].len()), 3);
    let node = widest(backends.map(|b| names_of(b)[1].len()), 4);
    let mut text = String::new();
    if headers == Headers::Shown {
        let _ = write!(
            text,
            "{:<4} {:<address$} Scheduler {:<service$} Flags\n  -> {:<address$} Forward Weight ActiveConn InActConn State       {:<pod$} {:<node$} Zone\n",
            "Prot", "LocalAddress:Port", "Service", "RemoteAddress:Port", "Pod", "Node"
        );
    }
    for f in all {
        let _ = writeln!(
            text,
            "{:<4} {:<address$} {:<9} {:<service$} {}",
            f.protocol,
            local(f),
            f.scheduler,
            service_of(f),
            notes(f, width)
        );
        for b in &f.backends {
            let forward = if b.local { "Local" } else { "Masq" };
            let [pod_name, node_name, zone] = names_of(b);
            let _ = write!(
                text,
                "  -> {:<address$} {forward:<7} {:<6} {:<10} {:<9} {:<11} {pod_name:<pod$} {node_name:<node$} {zone}",
                remote(b),
                b.weight,
                b.active_connections,
                b.inactive_connections,
                b.state
            );
            if width == Width::Wide {
                let _ = write!(text, " id={}", b.id);
            }
            text.push('\n');
        }
    }
    text
}

fn notes(f: &Frontend, width: Width) -> String {
    let mut notes = f.kinds.join(",");
    if f.affinity_seconds > 0 {
        let _ = write!(notes, " persistent {}", f.affinity_seconds);
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
        // Both scopes are mostly one pool.
        let mut scopes = f.scopes.clone();
        scopes.dedup_by_key(|s| s.pool);
        for s in scopes {
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
        let list = list(Vec::new(), state.path(), &dir);
        assert_eq!(list.partial, Some(Vec::new()));
    }
}

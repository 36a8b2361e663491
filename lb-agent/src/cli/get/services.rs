//! `lb-agent get services`: in the shape of `ipvsadm -L -n`, with names.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result};

use super::{
    columns,
    listing::{Beside, Headers, Listing, Row, Width},
};
use crate::{
    cli::frontends::{Frontend, Member},
    maps::dir::BpfDir,
    observe::problem_file::{PartiallyProgrammed, ProblemFile},
};

/// Every frontend, and what is not among them.
pub(super) fn list(all: Vec<Frontend>, state: &Path, dir: &BpfDir) -> Result<Listing<Frontend>> {
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
        let services: Vec<String> = frontend
            .service
            .iter()
            .map(super::ServicePort::service)
            .collect();
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
    Ok(Listing {
        kind: "FrontendList",
        rows: rows.collect(),
        table: ipvsadm,
        beside: beside(&partial)?,
    })
}

fn beside(partial: &[PartiallyProgrammed]) -> Result<Beside> {
    let value = serde_json::to_value(partial).context("encode JSON")?;
    let mut text = String::new();
    if !partial.is_empty() {
        text.push_str("\nPartially programmed, as last reported by the agent:\n");
    }
    for PartiallyProgrammed { service, problems } in partial {
        for problem in problems {
            let _ = writeln!(text, "  {service}: {problem}");
        }
    }
    Ok(Beside {
        keys: [("partiallyProgrammed".to_owned(), value)]
            .into_iter()
            .collect(),
        text,
    })
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
    let service_of = |f: &Frontend| known(columns::service(f.service.as_ref()));
    let service = widest(all.iter().map(|f| service_of(f).len()), 7);
    let names_of = |b: &Member| columns::place(&b.place).map(known);
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
        assert!(list(Vec::new(), state.path(), &dir).is_ok());
    }
}

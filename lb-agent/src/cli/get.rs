//! `lb-agent get`: tables and JSON of what the kernel holds, from the pins alone.

use std::{collections::BTreeMap, fmt::Write as _};

use anyhow::{Context as _, Result};
use comfy_table::{Table, presets::NOTHING};
use lb_common::stats::PoolStats;
use serde::Serialize;

use super::{
    args::{Get, Output, What},
    frontends::{self, Counts, Frontend, Member},
    output::print,
};
use crate::{
    maps::{
        bpf,
        dir::BpfDir,
        pinned::Access,
        stats,
        table::{ArrayTable as _, MapError},
    },
    observe::problem_file::{PartiallyProgrammed, ProblemFile},
};

/// What every JSON output of this agent carries.
pub(super) const API_VERSION: &str = "lb-agent.io/v1";

/// Carries the verb out.
pub fn run(get: &Get) -> Result<()> {
    let dir = BpfDir::at(get.pins.dir());
    let text = match get.what {
        What::Services => {
            let file = ProblemFile::of(get.state.dir(), get.pins.dir());
            services(&open(&dir)?, file.load()?, get.output)?
        }
        What::Backends => backends(&open(&dir)?, get.output)?,
        What::Flows => super::flows::show(&dir, get.output)?,
    };
    print(&text)
}

/// [`List`] of frontends, and what is not among them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Services<'a> {
    #[serde(flatten)]
    list: List<'a, Frontend>,
    partially_programmed: Vec<PartiallyProgrammed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<'a, T> {
    pub(super) api_version: &'static str,
    pub(super) kind: &'static str,
    pub(super) items: &'a [T],
}

pub(super) fn json<T: Serialize>(kind: &'static str, items: &[T]) -> Result<String> {
    encode(&List {
        api_version: API_VERSION,
        kind,
        items,
    })
}

fn encode(value: &impl Serialize) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("encode JSON")?;
    text.push('\n');
    Ok(text)
}

struct Counters {
    active: crate::maps::pinned::ArrayPin<u64>,
    stats: stats::Stats,
}

impl Counts for Counters {
    fn active(&self, backend: u32) -> Result<u64, MapError> {
        self.active.load(backend)
    }
    fn service(&self, index: u32) -> Result<PoolStats, MapError> {
        self.stats.service(index)
    }
}

/// Every frontend of the pinned maps.
pub fn open(dir: &BpfDir) -> Result<Vec<Frontend>> {
    let mut maps = bpf::open(dir, Access::Read)?;
    let counters = Counters {
        active: crate::maps::pinned::ArrayPin::open(dir, lb_common::maps::ACTIVE, Access::Read)?,
        stats: stats::Stats::open(dir)?,
    };
    Ok(frontends::read(&mut maps, &counters)?)
}

fn services(
    all: &[Frontend],
    partially_programmed: Vec<PartiallyProgrammed>,
    output: Output,
) -> Result<String> {
    if output == Output::Json {
        return encode(&Services {
            list: List {
                api_version: API_VERSION,
                kind: "FrontendList",
                items: all,
            },
            partially_programmed,
        });
    }
    let mut text = ipvsadm(all, output == Output::Wide);
    if !partially_programmed.is_empty() {
        text.push_str("\nPartially programmed, as last reported by the agent:\n");
    }
    for PartiallyProgrammed { service, problems } in partially_programmed {
        for problem in problems {
            let _ = writeln!(text, "  {service}: {problem}");
        }
    }
    Ok(text)
}

/// The shape of `ipvsadm -L -n`.
fn ipvsadm(all: &[Frontend], wide: bool) -> String {
    let local = |f: &Frontend| format!("{}:{}", f.address, f.port);
    let remote = |b: &Member| format!("{}:{}", b.address, b.port);
    let widest = all
        .iter()
        .flat_map(|f| {
            f.backends
                .iter()
                .map(|b| remote(b).len())
                .chain([local(f).len()])
        })
        .max()
        .unwrap_or(0)
        .max(20);
    let mut text = format!(
        "{:<4} {:<widest$} Scheduler Flags\n  -> {:<widest$} Forward Weight ActiveConn State\n",
        "Prot", "LocalAddress:Port", "RemoteAddress:Port"
    );
    for f in all {
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
        if wide {
            // Both scopes are mostly one service.
            let mut scopes = f.scopes.clone();
            scopes.dedup_by_key(|s| s.service);
            for s in scopes {
                let _ = write!(
                    notes,
                    " service={} connections={} packets={} bytes={} rejects={}",
                    s.service, s.stats.connections, s.stats.packets, s.stats.bytes, s.stats.rejects
                );
            }
        }
        let _ = writeln!(
            text,
            "{:<4} {:<widest$} {:<9} {notes}",
            f.protocol,
            local(f),
            f.scheduler
        );
        for b in &f.backends {
            let forward = if b.local { "Local" } else { "Masq" };
            let _ = write!(
                text,
                "  -> {:<widest$} {forward:<7} {:<6} {:<10} {}",
                remote(b),
                b.weight,
                b.active_connections,
                b.state
            );
            if wide {
                let _ = write!(text, " id={}", b.id);
            }
            text.push('\n');
        }
    }
    text
}

fn backends(all: &[Frontend], output: Output) -> Result<String> {
    let mut once: BTreeMap<u32, (&Member, usize)> = BTreeMap::new();
    for b in all.iter().flat_map(|f| &f.backends) {
        let (shown, frontends) = once.entry(b.id).or_insert((b, 0));
        *frontends += 1;
        // Draining from one frontend, it may be another one's.
        if shown.weight == 0 {
            *shown = b;
        }
    }
    let list: Vec<&Member> = once.values().map(|(b, _)| *b).collect();
    if output == Output::Json {
        return json("BackendList", &list);
    }
    let mut head = vec!["ADDRESS", "WEIGHT", "ACTIVE", "STATE", "LOCAL"];
    if output == Output::Wide {
        head.extend(["ID", "FRONTENDS"]);
    }
    let mut rows: Vec<Vec<String>> = Vec::with_capacity(once.len());
    for (b, frontends) in once.values() {
        let mut row = vec![
            format!("{}:{}", b.address, b.port),
            b.weight.to_string(),
            b.active_connections.to_string(),
            b.state.to_owned(),
            if b.local { "yes" } else { "no" }.to_owned(),
        ];
        if output == Output::Wide {
            row.extend([b.id.to_string(), frontends.to_string()]);
        }
        rows.push(row);
    }
    Ok(borderless(&head, rows))
}

/// Columns of aligned words, without lines.
pub(super) fn borderless(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_header(head.iter().copied())
        .add_rows(rows);
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim());
        text.push('\n');
    }
    text
}

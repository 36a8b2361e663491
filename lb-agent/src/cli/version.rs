//! `lb-agent version`: of this binary, of the agent that runs, of the kernel, and of the layouts of
//! the maps.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use lb_common::maps;
use serde::Serialize;

use super::{
    args::{Form, Version},
    ask,
    get::API_VERSION,
    output::print,
};
use crate::maps::dir::BpfDir;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Versions {
    api_version: &'static str,
    kind: &'static str,
    /// Of this binary.
    version: &'static str,
    /// The commit that it was built from, if the builder told.
    revision: Option<&'static str>,
    /// Of the agent that runs, if it answers.
    running: Option<String>,
    /// `uname -r`
    kernel: String,
    /// `uname -m`
    machine: String,
    maps: Vec<Layout>,
}

/// The layout of a map.
#[derive(Serialize)]
struct Layout {
    name: &'static str,
    version: u32,
    /// There is a pin of this layout.
    pinned: bool,
}

/// Carries the verb out.
pub fn run(args: &Version) -> Result<()> {
    let dir = BpfDir::at(args.pins.dir());
    let system = nix::sys::utsname::uname().context("ask for the kernel's version")?;
    let maps = maps::ALL.iter().map(|spec| Layout {
        name: spec.name,
        version: spec.version,
        pinned: dir.map(spec).exists(),
    });
    let all = Versions {
        api_version: API_VERSION,
        kind: "Version",
        version: env!("CARGO_PKG_VERSION"),
        revision: option_env!("LB_AGENT_REVISION"),
        running: running(args),
        kernel: system.release().to_string_lossy().into_owned(),
        machine: system.machine().to_string_lossy().into_owned(),
        maps: maps.collect(),
    };
    print(&match args.output {
        Form::Json => serde_json::to_string_pretty(&all).context("encode JSON")? + "\n",
        Form::Table => text(&all),
    })
}

/// What `/metrics` of a running agent says.
fn running(args: &Version) -> Option<String> {
    let (good, text) = ask::get(args.metrics.address(), "/metrics")?;
    let line = text.lines().find(|line| line.contains("_build_info{"))?;
    let (_, rest) = line.split_once("version=\"")?;
    let (version, _) = rest.split_once('"')?;
    good.then(|| version.to_owned())
}

fn text(all: &Versions) -> String {
    let pinned = all.maps.iter().filter(|map| map.pinned).count();
    let mut text = String::new();
    for (name, value) in [
        ("Version", all.version),
        ("Revision", all.revision.unwrap_or("unknown")),
        (
            "Running",
            all.running.as_deref().unwrap_or("no agent answers"),
        ),
        ("Kernel", &format!("{} {}", all.kernel, all.machine)),
        ("Maps", &format!("{pinned} of {} pinned", all.maps.len())),
    ] {
        let _ = writeln!(text, "{name:<9} {value}");
    }
    text
}

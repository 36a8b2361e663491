//! `lb-agent selftest`: whether this kernel and this machine carry Services. A node, pods and clients
//! in namespaces of their own, the agent itself in the node's, a Service of each kind, and real
//! sockets and packets; it knows nothing of the node's own network and of a running agent.
//!
//! ```text
//! selftest ── keeper (mounts, cgroups) ── stage (node; first of its processes) ─┬─ agent
//!  shows       removes what is left         makes the checks                    └─ hosts: pods, clients
//! ```
//! Each holds a pipe of the one before it, and ends with it.

mod addresses;
mod agent;
mod ask;
mod asked;
mod cgroup;
mod checks;
mod guest;
mod host;
mod judge;
mod keeper;
mod kind;
mod manifest;
mod mounts;
mod network;
pub(super) mod part;
mod question;
mod report;
mod server;
mod stage;
mod told;

use std::process::ExitCode;

use anyhow::Result;
use part::{Part, SelftestPart};
use report::Message;

use super::{
    args::{Form, Selftest},
    output::print,
};
use crate::load::probe;

/// The machine does not let the test run.
const CANNOT: u8 = 2;
/// What probes find needful for the agent alone, and the test needs.
const MOUNTS: (&str, &str) = (
    "CAP_SYS_ADMIN",
    "namespaces and mounts: add SYS_ADMIN to the capabilities, or run as root on the node",
);

/// Carries the verb out: 1 if a check fails, 2 if the test cannot run.
pub fn run(args: &Selftest) -> Result<ExitCode> {
    let lacking = lacking();
    if !lacking.is_empty() {
        return Ok(cannot(&lacking));
    }
    let lines = match told::told(args.timeout)?.lines() {
        Ok(lines) => lines,
        Err(reasons) => return Ok(cannot(&reasons)),
    };
    print(&match args.output {
        Form::Table => report::text(&lines),
        Form::Json => report::json(&lines)?,
    })?;
    let failed = lines.iter().any(|l| l.verdict == report::Verdict::Fail);
    Ok(ExitCode::from(u8::from(failed)))
}

/// Carries out a part of it.
pub fn run_part(args: &SelftestPart) -> Result<ExitCode> {
    let done = match &args.part {
        Part::Keeper { timeout } => keeper::run(*timeout),
        Part::Stage {
            timeout,
            room,
            cgroup,
        } => stage::run(*timeout, room, cgroup),
        Part::Host {
            cgroup,
            own_network,
        } => return guest::run(cgroup, *own_network).map(|()| ExitCode::SUCCESS),
    };
    if let Err(error) = done {
        part::say(&Message::Cannot(format!("{error:#}")))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What the process must be allowed to do and is not.
fn lacking() -> Vec<String> {
    let checks = probe::checks().into_iter().filter(|check| !check.ok);
    let needed = checks.filter_map(|check| match check.name {
        name if name == MOUNTS.0 => Some(MOUNTS),
        name if check.required => Some((name, check.remedy)),
        _ => None,
    });
    needed
        .map(|(name, remedy)| format!("{name}: {remedy}"))
        .collect()
}

fn cannot(reasons: &[String]) -> ExitCode {
    for reason in reasons {
        eprintln!("lb-agent: the selftest cannot run: {reason}");
    }
    ExitCode::from(CANNOT)
}

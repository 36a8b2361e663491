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
mod cgroup;
mod checks;
mod guest;
mod host;
mod judge;
mod keeper;
mod mounts;
mod network;
pub(super) mod part;
mod question;
mod report;
mod server;
mod services;
mod stage;

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    process::{ChildStdout, ExitCode, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use part::{Part, SelftestPart};
use report::{Line, Message};

use super::{
    args::{Form, Selftest},
    output::print,
};
use crate::load::probe;

/// The machine does not let the test run.
const CANNOT: u8 = 2;
/// One part of so many is for the end: that of the room, and its removal.
const END: u32 = 5;
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
    let (lines, refused) = played(args.timeout)?;
    if !refused.is_empty() {
        return Ok(cannot(&refused));
    }
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
        stage::tell(&Message::Cannot(format!("{error:#}")))?;
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

/// Everything that the room tells until it is over: lines, and why it could not go on.
fn played(timeout: Duration) -> Result<(Vec<Line>, Vec<String>)> {
    let deadline = Instant::now() + timeout;
    let keeper = Part::Keeper {
        timeout: timeout / END * (END - 1),
    };
    let mut keeper = part::command(&keeper)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        // A Ctrl-C ends the verb, and thereby the room.
        .process_group(0)
        .spawn()
        .context("start the keeper")?;
    let leash = keeper.stdin.take();
    let told = heard(keeper.stdout.take().context("no pipe from the keeper")?);
    let (mut lines, mut refused) = (Vec::new(), Vec::new());
    let is_whole = loop {
        match told.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Message::Line(line)) => lines.push(line),
            Ok(Message::Cannot(reason)) => refused.push(reason),
            Ok(Message::Done) => break true,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break false,
        }
    };
    drop(leash);
    keeper.wait().context("wait for the keeper")?;
    // What was told meanwhile, such as that something could not be removed.
    for message in told {
        if let Message::Cannot(reason) = message {
            refused.push(reason);
        }
    }
    if !is_whole {
        let remedy = format!(
            "it was not over within {}s: give a slow machine more --timeout",
            timeout.as_secs()
        );
        lines.push(Line::failed("every check is made", remedy));
    }
    Ok((lines, refused))
}

fn heard(from: ChildStdout) -> Receiver<Message> {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            // What is no message is of nobody here.
            if let Ok(message) = serde_json::from_str(&line)
                && tell.send(message).is_err()
            {
                return;
            }
        }
    });
    told
}

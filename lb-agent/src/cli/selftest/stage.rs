//! The first process of the room, the node: makes the network, starts hosts, servers and the agent,
//! and has every check made. When it ends, the kernel ends everything in the room.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};

use super::{
    addresses::{Family, Seat},
    agent::Agent,
    checks::{self, Check, Place},
    host::{Host, PATIENCE},
    judge::judge,
    mounts,
    network::{self, Network},
    question::Question,
    report::{Line, Message, Verdict},
};

/// Below the room's cgroup: that of the agent.
const NODE: &str = "node";
/// And that of what is not on the node.
const OUTSIDE: &str = "outside";

/// Sets everything up and tells how each check went.
pub(super) fn run(timeout: Duration, room: &Path, cgroup: &Path) -> Result<()> {
    let deadline = Instant::now() + timeout;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("make a network namespace")?;
    // Whoever holds the other end is gone when it ends, and nobody reads any more.
    thread::spawn(|| {
        let _ = io::stdin().read_to_end(&mut Vec::new());
        process::exit(1);
    });
    mounts::furnish(room)?;
    let node_cgroup = cgroup.join(NODE);
    fs::create_dir(&node_cgroup).with_context(|| format!("create {}", node_cgroup.display()))?;
    let procs = node_cgroup.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("enter cgroup by {}", procs.display()))?;

    let families = network::families();
    network::settings()?;
    network::forwards()?;
    let node = Network::open()?;
    let mut hosts = Vec::new();
    for seat in Seat::ALL {
        let cgroup = if seat.is_pod() {
            node_cgroup.join(seat.name())
        } else {
            cgroup.join(OUTSIDE)
        };
        hosts.push((seat, Host::join(seat, &cgroup, &node, &families)?));
    }
    tell(&Message::Line(Line::ok(
        "a node, pods and clients in namespaces of their own",
    )))?;
    if !families.contains(&Family::V6) {
        tell(&Message::Line(no_ipv6()))?;
    }
    let mut agent = Agent::start(room, &node_cgroup, &families)?;
    let started = "the agent starts, and has written every Service";
    if let Err(why) = agent.wait_ready(deadline) {
        tell(&Message::Line(Line::failed(
            started,
            format!("{why}; see `lb-agent check`"),
        )))?;
        return tell(&Message::Done);
    }
    tell(&Message::Line(Line::ok(started)))?;
    tell(&Message::Line(xdp(&node)?))?;

    let own = Host::start(&node_cgroup.join("host"), false)?;
    let mut clients = vec![(Place::Node, own)];
    for (seat, host) in hosts.extract_if(.., |(seat, _)| matches!(seat, Seat::Pod | Seat::Client)) {
        let place = if seat == Seat::Pod {
            Place::Pod
        } else {
            Place::Outside
        };
        clients.push((place, host));
    }
    for line in judged(&checks::all(&families), clients, deadline) {
        tell(&Message::Line(line))?;
    }
    tell(&Message::Done)
}

/// Every check, those of each place one after the other.
fn judged(checks: &[Check], clients: Vec<(Place, Host)>, deadline: Instant) -> Vec<Line> {
    let mut lines: Vec<(usize, Line)> = thread::scope(|scope| {
        let running: Vec<_> = clients
            .into_iter()
            .map(|(place, mut host)| {
                scope.spawn(move || {
                    let all = checks.iter().enumerate();
                    let of_place = all.filter(|(_, check)| check.from == place);
                    of_place
                        .map(|(n, check)| (n, made(check, &mut host, deadline)))
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let done = running.into_iter().map(thread::ScopedJoinHandle::join);
        done.flatten().flatten().collect()
    });
    lines.sort_by_key(|(n, _)| *n);
    lines.into_iter().map(|(_, line)| line).collect()
}

fn made(check: &Check, host: &mut Host, deadline: Instant) -> Line {
    let judged = judge(&check.expected, deadline, |nth, left| {
        let patience = left.min(PATIENCE).as_millis();
        let question = Question {
            protocol: check.protocol,
            to: check.to,
            nth,
            // No time at all would be for ever.
            patience_ms: u64::try_from(patience).unwrap_or(u64::MAX).max(1),
        };
        host.ask(question).map_err(|error| format!("{error:#}"))
    });
    match judged {
        Ok(()) => Line::ok(check.to_string()),
        Err(why) => Line::failed(check.to_string(), why),
    }
}

fn no_ipv6() -> Line {
    Line::new(
        "IPv6",
        Verdict::Skip,
        "the kernel has none: start it without ipv6.disable=1 if Services are to have IPv6",
    )
}

fn xdp(node: &Network) -> Result<Line> {
    let name = "XDP on a veth device";
    Ok(if node.has_xdp(Seat::Client.device())? {
        Line::ok(name)
    } else {
        let remedy =
            "not attached, tc serves the device: a kernel whose veth has native XDP is needed";
        Line::new(name, Verdict::Skip, remedy)
    })
}

/// To the process that started this one.
pub(super) fn tell(message: &Message) -> Result<()> {
    let line = serde_json::to_string(message).context("encode JSON")?;
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .context("tell how it went")
}

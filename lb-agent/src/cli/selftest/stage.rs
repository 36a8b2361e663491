//! The first process of the room, the node: makes the network, starts hosts, servers and the agent,
//! and has every check made. When it ends, the kernel ends everything in the room.

use std::{
    fs,
    path::Path,
    process,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::sched::{CloneFlags, unshare};

use super::{
    addresses::{Family, Seat},
    agent::Agent,
    asked::asked,
    cgroup,
    checks::{self, Place},
    host::Host,
    mounts,
    network::{self, Network},
    part::{self, say},
    report::{Line, Message, Verdict},
};

/// Below the room's cgroup: that of the agent.
const NODE: &str = "node";
/// And that of what is not on the node.
const OUTSIDE: &str = "outside";
/// What the kernel kills first when memory is short (proc_pid_oom_score_adj(5)).
const FIRST_TO_GO: &str = "1000";

/// Sets everything up and tells how each check went.
pub(super) fn run(timeout: Duration, room: &Path, own: &Path) -> Result<()> {
    let deadline = Instant::now() + timeout;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
        .context("make a network namespace")?;
    // Whoever holds the other end is gone when it ends, and nobody reads any more.
    part::when_let_go(|| process::exit(1));
    mounts::furnish(room)?;
    // A container's memory is shared with its agent, which is to go last. That only helps.
    let _ = fs::write("/proc/self/oom_score_adj", FIRST_TO_GO);
    let node_cgroup = own.join(NODE);
    fs::create_dir(&node_cgroup).with_context(|| format!("create {}", node_cgroup.display()))?;
    cgroup::enter(&node_cgroup)?;

    let families = network::families();
    network::settings()?;
    network::forwards()?;
    let node = Network::open()?;
    let mut hosts = Vec::new();
    for seat in Seat::ALL {
        let cgroup = if seat.is_pod() {
            node_cgroup.join(seat.name())
        } else {
            own.join(OUTSIDE)
        };
        hosts.push((seat, Host::join(seat, &cgroup, &node, &families)?));
    }
    say(&Message::Line(Line::ok(
        "a node, pods and clients in namespaces of their own",
    )))?;
    if !families.contains(&Family::V6) {
        say(&Message::Line(no_ipv6()))?;
    }
    let mut agent = Agent::start(room, &node_cgroup, &families)?;
    let started = "the agent starts, and has written every Service";
    if let Err(why) = agent.wait_ready(deadline) {
        say(&Message::Line(Line::failed(
            started,
            format!("{why}; see `lb-agent check`"),
        )))?;
        return say(&Message::Done);
    }
    say(&Message::Line(Line::ok(started)))?;
    say(&Message::Line(xdp(&node)?))?;

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
    for line in asked(&checks::all(&families), clients, deadline, Host::ask) {
        say(&Message::Line(line))?;
    }
    say(&Message::Done)
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

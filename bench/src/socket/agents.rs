//! A node with so many services in its kernel: an agent wrote them, and was stopped so that only
//! the data path is there to be measured.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use testbed::{
    agent::{HEALTH, Start, http},
    cgroup::Cgroup,
    lan::Lan,
    manifest,
    node::{Node, PodNetwork},
    poll,
};

use crate::services::{Class, yaml};

/// Fifty thousand services as text take their time.
const START: Duration = Duration::from_mins(5);
const STOP: Duration = Duration::from_secs(30);
/// Services in a manifest file.
const FILE: usize = 500;
/// From here on, maps need more room than they have by default: each service has two ports.
const MANY: usize = 30_000;

/// The programs go with this value.
pub(crate) struct Balanced {
    /// Sockets made here are translated; before the node, whose cgroup is above.
    pub(crate) cgroup: Cgroup,
    pub(crate) node: Node,
    /// From its start until it was ready.
    pub(crate) took: Duration,
}

impl Balanced {
    /// Services number 0, 1, … of these classes.
    pub(crate) fn new(lan: &Lan, number: u8, services: &[Class]) -> Result<Self> {
        let node = Node::new(lan, number, PodNetwork::Routed)?;
        node.write_manifest("node.yaml", &manifest::node(&node))?;
        let numbered: Vec<(u32, Class)> = (0..).zip(services.iter().copied()).collect();
        for (file, part) in numbered.chunks(FILE).enumerate() {
            let text: String = part.iter().map(|(i, class)| yaml(*i, *class)).collect();
            node.write_manifest(&format!("services-{file}.yaml"), &text)?;
        }
        let mut start = Start::new();
        if services.len() > MANY {
            // Six frontends each: two ports and the address itself, as seen from inside and from
            // outside.
            for capacity in [
                "lb_frontends=524288",
                "lb_pools=131072",
                "lb_sched=131072",
                "lb_pool_stats=131072",
            ] {
                start = start.args(&["--map-capacity", capacity]);
            }
        }
        let begun = Instant::now();
        let log = node.files().join("agent.log");
        let mut agent = node.spawn(&start.line(&node)?, &log)?;
        poll::until(START, "the agent is ready", || {
            if let Some(status) = agent.ended()? {
                return Ok(Some(Err(status)));
            }
            Ok((http(&node, HEALTH, "/readyz")?.0 == 200).then_some(Ok(())))
        })?
        .or_else(|status| bail!("the agent ended with {status}:\n{}", agent.said()?))?;
        let took = begun.elapsed();
        agent.signal(Signal::SIGTERM)?;
        agent.wait(STOP).context("stop the agent")?;
        let cgroup = node.root_cgroup().child("clients")?;
        Ok(Self { cgroup, node, took })
    }
}

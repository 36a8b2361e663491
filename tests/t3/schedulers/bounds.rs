//! `lb-agent.io/max-connections`: who is full is passed over, whatever the scheduler; who finds all
//! full is refused.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    lan::Offloads,
    manifest::Service,
    matrix::{Hook, families, matrix},
    node::{Node, PodNetwork},
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::Kind,
    two_nodes::{LOCAL, REMOTE, TwoNodes},
};

use super::spread::{Connect, node_port, service, vip};
use crate::lb0::common::{routed, without_sockets};

/// Connections of each backend.
const MOST: usize = 2;

fn bounded(scheduler: Scheduler) -> Service {
    service(scheduler).annotate("lb-agent.io/max-connections", &MOST.to_string())
}

/// One client fills all backends, is refused, and finds the place that it gives up.
fn check(node: &Node, backends: usize, refusal: &str, connect: Connect<'_>) -> Result<()> {
    let mut held = Vec::new();
    let mut open: BTreeMap<String, usize> = BTreeMap::new();
    for n in 0..MOST * backends {
        let sock = connect().with_context(|| format!("connection {n}, {open:?}"))?;
        let name = sock.ask("hello")?.name;
        *open.entry(name.clone()).or_default() += 1;
        held.push((name, sock));
    }
    ensure!(
        open.len() == backends && open.values().all(|n| *n == MOST),
        "{open:?}"
    );
    let before = agent_output::counted(node, refusal)?;
    // A connected UDP socket of a client outside is told with its first answer.
    let refused = connect().and_then(|sock| sock.ask("more"));
    ensure!(
        refused
            .as_ref()
            .is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED)),
        "{refused:?}"
    );
    ensure!(agent_output::counted(node, refusal)? > before, "{refusal}");
    let (name, sock) = held.swap_remove(held.len() / 2);
    sock.close();
    let found = poll::until(CHANGE, "one that was closed makes room", || {
        Ok(connect().and_then(|sock| sock.ask("again")).ok())
    })?;
    ensure!(found.name == name, "{} instead of {name}", found.name);
    Ok(())
}

/// Of both protocols.
fn nothing_is_open(node: &Node) -> Result<()> {
    poll::until_true(CHANGE, "what was closed is counted off", || {
        Ok(agent_output::all_active(node)? == 0)
    })
}

#[test]
fn sockets_spill_and_are_refused() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        let of = |s: &Scheduler| {
            let backends = one_node::web_pods(node);
            bounded(*s).port(PORT, TARGET).endpoints(backends)
        };
        Scheduler::ALL.iter().map(of).collect()
    })?;
    for case in matrix() {
        for scheduler in Scheduler::ALL {
            let to = vip(*scheduler).at(case.family, PORT);
            nothing_is_open(&bed.node)?;
            check(&bed.node, WEB.len(), "sock_backends_full", &|| {
                bed.client().connect(case.kind, to)
            })
            .with_context(|| format!("{} {case}", scheduler.name()))?;
        }
    }
    ensure!(agent_output::counted(&bed.node, "backend_spilled")? > 0);
    Ok(())
}

/// From outside, to node ports with pods of both nodes behind them.
fn packets_from_outside(hook: Hook) -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, hook.start())?;
    for scheduler in Scheduler::ALL {
        let service = bounded(*scheduler)
            .node_port(PORT, TARGET, node_port(*scheduler))
            .pods_of(&[&bed.near, &bed.far]);
        bed.apply(&service)?;
    }
    for family in families() {
        for scheduler in Scheduler::ALL {
            let to = bed.near.addr().at(family, node_port(*scheduler));
            poll::until(CHANGE, &format!("{to} answers"), || {
                Ok(bed.client.ask(Kind::Tcp, to).ok())
            })?;
            nothing_is_open(&bed.near)?;
            let backends = LOCAL.len() + REMOTE.len();
            check(&bed.near, backends, "pkt_backends_full", &|| {
                bed.client.connect(Kind::Tcp, to)
            })
            .with_context(|| format!("{} {family}", scheduler.name()))?;
        }
    }
    Ok(())
}

#[test]
fn packets_from_outside_spill_and_are_refused_by_tc() -> Result<()> {
    packets_from_outside(Hook::Tc)
}

#[test]
fn packets_from_outside_spill_and_are_refused_by_xdp() -> Result<()> {
    packets_from_outside(Hook::Xdp)
}

#[test]
fn what_comes_over_lb0_spills_and_is_refused() -> Result<()> {
    let of = Scheduler::WeightedRoundRobin;
    let bed = OneNode::with(without_sockets(), |node| {
        let backends = one_node::web_pods(node);
        vec![bounded(of).port(PORT, TARGET).endpoints(backends)]
    })?;
    routed(&bed.node)?;
    for family in families() {
        let to = vip(of).at(family, PORT);
        nothing_is_open(&bed.node)?;
        check(&bed.node, WEB.len(), "pkt_backends_full", &|| {
            bed.client().connect(Kind::Tcp, to)
        })?;
    }
    Ok(())
}

#[test]
fn a_client_with_affinity_leaves_a_backend_that_is_full() -> Result<()> {
    let of = Scheduler::Random;
    let bed = OneNode::with(Start::new(), |node| {
        let backends = one_node::web_pods(node);
        let service = bounded(of).spec("sessionAffinity: ClientIP");
        vec![service.port(PORT, TARGET).endpoints(backends)]
    })?;
    for family in families() {
        let to = vip(of).at(family, PORT);
        nothing_is_open(&bed.node)?;
        check(&bed.node, WEB.len(), "sock_backends_full", &|| {
            bed.client().connect(Kind::Tcp, to)
        })?;
    }
    Ok(())
}

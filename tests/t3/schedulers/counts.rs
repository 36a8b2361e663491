//! What load goes by: connections of sockets and flows, each counted once, and off again.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    lan::{Lan, Offloads},
    manifest::{self, Endpoint},
    matrix::{Hook, families, hooks},
    node::{Node, PodNetwork},
    one_node::{PORT, TARGET},
    pod::Pod,
    poll,
    probe::{CrowdPlan, Ending, Family, Kind, Probe},
    two_nodes::TwoNodes,
};

use super::spread::{node_port, service, vip};

/// Longer than a recount, or two sweeps with the pause between them.
const SETTLING: Duration = Duration::from_secs(90);
/// For a crowd to be answered.
pub(super) const TURN: Duration = Duration::from_mins(1);
pub(super) const LC: Scheduler = Scheduler::LeastConnections;

/// Connections that the pods' own kernels call established, by `address:port` of the backend.
pub(super) fn by_ss<'a>(
    pods: impl IntoIterator<Item = &'a Pod>,
    family: Family,
    target: u16,
) -> Result<BTreeMap<String, u64>> {
    let filter = format!("sport = :{target}");
    let mut counts = BTreeMap::new();
    for pod in pods {
        // Sockets that listen for both families show IPv4 as mapped.
        let text = pod.run(&["ss", "-Htn", "state", "established", &filter])?;
        let at = pod.addr().at(family, target);
        let (own, mapped) = (at.to_string(), format!("[::ffff:{}]:{target}", at.ip()));
        let ours = |line: &&str| {
            line.split_whitespace()
                .any(|word| word == own || word == mapped)
        };
        counts.insert(own.clone(), text.lines().filter(ours).count() as u64);
    }
    Ok(counts)
}

/// Waits until what the agent shows is what the pods' kernels have, and returns it.
pub(super) fn settled<'a>(
    node: &Node,
    pods: &(impl IntoIterator<Item = &'a Pod> + Clone),
    family: Family,
    target: u16,
) -> Result<BTreeMap<String, u64>> {
    poll::until(SETTLING, "counts are what ss says", || {
        let real = by_ss(pods.clone(), family, target)?;
        let mut shown = agent_output::active(node)?;
        shown.retain(|at, _| real.contains_key(at));
        for at in real.keys() {
            shown.entry(at.clone()).or_default();
        }
        ensure!(shown == real, "{shown:?} is shown, there are {real:?}");
        Ok(Some(real))
    })
}

/// All within so many of each other.
pub(super) fn level(counts: &BTreeMap<String, u64>, within: u64) -> Result<()> {
    let (min, max) = (counts.values().min(), counts.values().max());
    let spread = max.zip(min).map(|(max, min)| max - min);
    ensure!(spread <= Some(within), "{counts:?}");
    Ok(())
}

pub(super) fn stay(to: std::net::SocketAddr, count: u32) -> CrowdPlan {
    CrowdPlan {
        kind: Kind::Tcp,
        to,
        count,
        per_second: 0,
        // One at a time: who is chosen next depends on who is open.
        at_once: 1,
        ports: None,
        ending: Ending::Stay,
    }
}

/// Writes the Service of these pods, which listen at this port.
pub(super) fn write(node: &Node, pods: &[Pod], target: u16) -> Result<()> {
    let endpoints: Vec<_> = pods.iter().map(|pod| Endpoint::of(node, pod)).collect();
    let service = service(LC).port(PORT, target).endpoints(endpoints);
    node.write_manifest(&service.file(), &service.yaml())
}

/// Waits until so many of its backends get new connections.
pub(super) fn written(node: &Node, backends: usize) -> Result<()> {
    let address = vip(LC).v4.to_string();
    poll::until_true(CHANGE, &format!("{backends} backends are written"), || {
        let found = agent_output::frontend(node, "TCP", &address, PORT)?.backends;
        Ok(found.iter().filter(|b| b.state == "ready").count() == backends)
    })
}

#[test]
fn least_connections_stay_level_while_backends_come_and_go() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let mut node = Node::new(&lan, 1, PodNetwork::Routed)?;
    for n in 0..10 {
        node.add_pod(&format!("web-{n}"))?.serve(TARGET)?;
    }
    node.add_pod("client")?;
    let (pods, client) = (&node.pods()[..10], node.pod(10));
    let write = |pods: &[Pod]| write(&node, pods, TARGET);
    let written = |backends| written(&node, backends);
    node.write_manifest("node.yaml", &manifest::node(&node))?;
    write(pods)?;
    let agent = Start::new().on(&node)?;
    for family in families() {
        let to = vip(LC).at(family, PORT);
        let mut crowds = Vec::new();
        let mut more = |count: u32| -> Result<()> {
            let crowd = client.crowd(stay(to, count))?;
            let tally = crowd.opened(TURN)?;
            ensure!(tally.failures.is_empty(), "{tally:?}");
            crowds.push(crowd);
            Ok(())
        };
        more(400)?;
        level(&settled(&node, &pods, family, TARGET)?, 1)?;
        // Half of them go: what they have stays, and the others get what is new.
        write(&pods[..5])?;
        written(5)?;
        more(200)?;
        let real = by_ss(pods, family, TARGET)?;
        ensure!(real.values().sum::<u64>() == 600, "{real:?}");
        level(&by_ss(&pods[..5], family, TARGET)?, 1)?;
        level(&by_ss(&pods[5..], family, TARGET)?, 1)?;
        // They come back, and get all until they have as many.
        write(pods)?;
        written(10)?;
        more(200)?;
        level(&settled(&node, &pods, family, TARGET)?, 1)?;
        drop(crowds);
        let left = settled(&node, &pods, family, TARGET)?;
        ensure!(left.values().sum::<u64>() == 0, "{left:?}");
    }
    drop(agent);
    Ok(())
}

#[test]
fn a_restart_and_killed_clients_leave_the_counts_right() -> Result<()> {
    let mut bed = testbed::one_node::OneNode::with(Start::new(), |node| {
        let backends = testbed::one_node::web_pods(node);
        vec![service(LC).port(PORT, TARGET).endpoints(backends)]
    })?;
    let doomed = Probe::start(bed.client().sandbox())?;
    let to = vip(LC).at(Family::V4, PORT);
    let first = doomed.crowd(stay(to, 60))?;
    first.opened(TURN)?;
    if let Some(agent) = bed.agent.take() {
        agent.kill()?;
    }
    let second = bed.client().crowd(stay(to, 60))?;
    second.opened(TURN)?;
    bed.agent = Some(Start::new().on(&bed.node)?);
    let third = bed.client().crowd(stay(to, 60))?;
    third.opened(TURN)?;
    let pods = &bed.node.pods()[..3];
    let counts = settled(&bed.node, &pods, Family::V4, TARGET)?;
    ensure!(counts.values().all(|n| *n == 60), "{counts:?}");
    doomed.kill();
    let counts = settled(&bed.node, &pods, Family::V4, TARGET)?;
    ensure!(counts.values().sum::<u64>() == 120, "{counts:?}");
    Ok(())
}

#[test]
fn flows_from_outside_are_counted_and_counted_off() -> Result<()> {
    for hook in hooks() {
        let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, hook.start())?;
        let service = service(LC)
            .node_port(PORT, TARGET, node_port(LC))
            .pods_of(&[&bed.near, &bed.far]);
        bed.apply(&service)?;
        for family in families() {
            flows(&bed, hook, family)?;
        }
    }
    Ok(())
}

fn flows(bed: &TwoNodes, hook: Hook, family: Family) -> Result<()> {
    let pods: Vec<&Pod> = bed.near.pods().iter().chain(bed.far.pods()).collect();
    let to = bed.near.addr().at(family, node_port(LC));
    poll::until(CHANGE, &format!("{to} answers"), || {
        Ok(bed.client.ask(Kind::Tcp, to).ok())
    })?;
    let crowd = bed.client.crowd(stay(to, 200))?;
    let tally = crowd.opened(TURN)?;
    ensure!(tally.failures.is_empty(), "{hook} {family}: {tally:?}");
    let counts = settled(&bed.near, &pods, family, TARGET)?;
    ensure!(counts.values().all(|n| *n == 50), "{counts:?}");
    drop(crowd);
    let counts = settled(&bed.near, &pods, family, TARGET)?;
    ensure!(counts.values().all(|n| *n == 0), "{counts:?}");
    // Closed ones are inactive until their time is over.
    let at = bed.near.pod(0).addr().at(family, TARGET);
    let backend = agent_output::backend(&bed.near, at)?;
    ensure!(backend.inactive_connections >= 50, "{backend:?}");
    Ok(())
}

#[test]
fn a_sweep_repairs_counts_of_flows_that_have_drifted() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, Start::new())?;
    let service = service(LC)
        .node_port(PORT, TARGET, node_port(LC))
        .pods_of(&[&bed.near]);
    bed.apply(&service)?;
    let to = bed.near.addr().at(Family::V4, node_port(LC));
    poll::until(CHANGE, &format!("{to} answers"), || {
        Ok(bed.client.ask(Kind::Tcp, to).ok())
    })?;
    let crowd = bed.client.crowd(stay(to, 20))?;
    crowd.opened(TURN)?;
    let pods = bed.near.pods();
    settled(&bed.near, &pods, Family::V4, TARGET)?;
    // Five too many that are open, and two that are not, as entries that the LRU dropped leave them.
    let at = pods[0].addr().at(Family::V4, TARGET);
    let backend = agent_output::backend(&bed.near, at)?;
    let map = bed.near.map_pin("lb_flow_counts");
    let key = backend.id.to_le_bytes().map(|byte| byte.to_string());
    let active = u8::try_from(backend.active_connections + 5)?.to_string();
    let inactive = u8::try_from(backend.inactive_connections + 2)?.to_string();
    let mut words: Vec<&str> = ["bpftool", "map", "update", "pinned", &map, "key"].into();
    words.extend(key.iter().map(String::as_str));
    words.extend(["value", &active, "0", "0", "0", &inactive, "0", "0", "0"]);
    bed.near.run(&words)?;
    let wrong = agent_output::backend(&bed.near, at)?;
    ensure!(
        wrong.active_connections == backend.active_connections + 5,
        "{wrong:?}"
    );
    settled(&bed.near, &pods, Family::V4, TARGET)?;
    let repaired = agent_output::metric(&bed.near, "lb_agent_flow_counts_repaired_total")?;
    ensure!(repaired >= 5.0, "{repaired}");
    drop(crowd);
    Ok(())
}

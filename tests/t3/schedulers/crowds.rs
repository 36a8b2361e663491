//! Ten thousand open connections under `lc`: what the agent counts is what the pods' own kernels have,
//! and the backends are level, whatever comes and goes meanwhile.

use std::net::Ipv6Addr;

use anyhow::{Result, ensure};
use testbed::{
    agent::{CHANGE, Start},
    lan::{Lan, Offloads},
    manifest,
    matrix::hooks,
    node::{Node, PodNetwork},
    one_node::PORT,
    pod::Pod,
    poll,
    probe::{Family, Kind, Probe},
    two_nodes::TwoNodes,
};

use super::{
    counts::{LC, TURN, by_ss, level, settled, stay, write, written},
    spread::{node_port, service, vip},
};

/// Servers for thousands of connections listen there.
const CROWDED: u16 = 8090;
const BACKENDS: usize = 10;
const ALL: u64 = 10_000;

fn serve(pods: &[Pod]) -> Result<()> {
    for pod in pods {
        let any = (Ipv6Addr::UNSPECIFIED, CROWDED).into();
        pod.listen_crowd(Kind::Tcp, any, pod.name())?;
    }
    Ok(())
}

#[test]
fn ten_thousand_sockets_are_level_and_counted() -> Result<()> {
    let lan = Lan::new(Offloads::On)?;
    let mut node = Node::new(&lan, 1, PodNetwork::Routed)?;
    for n in 0..BACKENDS {
        node.add_pod(&format!("web-{n}"))?;
    }
    node.add_pod("client")?;
    let (pods, client) = node.pods().split_at(BACKENDS);
    serve(pods)?;
    let write = |pods: &[Pod]| write(&node, pods, CROWDED);
    let written = |backends| written(&node, backends);
    node.write_manifest("node.yaml", &manifest::node(&node))?;
    write(pods)?;
    let agent = Start::new().on(&node)?;
    let (family, to) = (Family::V4, vip(LC).at(Family::V4, PORT));
    let open = |by: &Probe, count: u32| -> Result<_> {
        let crowd = by.crowd(stay(to, count))?;
        let tally = crowd.opened(TURN)?;
        ensure!(tally.failures.is_empty(), "{tally:?}");
        Ok(crowd)
    };
    let (doomed, lasting) = (
        Probe::start(client[0].sandbox())?,
        Probe::start(client[0].sandbox())?,
    );
    let first = open(&doomed, 4000)?;
    level(&settled(&node, &pods, family, CROWDED)?, 1)?;
    write(&pods[..BACKENDS / 2])?;
    written(BACKENDS / 2)?;
    let second = open(&lasting, 2000)?;
    level(&by_ss(&pods[..BACKENDS / 2], family, CROWDED)?, 1)?;
    // Nobody counts for a while but the programs.
    agent.kill()?;
    let third = open(&lasting, 500)?;
    let agent = Start::new().on(&node)?;
    write(pods)?;
    written(BACKENDS)?;
    // The new agent knows those that come back by its recount.
    settled(&node, &pods, family, CROWDED)?;
    let fourth = open(&lasting, 3500)?;
    let real = settled(&node, &pods, family, CROWDED)?;
    level(&real, 1)?;
    ensure!(real.values().sum::<u64>() == ALL, "{real:?}");
    doomed.kill();
    let real = settled(&node, &pods, family, CROWDED)?;
    ensure!(real.values().sum::<u64>() == ALL - 4000, "{real:?}");
    drop((first, second, third, fourth));
    let real = settled(&node, &pods, family, CROWDED)?;
    ensure!(real.values().sum::<u64>() == 0, "{real:?}");
    drop(agent);
    Ok(())
}

#[test]
fn ten_thousand_flows_are_level_and_counted() -> Result<()> {
    for hook in hooks() {
        let mut bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, hook.start())?;
        let endpoints = [bed.endpoints(&bed.near), bed.endpoints(&bed.far)].concat();
        serve(bed.near.pods())?;
        serve(bed.far.pods())?;
        let service = service(LC)
            .node_port(PORT, CROWDED, node_port(LC))
            .endpoints(endpoints);
        bed.apply(&service)?;
        let family = Family::V4;
        let to = bed.near.addr().at(family, node_port(LC));
        poll::until(CHANGE, &format!("{to} answers"), || {
            Ok(bed.client.ask(Kind::Tcp, to).ok())
        })?;
        let doomed = Probe::start(bed.client.sandbox())?;
        let first = doomed.crowd(stay(to, 4000))?;
        let tally = first.opened(TURN)?;
        ensure!(tally.failures.is_empty(), "{tally:?}");
        let agent = bed.agents.remove(0);
        agent.kill()?;
        let second = bed.client.crowd(stay(to, 6000))?;
        let tally = second.opened(TURN)?;
        ensure!(tally.failures.is_empty(), "{tally:?}");
        bed.agents.insert(0, hook.start().on(&bed.near)?);
        let pods: Vec<&Pod> = bed.near.pods().iter().chain(bed.far.pods()).collect();
        let real = settled(&bed.near, &pods, family, CROWDED)?;
        level(&real, 1)?;
        ensure!(real.values().sum::<u64>() == ALL, "{real:?}");
        doomed.kill();
        let real = settled(&bed.near, &pods, family, CROWDED)?;
        ensure!(real.values().sum::<u64>() == ALL - 4000, "{real:?}");
        drop((first, second));
    }
    Ok(())
}

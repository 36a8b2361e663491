//! Weights, by real sockets and packets.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{self, CHANGE, Start},
    agent_output,
    lan::Offloads,
    manifest::Service,
    matrix::{Hook, families, hooks},
    node::PodNetwork,
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::{Family, Kind},
    two_nodes::{LOCAL, TwoNodes},
};

use super::spread::{node_port, service, vip};

const WRR: Scheduler = Scheduler::WeightedRoundRobin;
const WLC: Scheduler = Scheduler::WeightedLeastConnections;
const RANDOM: Scheduler = Scheduler::Random;
const WEIGHTS: &str = "lb-agent.io/weights";

#[test]
fn weights_reach_sockets() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        let weighted = |scheduler| {
            let weights = format!("pod={}:60, pod=web-2:40, *:20", WEB[0]);
            service(scheduler)
                .port(PORT, TARGET)
                .endpoints(one_node::web_pods(node))
                .annotate(WEIGHTS, &weights)
        };
        [WRR, WLC, RANDOM].map(weighted).into()
    })?;
    let name = |to| -> Result<String> { Ok(bed.client().ask(Kind::Tcp, to)?.name) };
    for family in families() {
        // IPVS's turns of 3, 2 and 1, from wherever the cursor stands.
        let turns = [0, 0, 1, 0, 1, 2].map(|at| WEB[at]);
        let to = vip(WRR).at(family, PORT);
        let seen = (0..18).map(|_| name(to)).collect::<Result<Vec<_>>>()?;
        let fits = |start: usize| (0..18).all(|n| seen[n] == turns[(start + n) % 6]);
        ensure!((0..6).any(fits), "{seen:?}");

        poll::until_true(CHANGE, "what was closed is counted off", || {
            Ok(agent_output::all_active(&bed.node)? == 0)
        })?;
        let mut held = Vec::new();
        let mut open: BTreeMap<String, usize> = BTreeMap::new();
        for _ in 0..24 {
            let sock = bed.client().connect(Kind::Tcp, vip(WLC).at(family, PORT))?;
            *open.entry(sock.ask("hello")?.name).or_default() += 1;
            held.push(sock);
        }
        let shares = WEB.map(|name| open.get(name).copied().unwrap_or(0));
        ensure!(shares == [12, 8, 4], "{family}: {shares:?}");

        // Half of them, within four standard deviations of 300 draws.
        let to = vip(RANDOM).at(family, PORT);
        let mut first = 0;
        for _ in 0..300 {
            first += i32::from(name(to)? == WEB[0]);
        }
        ensure!((first - 150).abs() <= 35, "{family}: {first} of 300");
    }
    let address = vip(WRR).v4.to_string();
    let shown = agent_output::frontend(&bed.node, "TCP", &address, PORT)?;
    let weights: Vec<u16> = shown.backends.iter().map(|b| b.weight).collect();
    ensure!(weights == [60, 40, 20], "{weights:?}");
    Ok(())
}

#[test]
fn a_weight_of_0_drains_sockets() -> Result<()> {
    let of = |node: &_| -> Service {
        service(RANDOM)
            .port(PORT, TARGET)
            .endpoints(one_node::web_pods(node))
    };
    let bed = OneNode::with(Start::new(), |node| vec![of(node)])?;
    let to = vip(RANDOM).at(Family::V4, PORT);
    let kept = bed.client().connect(Kind::Tcp, to)?;
    let name = kept.ask("hello")?.name;
    bed.apply(&of(&bed.node).annotate(WEIGHTS, &format!("pod={name}:0")))?;
    poll::until_true(CHANGE, "it drains", || {
        let address = vip(RANDOM).v4.to_string();
        let shown = agent_output::frontend(&bed.node, "TCP", &address, PORT)?;
        Ok(shown
            .backends
            .iter()
            .any(|b| b.state == "draining" && b.weight == 0))
    })?;
    for _ in 0..40 {
        let other = bed.client().ask(Kind::Tcp, to)?.name;
        ensure!(other != name, "{name} drains, and got a connection");
    }
    ensure!(kept.ask("still there?")?.name == name);
    Ok(())
}

#[test]
fn weights_reach_packets_and_a_weight_of_0_drains_flows() -> Result<()> {
    for hook in hooks() {
        packets(hook)?;
    }
    Ok(())
}

fn packets(hook: Hook) -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, hook.start())?;
    let of = |weights: &str| {
        service(WRR)
            .node_port(PORT, TARGET, node_port(WRR))
            .pods_of(&[&bed.near, &bed.far])
            .annotate(WEIGHTS, weights)
    };
    // One node's pods get thrice as much as the other's.
    let near = bed.near.name();
    bed.apply(&of(&format!("node={near}:90, *:30")))?;
    for family in families() {
        let to = bed.near.addr().at(family, node_port(WRR));
        poll::until(CHANGE, &format!("{to} answers"), || {
            Ok(bed.client.ask(Kind::Tcp, to).ok())
        })?;
        let mut here = 0;
        for _ in 0..16 {
            let name = bed.client.ask(Kind::Tcp, to)?.name;
            here += usize::from(LOCAL.contains(&name.as_str()));
        }
        ensure!(here == 12, "{hook} {family}: {here} of 16");
    }
    let to = bed.near.addr().at(Family::V4, node_port(WRR));
    let kept = bed.client.connect(Kind::Tcp, to)?;
    let name = kept.ask("hello")?.name;
    bed.apply(&of(&format!("pod={name}:0")))?;
    poll::until_true(CHANGE, "it drains", || {
        let address = vip(WRR).v4.to_string();
        let shown = agent_output::frontend(&bed.near, "TCP", &address, PORT)?;
        Ok(shown.backends.iter().any(|b| b.state == "draining"))
    })?;
    for _ in 0..24 {
        let other = bed.client.ask(Kind::Tcp, to)?.name;
        ensure!(other != name, "{hook}: {name} drains, and got a connection");
    }
    ensure!(kept.ask("still there?")?.name == name);
    Ok(())
}

#[test]
fn the_share_of_a_new_endpoint_grows() -> Result<()> {
    const SLOW_START: &str = "lb-agent.io/slow-start";
    // A share stays a tenth for 400 s: as long as this test has not shown it.
    let of = |node: &_, pods: usize, slow: &str| -> Service {
        let endpoints = one_node::web_pods(node).into_iter().take(pods);
        service(WRR)
            .port(PORT, TARGET)
            .endpoints(endpoints)
            .annotate(SLOW_START, slow)
    };
    let bed = OneNode::with(Start::new(), |node| vec![of(node, 2, "1h")])?;
    let turns = |count: usize| -> Result<[usize; 3]> {
        let mut turns = [0; 3];
        for _ in 0..count {
            let name = bed
                .client()
                .ask(Kind::Tcp, vip(WRR).at(Family::V4, PORT))?
                .name;
            let at = WEB.iter().position(|web| *web == name);
            turns[at.context("another pod answers")?] += 1;
        }
        Ok(turns)
    };
    let seen = turns(4)?;
    ensure!(
        seen == [2, 2, 0],
        "those that were first are not new: {seen:?}"
    );
    bed.apply(&of(&bed.node, 3, "1h"))?;
    poll::until_true(CHANGE, "the new one has connections", || {
        Ok(turns(21)?[2] > 0)
    })?;
    let seen = turns(42)?;
    ensure!(
        seen == [20, 20, 2],
        "a tenth of the others' turns: {seen:?}"
    );
    let words = agent::verb(&bed.node, &["explain", "svc/by-wrr"])?;
    ensure!(words.contains("new: slow start gives it 1/10"), "{words}");

    // A second is over soon, and each step is written by itself.
    bed.apply(&of(&bed.node, 3, "1s"))?;
    poll::until_true(CHANGE, "its share is whole", || {
        let words = agent::verb(&bed.node, &["explain", "svc/by-wrr"])?;
        Ok(!words.contains("slow start"))
    })?;
    poll::until_true(CHANGE, "it has as many turns", || {
        Ok(turns(18)? == [6, 6, 6])
    })?;
    Ok(())
}

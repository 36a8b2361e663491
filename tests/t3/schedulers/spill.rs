//! `lb-agent.io/spill`: with topology hints, what is above so much of the average leaves the endpoints
//! that they prefer, whatever the scheduler.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{self, CHANGE, Start},
    agent_output,
    lan::Offloads,
    manifest::Service,
    matrix::{Hook, families},
    node::PodNetwork,
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::{Kind, Sock},
    two_nodes::{LOCAL, TwoNodes},
};

use super::{
    beds::{self, Turn, answers, nothing_is_open},
    spread::{Connect, node_port, service, vip},
};

const REASON: &str = "topology_spilled";
/// Held at once; divisible by every number of backends here.
const CONNECTIONS: usize = 24;

fn spilling(scheduler: Scheduler, pod: &str) -> Service {
    service(scheduler)
        .preferring(&[pod])
        .annotate("lb-agent.io/spill", "150%")
}

/// With the first of one node's pods preferred.
fn of_one_node(scheduler: Scheduler) -> Service {
    spilling(scheduler, WEB[0])
}

/// With the first of the near node's pods preferred.
fn of_two_nodes(scheduler: Scheduler) -> Service {
    spilling(scheduler, LOCAL[0])
}

/// So many connections that stay open, by who has them.
fn open(count: usize, connect: Connect<'_>) -> Result<(Vec<Sock>, BTreeMap<String, usize>)> {
    let (mut held, mut open) = (Vec::new(), BTreeMap::new());
    for n in 0..count {
        let sock = connect().with_context(|| format!("connection {n}, {open:?}"))?;
        *open.entry(sock.ask("hello")?.name).or_default() += 1;
        held.push(sock);
    }
    Ok((held, open))
}

/// The preferred one has 1.5 of the average, the others even shares of the rest.
fn check(turn: &Turn<'_>, preferred: &str) -> Result<()> {
    nothing_is_open(turn.node)?;
    let before = agent_output::counted(turn.node, REASON)?;
    let (_held, mut open) = open(CONNECTIONS, turn.connect)?;
    let bound = 3 * CONNECTIONS / (2 * turn.backends);
    let stayed = open.remove(preferred).unwrap_or_default();
    ensure!(
        stayed == bound,
        "{stayed} of {CONNECTIONS} stayed, {bound} may; others: {open:?}"
    );
    let (least, most) = (open.values().min(), open.values().max());
    let apart = most.zip(least).map_or(0, |(most, least)| most - least);
    ensure!(
        open.len() == turn.backends - 1 && apart <= 1,
        "not even outside: {open:?}"
    );
    let left = agent_output::counted(turn.node, REASON)? - before;
    ensure!(
        left == u64::try_from(CONNECTIONS - bound)?,
        "{left} are counted"
    );
    Ok(())
}

#[test]
fn sockets_leave_above_so_much_of_the_average() -> Result<()> {
    beds::sockets(of_one_node, &|turn| check(turn, WEB[0]))?;
    Ok(())
}

#[test]
fn packets_from_outside_leave_above_so_much_of_the_average_by_tc() -> Result<()> {
    beds::from_outside(Hook::Tc, of_two_nodes, &|turn| check(turn, LOCAL[0]))
}

#[test]
fn packets_from_outside_leave_above_so_much_of_the_average_by_xdp() -> Result<()> {
    beds::from_outside(Hook::Xdp, of_two_nodes, &|turn| check(turn, LOCAL[0]))
}

#[test]
fn what_comes_over_lb0_leaves_above_so_much_of_the_average() -> Result<()> {
    beds::over_lb0(of_one_node, &|turn| check(turn, WEB[0]))
}

fn bed(of: Scheduler, service: impl Fn(Scheduler) -> Service) -> Result<OneNode> {
    OneNode::with(Start::new(), |node| {
        let backends = one_node::web_pods(node);
        vec![service(of).port(PORT, TARGET).endpoints(backends)]
    })
}

#[test]
fn without_the_annotation_and_with_affinity_all_stay() -> Result<()> {
    let of = Scheduler::Random;
    for with in [
        |of| service(of).preferring(&WEB[..1]),
        |of| of_one_node(of).spec("sessionAffinity: ClientIP"),
    ] {
        let bed = bed(of, with)?;
        for family in families() {
            let to = vip(of).at(family, PORT);
            let (_held, open) = open(CONNECTIONS, &|| bed.client().connect(Kind::Tcp, to))?;
            ensure!(open.get(WEB[0]) == Some(&CONNECTIONS), "{open:?}");
        }
    }
    Ok(())
}

#[test]
fn turns_are_for_those_that_stay() -> Result<()> {
    let of = Scheduler::RoundRobin;
    // One of two leaves, and two of four are preferred: each has as many as every other one.
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, Hook::Tc.start())?;
    let service = service(of)
        .preferring(&LOCAL)
        .annotate("lb-agent.io/spill", "100%")
        .node_port(PORT, TARGET, node_port(of));
    bed.apply(&service.pods_of(&[&bed.near, &bed.far]))?;
    for family in families() {
        let to = bed.near.addr().at(family, node_port(of));
        answers(&bed, to)?;
        nothing_is_open(&bed.near)?;
        let (_held, open) = open(CONNECTIONS, &|| bed.client.connect(Kind::Tcp, to))?;
        ensure!(
            open.len() == 4 && open.values().all(|n| *n == CONNECTIONS / 4),
            "{open:?}"
        );
    }
    Ok(())
}

#[test]
fn a_client_outside_with_affinity_does_not_part() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, Hook::Tc.start())?;
    for of in [Scheduler::Random, Scheduler::LeastConnections] {
        let service = of_two_nodes(of)
            .spec("sessionAffinity: ClientIP")
            .node_port(PORT, TARGET, node_port(of));
        bed.apply(&service.pods_of(&[&bed.near, &bed.far]))?;
        for family in families() {
            let to = bed.near.addr().at(family, node_port(of));
            answers(&bed, to)?;
            let (_held, open) = open(CONNECTIONS, &|| bed.client.connect(Kind::Tcp, to))?;
            ensure!(open.len() == 1, "{open:?}");
        }
    }
    Ok(())
}

#[test]
fn who_is_full_is_left_before_anybody_is_refused() -> Result<()> {
    let of = Scheduler::RoundRobin;
    // With the second, nothing would leave for the others' sake.
    for percent in ["150%", "400%"] {
        let most = 2;
        let bed = bed(of, |of| {
            service(of)
                .preferring(&WEB[..1])
                .annotate("lb-agent.io/spill", percent)
                .annotate("lb-agent.io/max-connections", &most.to_string())
        })?;
        for family in families() {
            nothing_is_open(&bed.node)?;
            let connect = || bed.client().connect(Kind::Tcp, vip(of).at(family, PORT));
            let (_held, open) = open(most * WEB.len(), &connect)?;
            ensure!(
                open.len() == WEB.len() && open.values().all(|n| *n == most),
                "{open:?}"
            );
            let refused = connect();
            ensure!(refused.is_err(), "all are full");
        }
    }
    Ok(())
}

#[test]
fn those_that_are_left_come_back_when_there_is_room() -> Result<()> {
    let of = Scheduler::LeastConnections;
    let bed = bed(of, of_one_node)?;
    for family in families() {
        nothing_is_open(&bed.node)?;
        let connect = || bed.client().connect(Kind::Tcp, vip(of).at(family, PORT));
        let (held, _) = open(CONNECTIONS, &connect)?;
        for sock in held {
            sock.close();
        }
        nothing_is_open(&bed.node)?;
        let first = connect()?;
        ensure!(first.ask("back?")?.name == WEB[0], "it is preferred again");
    }
    Ok(())
}

#[test]
fn who_takes_what_leaves_is_shown() -> Result<()> {
    let of = Scheduler::Random;
    let bed = bed(of, of_one_node)?;
    let address = vip(of).v4.to_string();
    poll::until_true(CHANGE, "two take what leaves", || {
        let found = agent_output::frontend(&bed.node, "TCP", &address, PORT)?;
        let spill = found.backends.iter().filter(|b| b.state == "spill");
        Ok(spill.count() == WEB.len() - 1)
    })?;
    let name = format!("svc/by-{}", of.name());
    let said = agent::verb(&bed.node, &["explain", &name])?;
    ensure!(
        said.contains("Spill") && said.contains("takes what spills"),
        "{said}"
    );
    Ok(())
}

//! `lb-agent.io/max-connections`: who is full is passed over, whatever the scheduler; who finds all
//! full is refused.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    manifest::Service,
    matrix::{Hook, families},
    node::Node,
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::{Family, HammerPlan, Kind},
};

use super::{
    beds::{self, Turn, nothing_is_open},
    spread::{Connect, service, vip},
};

/// Connections of each backend.
const MOST: usize = 2;
const SOCK: &str = "sock_backends_full";
const PKT: &str = "pkt_backends_full";
/// Times that a bound comes and goes.
const CHANGES: usize = 40;

fn with_bound(scheduler: Scheduler, most: usize) -> Service {
    service(scheduler).annotate("lb-agent.io/max-connections", &most.to_string())
}

fn bounded(scheduler: Scheduler) -> Service {
    with_bound(scheduler, MOST)
}

/// One client fills all backends, is refused, and finds the place that it gives up.
fn check(node: &Node, backends: usize, refusal: &str, connect: Connect<'_>) -> Result<()> {
    nothing_is_open(node)?;
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
    is_refused(connect)?;
    ensure!(agent_output::counted(node, refusal)? > before, "{refusal}");
    let (name, sock) = held.swap_remove(held.len() / 2);
    sock.close();
    let found = poll::until(CHANGE, "one that was closed makes room", || {
        Ok(connect().and_then(|sock| sock.ask("again")).ok())
    })?;
    ensure!(found.name == name, "{} instead of {name}", found.name);
    Ok(())
}

fn is_refused(connect: Connect<'_>) -> Result<()> {
    // A connected UDP socket of a client outside is told with its first answer.
    let refused = connect().and_then(|sock| sock.ask("more"));
    ensure!(
        refused
            .as_ref()
            .is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED)),
        "{refused:?}"
    );
    Ok(())
}

fn check_packets(turn: &Turn<'_>) -> Result<()> {
    check(turn.node, turn.backends, PKT, turn.connect)
}

#[test]
fn sockets_spill_and_are_refused() -> Result<()> {
    let check = |turn: &Turn<'_>| check(turn.node, turn.backends, SOCK, turn.connect);
    let bed = beds::sockets(bounded, &check)?;
    ensure!(agent_output::counted(&bed.node, "backend_spilled")? > 0);
    Ok(())
}

#[test]
fn packets_from_outside_spill_and_are_refused_by_tc() -> Result<()> {
    beds::from_outside(Hook::Tc, bounded, &check_packets)
}

#[test]
fn packets_from_outside_spill_and_are_refused_by_xdp() -> Result<()> {
    beds::from_outside(Hook::Xdp, bounded, &check_packets)
}

#[test]
fn what_comes_over_lb0_spills_and_is_refused() -> Result<()> {
    beds::over_lb0(bounded, &check_packets)
}

fn affine(scheduler: Scheduler) -> Service {
    bounded(scheduler).spec("sessionAffinity: ClientIP")
}

#[test]
fn a_client_with_affinity_leaves_a_backend_that_is_full() -> Result<()> {
    let check = |turn: &Turn<'_>| check(turn.node, turn.backends, SOCK, turn.connect);
    beds::sockets(affine, &check)?;
    Ok(())
}

#[test]
fn a_client_outside_with_affinity_leaves_a_backend_that_is_full() -> Result<()> {
    beds::from_outside(Hook::Tc, affine, &check_packets)
}

/// A Service of this bound, or of none.
fn apply(bed: &OneNode, most: Option<usize>) -> Result<()> {
    let of = Scheduler::RoundRobin;
    let service = most.map_or_else(|| service(of), |most| with_bound(of, most));
    let backends = one_node::web_pods(&bed.node);
    bed.apply(&service.port(PORT, TARGET).endpoints(backends))?;
    let address = vip(of).v4.to_string();
    let most = u32::try_from(most.unwrap_or(0))?;
    poll::until_true(CHANGE, &format!("a bound of {most} is written"), || {
        let found = agent_output::frontend(&bed.node, "TCP", &address, PORT);
        Ok(found?.max_connections == most)
    })
}

fn bed_without_bound() -> Result<OneNode> {
    let of = Scheduler::RoundRobin;
    OneNode::with(Start::new(), |node| {
        let backends = one_node::web_pods(node);
        vec![service(of).port(PORT, TARGET).endpoints(backends)]
    })
}

#[test]
fn a_bound_that_is_lowered_takes_no_connection_and_one_that_goes_refuses_none() -> Result<()> {
    let bed = bed_without_bound()?;
    for family in families() {
        let to = vip(Scheduler::RoundRobin).at(family, PORT);
        let connect = || bed.client().connect(Kind::Tcp, to);
        nothing_is_open(&bed.node)?;
        let held: Vec<_> = (0..MOST * WEB.len())
            .map(|_| connect())
            .collect::<Result<_, _>>()?;
        apply(&bed, Some(1))?;
        is_refused(&connect)?;
        for sock in &held {
            sock.ask("still there?")?;
        }
        apply(&bed, None)?;
        connect()?.ask("hello")?;
    }
    Ok(())
}

#[test]
fn a_bound_with_room_refuses_nobody_while_it_comes_and_goes() -> Result<()> {
    let bed = bed_without_bound()?;
    let hammer = |kind, family| {
        bed.client().hammer(HammerPlan {
            kind,
            connected: true,
            to: vip(Scheduler::RoundRobin).at(family, PORT),
            allowed: WEB.map(str::to_owned).to_vec(),
        })
    };
    let loops = [
        hammer(Kind::Tcp, Family::V4)?,
        hammer(Kind::Udp, Family::V6)?,
    ];
    for round in 0..CHANGES {
        apply(&bed, (round % 2 == 0).then_some(1000))?;
    }
    for hammer in loops {
        let tally = hammer.stop()?;
        ensure!(tally.attempts > 0 && tally.failures.is_empty(), "{tally:?}");
    }
    Ok(())
}

//! Many clients of one backend on another node, all of them from the same source ports: new UDP
//! flows at a rate, thousands of connections at a time, and clients that vanish.

use anyhow::{Context as _, Result, ensure};
use lb_common::maps;
use testbed::{
    matrix::{Hook, families},
    node::PodNetwork,
    probe::{CrowdPlan, Ending, Family, Kind, Probe},
};

use super::{Bed, TURN, all_answered, once, plan, sized};

/// Where the clients' source ports begin.
const FIRST: u16 = 33_000;

/// New flows a second, of two clients together.
const RATE: u32 = 2000;

fn new_flows_of_udp(hook: Hook) -> Result<()> {
    let seconds = sized(3, 60);
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    let second = bed.nodes.lan.client(2)?;
    for family in families() {
        let to = bed.remote.node_port(&bed.nodes, family);
        let each = RATE / 2;
        let plan = CrowdPlan {
            per_second: each,
            at_once: 4096,
            ..plan(Kind::Udp, to, each * seconds, Some((FIRST, 27_000)))
        };
        let crowds = [bed.nodes.client.crowd(plan.clone())?, second.crowd(plan)?];
        for crowd in crowds {
            let what = format!("{hook}, {family}");
            all_answered(&crowd.opened(TURN)?, bed.remote.name, &what)?;
        }
    }
    Ok(())
}

#[test]
fn new_flows_of_udp_every_millisecond_lose_nothing_by_tc() -> Result<()> {
    new_flows_of_udp(Hook::Tc)
}

#[test]
fn new_flows_of_udp_every_millisecond_lose_nothing_by_xdp() -> Result<()> {
    new_flows_of_udp(Hook::Xdp)
}

/// Flows that were answered fill the map of those that are not confirmed, many times over. Packets of
/// both directions have used their entries since they were made.
fn more_than_fit(hook: Hook) -> Result<()> {
    const ROOM: u32 = 1024;
    let capacity = format!("{}={ROOM}", maps::NEWFLOWS.name);
    let start = hook.start().args(&["--map-capacity", &capacity]);
    let bed = Bed::with(PodNetwork::Routed, start)?;
    for family in families() {
        for place in [&bed.remote, &bed.local] {
            let to = place.node_port(&bed.nodes, family);
            let mut plan = once(Kind::Udp, to, FIRST, 8 * ROOM)?;
            plan.ending = Ending::AskAgain;
            let tally = bed.nodes.client.crowd(plan)?;
            let what = format!("{hook}, {family}");
            all_answered(&tally.opened(TURN)?, place.name, &what)?;
            let held = bed.entries(maps::NEWFLOWS)?.len();
            ensure!(
                held > ROOM as usize / 2,
                "{what}: it was not full: {held} entries"
            );
        }
    }
    Ok(())
}

#[test]
fn flows_that_were_answered_cost_no_new_one_its_answer_by_tc() -> Result<()> {
    more_than_fit(Hook::Tc)
}

#[test]
fn flows_that_were_answered_cost_no_new_one_its_answer_by_xdp() -> Result<()> {
    more_than_fit(Hook::Xdp)
}

fn at_a_time(hook: Hook) -> Result<()> {
    let each = sized(1000, 12_500);
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    let second = bed.nodes.lan.client(2)?;
    let to = bed.remote.node_port(&bed.nodes, Family::V4);
    let mut held = Vec::new();
    for (client, who) in [(bed.nodes.client.host(), "one"), (second.host(), "two")] {
        let mut plan = once(Kind::Tcp, to, FIRST, each)?;
        plan.ending = Ending::Stay;
        held.push((client.crowd(plan)?, who));
    }
    for (crowd, who) in &held {
        all_answered(&crowd.opened(TURN)?, bed.remote.name, who)?;
    }
    for (crowd, who) in &held {
        let tally = crowd.ask_again(u64::from(each), TURN)?;
        all_answered(&tally, bed.remote.name, &format!("{who} again"))?;
    }
    // One in each direction for each.
    let entries = bed.entries(maps::FLOWS)?.len();
    ensure!(entries >= 4 * each as usize, "{entries} entries");
    Ok(())
}

#[test]
fn connections_of_two_clients_from_the_same_ports_live_side_by_side_by_tc() -> Result<()> {
    at_a_time(Hook::Tc)
}

#[test]
fn connections_of_two_clients_from_the_same_ports_live_side_by_side_by_xdp() -> Result<()> {
    at_a_time(Hook::Xdp)
}

/// A machine that is switched off closes nothing, and the next one has its ports.
fn vanish(hook: Hook) -> Result<()> {
    let (gone, new) = (sized(500, 5000), sized(2500, 25_000));
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    let next = bed.nodes.lan.client(2)?;
    let to = bed.remote.node_port(&bed.nodes, Family::V4);
    let mut plan = once(Kind::Tcp, to, FIRST, gone)?;
    plan.ending = Ending::Stay;
    let vanishing = bed.nodes.client.crowd(plan)?;
    all_answered(&vanishing.opened(TURN)?, bed.remote.name, "before")?;
    bed.nodes.client.netns().ip("link set eth0 down\n")?;
    bed.nodes.client.kill();
    // Of two processes, each of which has room for half of the sockets.
    let half = new / 2;
    let mut crowds = Vec::new();
    for first in [FIRST, FIRST + u16::try_from(half)?] {
        let process = Probe::start(next.sandbox())?;
        let mut plan = once(Kind::Tcp, to, first, half)?;
        plan.ending = Ending::Stay;
        crowds.push(process.crowd(plan)?);
    }
    for crowd in &crowds {
        all_answered(&crowd.opened(TURN)?, bed.remote.name, "after")?;
    }
    for crowd in &crowds {
        let again = crowd.ask_again(u64::from(half), TURN)?;
        all_answered(&again, bed.remote.name, "again").context("those after")?;
    }
    Ok(())
}

#[test]
fn clients_that_vanish_cost_those_after_them_nothing_by_tc() -> Result<()> {
    vanish(Hook::Tc)
}

#[test]
fn clients_that_vanish_cost_those_after_them_nothing_by_xdp() -> Result<()> {
    vanish(Hook::Xdp)
}

//! Floods of forged connections beside live ones and new ones: none of those is lost, and what is
//! forged never stands among what is established.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use lb_common::{
    flow::{Flow, FlowKey},
    maps,
};
use testbed::{
    matrix::{Hook, families},
    node::PodNetwork,
    probe::{CrowdPlan, Ending, FloodPlan, Forged, Kind},
};

use super::{Bed, TURN, all_answered, once, plan, sized};

/// Forged connections a second.
const RATE: u32 = 1000;
/// New ones a second beside them, of real clients.
const NEW: u32 = 200;

/// Is its client one that the flood has made up?
fn is_forged((key, flow): &(FlowKey, Flow)) -> bool {
    [key.src, flow.dst].iter().any(|addr| {
        let text = IpAddr::from(*addr).to_string();
        text.starts_with("198.51.100.") || text.starts_with("2001:db8::")
    })
}

fn beside(hook: Hook, forged: Forged) -> Result<()> {
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    let attacker = bed.nodes.lan.client(2)?;
    let live = sized(100, 1000);
    let new = NEW * sized(2, 30);
    for family in families() {
        for place in [&bed.local, &bed.remote] {
            let what = |when| format!("{hook}, {forged:?}, {family}, {}: {when}", place.name);
            let to = place.node_port(&bed.nodes, family);
            let client = &bed.nodes.client;
            let mut plan_live = once(Kind::Tcp, to, 33_000, live)?;
            plan_live.ending = Ending::Stay;
            let held = client.crowd(plan_live)?;
            all_answered(&held.opened(TURN)?, place.name, &what("before"))?;
            let before = bed.entries(maps::FLOWS)?.len();

            let flood = attacker.flood(FloodPlan {
                forged,
                to,
                per_second: RATE,
            })?;
            let crowd = client.crowd(CrowdPlan {
                per_second: NEW,
                ending: Ending::Reset,
                ..plan(Kind::Tcp, to, new, Some((40_000, 2000)))
            })?;
            all_answered(&crowd.opened(TURN)?, place.name, &what("new ones"))?;
            let again = held.ask_again(u64::from(live), TURN)?;
            all_answered(&again, place.name, &what("live ones"))?;
            ensure!(flood.sent()? > u64::from(RATE), "{}", what("no flood"));
            drop(flood);

            let of_flood = |map| -> Result<usize> {
                let entries = bed.entries(map)?;
                Ok(entries.iter().filter(|entry| is_forged(entry)).count())
            };
            let (tried, stand) = (of_flood(maps::NEWFLOWS)?, of_flood(maps::FLOWS)?);
            ensure!(
                stand == 0,
                "{}: {stand}",
                what("forged ones are established")
            );
            ensure!(tried > 100, "{}: {tried}", what("the flood did not arrive"));
            let after = bed.entries(maps::FLOWS)?.len();
            ensure!(
                after <= before + 2 * new as usize,
                "{}: {before} entries, then {after}",
                what("lb_flows grew")
            );
        }
    }
    Ok(())
}

#[test]
fn a_flood_of_forged_handshakes_costs_nobody_a_connection_by_tc() -> Result<()> {
    beside(Hook::Tc, Forged::Handshake)
}

#[test]
fn a_flood_of_forged_handshakes_costs_nobody_a_connection_by_xdp() -> Result<()> {
    beside(Hook::Xdp, Forged::Handshake)
}

#[test]
fn forged_handshakes_that_come_twice_establish_nothing_by_tc() -> Result<()> {
    beside(Hook::Tc, Forged::Twice)
}

#[test]
fn forged_handshakes_that_come_twice_establish_nothing_by_xdp() -> Result<()> {
    beside(Hook::Xdp, Forged::Twice)
}

#[test]
fn a_flood_of_syns_costs_nobody_a_connection_by_tc() -> Result<()> {
    beside(Hook::Tc, Forged::Syn)
}

#[test]
fn a_flood_of_syns_costs_nobody_a_connection_by_xdp() -> Result<()> {
    beside(Hook::Xdp, Forged::Syn)
}

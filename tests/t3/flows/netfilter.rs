//! Beside a conntrack table that is emptied, and reverse path filters that are strict: connections
//! go on.

use anyhow::{Result, ensure};
use testbed::{
    matrix::{Case, Hook, matrix},
    node::PodNetwork,
    probe::{CrowdPlan, Ending, Family, Kind},
};

use super::{Bed, Place, TURN, all_answered, once, plan, play, sized};

/// How often it is emptied while connections are opened.
const TIMES: u32 = 10;

/// Does the pod network masquerade what the place's backend says first? Netfilter takes the answer to
/// a question that it has forgotten for that (`docs/limits.md`), so nothing is open there while the
/// table is emptied but what is silent.
fn is_masqueraded(network: PodNetwork, place: &Place, bed: &Bed) -> bool {
    network == PodNetwork::Flannel && place.name == bed.local.name
}

fn emptied(hook: Hook, network: PodNetwork) -> Result<()> {
    let bed = Bed::new(network, hook)?;
    for node in [&bed.nodes.near, &bed.nodes.far] {
        let strict = node.run(&["sysctl", "-n", "net.ipv4.conf.all.rp_filter"])?;
        ensure!(
            strict.trim() == "1",
            "rp_filter of {}: {strict}",
            node.name()
        );
    }
    let count = sized(30, 1000);
    let mut held = Vec::new();
    let mut opening = Vec::new();
    let mut between = Vec::new();
    let mut first = 33_000;
    for (place, ..) in bed.all() {
        for case @ Case { family, kind } in matrix() {
            let to = place.node_port(&bed.nodes, family);
            let mut stay = once(kind, to, first, count)?;
            stay.ending = Ending::Stay;
            first += u16::try_from(count)?;
            let crowd = bed.nodes.client.crowd(stay)?;
            let what = format!("{hook}, {network}, {}, {case}", place.name);
            all_answered(&crowd.opened(TURN)?, place.name, &what)?;
            held.push((crowd, place, what));
        }
        let plan = CrowdPlan {
            per_second: 50,
            ..plan(
                Kind::Tcp,
                place.node_port(&bed.nodes, Family::V4),
                100,
                None,
            )
        };
        if is_masqueraded(network, place, &bed) {
            between.push((plan, place));
        } else {
            opening.push((bed.nodes.client.crowd(plan)?, place));
        }
    }
    for _ in 0..TIMES {
        for node in [&bed.nodes.near, &bed.nodes.far] {
            node.run(&["conntrack", "-F"])?;
        }
        for (crowd, place, what) in &held {
            let again = crowd.ask_again(u64::from(count), TURN)?;
            all_answered(&again, place.name, what)?;
        }
        for (plan, place) in &between {
            let plan = CrowdPlan {
                count: plan.count / TIMES,
                ..*plan
            };
            let what = format!("{hook}, {network}, {}, new ones", place.name);
            play(&bed.nodes.client, plan, place.name, &what)?;
        }
    }
    for (crowd, place) in &opening {
        let what = format!("{hook}, {network}, {}, new ones", place.name);
        let tally = crowd.opened(TURN)?;
        all_answered(&tally, place.name, &what)?;
    }
    Ok(())
}

#[test]
fn conntrack_is_emptied_and_connections_go_on_by_tc() -> Result<()> {
    for network in PodNetwork::ALL {
        emptied(Hook::Tc, network)?;
    }
    Ok(())
}

#[test]
fn conntrack_is_emptied_and_connections_go_on_by_xdp() -> Result<()> {
    for network in PodNetwork::ALL {
        emptied(Hook::Xdp, network)?;
    }
    Ok(())
}

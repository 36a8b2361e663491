//! Connections to a Service and past it to the same backend, from the same source port: both are
//! served, whichever comes first, whether or not the first is over.

use anyhow::{Context as _, Result};
use testbed::{
    addr,
    matrix::{Case, Hook, matrix},
    node::PodNetwork,
    probe::Ending,
};

use super::{Bed, Place, TURN, all_answered, once, sized};

fn beside(hook: Hook) -> Result<()> {
    let bed = Bed::new(PodNetwork::Routed, hook)?;
    // Pods' addresses are routed, as where BGP announces them.
    for node in [&bed.nodes.near, &bed.nodes.far] {
        let (net, via) = (addr::pod(node.number(), 0), node.addr());
        bed.nodes.client.netns().ip(&format!(
            "route add {}/24 via {}\nroute add {}/64 via {}\n",
            net.v4, via.v4, net.v6, via.v6
        ))?;
    }
    let mut port = 40_000;
    for (place, ..) in bed.all() {
        for case in matrix() {
            for first_ends in [Ending::Stay, Ending::Close, Ending::Reset] {
                for service_first in [true, false] {
                    pair(&bed, place, case, (first_ends, service_first), port).with_context(
                        || {
                            format!(
                                "{hook}, {}, {case}, the first one: {first_ends:?}, \
                                 the Service first: {service_first}",
                                place.name
                            )
                        },
                    )?;
                    port += 200;
                    if port > 59_000 {
                        port = 40_050;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Connections to the node port and to the backend itself, and beside both to the load balancer's
/// address.
fn pair(
    bed: &Bed,
    place: &Place,
    Case { family, kind }: Case,
    (first_ends, service_first): (Ending, bool),
    port: u16,
) -> Result<()> {
    let count = sized(8, 100);
    let (client, name) = (&bed.nodes.client, place.name);
    let mut both = [place.node_port(&bed.nodes, family), place.direct(family)];
    if !service_first {
        both.reverse();
    }
    let mut plan = once(kind, both[0], port, count)?;
    plan.ending = first_ends;
    let first = client.crowd(plan)?;
    all_answered(&first.opened(TURN)?, name, "the first")?;
    let mut plan = once(kind, both[1], port, count)?;
    plan.ending = Ending::Stay;
    let second = client.crowd(plan.clone())?;
    all_answered(&second.opened(TURN)?, name, "the second")?;
    plan.to = place.load_balancer(family);
    let third = client.crowd(plan)?;
    all_answered(&third.opened(TURN)?, name, "the third")?;
    let held = u64::from(count);
    if first_ends == Ending::Stay {
        all_answered(&first.ask_again(held, TURN)?, name, "the first again")?;
    }
    all_answered(&second.ask_again(held, TURN)?, name, "the second again")?;
    all_answered(&third.ask_again(held, TURN)?, name, "the third again")
}

#[test]
fn connections_past_a_service_and_through_it_share_a_port_by_tc() -> Result<()> {
    beside(Hook::Tc)
}

#[test]
fn connections_past_a_service_and_through_it_share_a_port_by_xdp() -> Result<()> {
    beside(Hook::Xdp)
}

//! Every scheduler on every path.

use anyhow::{Context as _, Result};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{CHANGE, Start},
    lan::Offloads,
    matrix::{Hook, each, families},
    node::PodNetwork,
    one_node::{PORT, TARGET},
    poll,
    probe::Kind,
    two_nodes::TwoNodes,
};

use super::{
    beds::{self, Turn},
    spread::{check, service},
};

fn balances(turn: &Turn<'_>) -> Result<()> {
    check(turn.scheduler, turn.case, turn.backends, turn.connect)
}

#[test]
fn each_scheduler_balances_sockets() -> Result<()> {
    beds::sockets(service, &|turn| {
        beds::nothing_is_open(turn.node)?;
        balances(turn)
    })?;
    Ok(())
}

#[test]
fn each_scheduler_balances_packets_from_outside_by_tc() -> Result<()> {
    beds::from_outside(Hook::Tc, service, &balances)
}

#[test]
fn each_scheduler_balances_packets_from_outside_by_xdp() -> Result<()> {
    beds::from_outside(Hook::Xdp, service, &balances)
}

#[test]
fn each_scheduler_balances_what_comes_over_lb0() -> Result<()> {
    beds::over_lb0(service, &balances)
}

#[test]
fn nodes_agree_where_a_flow_goes_by_maglev() -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, Start::new())?;
    let lb = testbed::addr::lb(60);
    let service = service(Scheduler::Maglev)
        .port(PORT, TARGET)
        .ingress(lb)
        .pods_of(&[&bed.near, &bed.far]);
    bed.apply(&service)?;
    bed.route_to_near(lb)?;
    for family in families() {
        let to = lb.at(family, PORT);
        poll::until(CHANGE, &format!("{to} answers"), || {
            Ok(bed.client.ask(Kind::Tcp, to).ok())
        })?;
        for (n, port) in each((20_000..20_024_u16).step_by(1)).enumerate() {
            let mut answered = Vec::new();
            for via in [&bed.near, &bed.far] {
                let at = via.addr();
                let prefix = if to.is_ipv4() { 32 } else { 128 };
                bed.client.netns().ip(&format!(
                    "route replace {}/{prefix} via {}\n",
                    to.ip(),
                    at.ip(family)
                ))?;
                let sock = bed.client.socket(Kind::Udp, family)?;
                sock.bind(bed.client.addr.at(family, port))?;
                sock.connect(to)?;
                let answer = sock.ask("who?");
                answered.push(
                    answer
                        .with_context(|| format!("{n}: {to} from {port}"))?
                        .name,
                );
            }
            assert_eq!(answered[0], answered[1], "{to} from port {port}");
        }
    }
    Ok(())
}

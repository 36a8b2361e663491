//! Every scheduler on every path.

use anyhow::{Context as _, Result};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    lan::Offloads,
    matrix::{Case, Hook, each, families, matrix},
    node::PodNetwork,
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::Kind,
    two_nodes::{LOCAL, REMOTE, TwoNodes},
};

use super::spread::{check, node_port, service, vip};
use crate::lb0::common::{routed, without_sockets};

#[test]
fn each_scheduler_balances_sockets() -> Result<()> {
    let bed = OneNode::with(Start::new(), |node| {
        let of = |s: &Scheduler| {
            let backends = one_node::web_pods(node);
            service(*s).port(PORT, TARGET).endpoints(backends)
        };
        Scheduler::ALL.iter().map(of).collect()
    })?;
    for case in matrix() {
        for scheduler in Scheduler::ALL {
            let to = vip(*scheduler).at(case.family, PORT);
            poll::until_true(CHANGE, "what was closed is counted off", || {
                Ok(agent_output::all_active(&bed.node)? == 0)
            })?;
            check(*scheduler, case, WEB.len(), &|| {
                bed.client().connect(case.kind, to)
            })?;
        }
    }
    Ok(())
}

/// From outside, to node ports with pods of both nodes behind them.
fn packets_from_outside(hook: Hook) -> Result<()> {
    let bed = TwoNodes::new(PodNetwork::Routed, Offloads::LastHop, hook.start())?;
    for scheduler in Scheduler::ALL {
        let service = service(*scheduler)
            .node_port(PORT, TARGET, node_port(*scheduler))
            .pods_of(&[&bed.near, &bed.far]);
        bed.apply(&service)?;
    }
    for family in families() {
        for scheduler in Scheduler::ALL {
            let to = bed.near.addr().at(family, node_port(*scheduler));
            poll::until(CHANGE, &format!("{to} answers"), || {
                Ok(bed.client.ask(Kind::Tcp, to).ok())
            })?;
            let case = Case {
                family,
                kind: Kind::Tcp,
            };
            check(*scheduler, case, LOCAL.len() + REMOTE.len(), &|| {
                bed.client.connect(Kind::Tcp, to)
            })?;
        }
    }
    Ok(())
}

#[test]
fn each_scheduler_balances_packets_from_outside_by_tc() -> Result<()> {
    packets_from_outside(Hook::Tc)
}

#[test]
fn each_scheduler_balances_packets_from_outside_by_xdp() -> Result<()> {
    packets_from_outside(Hook::Xdp)
}

#[test]
fn each_scheduler_balances_what_comes_over_lb0() -> Result<()> {
    let bed = OneNode::with(without_sockets(), |node| {
        let of = |s: &Scheduler| {
            let backends = one_node::web_pods(node);
            service(*s).port(PORT, TARGET).endpoints(backends)
        };
        Scheduler::ALL.iter().map(of).collect()
    })?;
    routed(&bed.node)?;
    for family in families() {
        for scheduler in Scheduler::ALL {
            let case = Case {
                family,
                kind: Kind::Tcp,
            };
            let to = vip(*scheduler).at(family, PORT);
            check(*scheduler, case, WEB.len(), &|| {
                bed.client().connect(Kind::Tcp, to)
            })?;
        }
    }
    Ok(())
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

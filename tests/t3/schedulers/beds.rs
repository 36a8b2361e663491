//! Where each scheduler is tried: sockets of a pod, packets from outside, packets over `lb0`.

use std::net::SocketAddr;

use anyhow::{Context as _, Result};
use lb_common::scheduler::Scheduler;
use testbed::{
    agent::{CHANGE, Start},
    agent_output,
    lan::Offloads,
    manifest::Service,
    matrix::{Case, Hook, families, matrix},
    node::{Node, PodNetwork},
    one_node::{self, OneNode, PORT, TARGET, WEB},
    poll,
    probe::Kind,
    two_nodes::{LOCAL, REMOTE, TwoNodes},
};

use super::spread::{Connect, node_port, vip};
use crate::lb0::common::{routed, without_sockets};

/// The Service of a scheduler, without its ports and endpoints.
type ServiceOf = fn(Scheduler) -> Service;

/// One scheduler on one path.
pub(super) struct Turn<'a> {
    pub(super) scheduler: Scheduler,
    pub(super) case: Case,
    /// Where it chooses.
    pub(super) node: &'a Node,
    pub(super) backends: usize,
    pub(super) connect: Connect<'a>,
}

type Check<'a> = &'a dyn Fn(&Turn<'_>) -> Result<()>;

impl Turn<'_> {
    fn run(&self, check: Check<'_>) -> Result<()> {
        let Self {
            scheduler, case, ..
        } = self;
        check(self).with_context(|| format!("{} {case}", scheduler.name()))
    }
}

/// A node with a Service of each scheduler.
fn one_node(start: Start, service: ServiceOf) -> Result<OneNode> {
    OneNode::with(start, |node| {
        let of = |scheduler: &Scheduler| {
            let backends = one_node::web_pods(node);
            service(*scheduler).port(PORT, TARGET).endpoints(backends)
        };
        Scheduler::ALL.iter().map(of).collect()
    })
}

/// The node port of the first node is programmed.
pub(super) fn answers(bed: &TwoNodes, to: SocketAddr) -> Result<()> {
    poll::until(CHANGE, &format!("{to} answers"), || {
        Ok(bed.client.ask(Kind::Tcp, to).ok())
    })?;
    Ok(())
}

/// Of both protocols.
pub(super) fn nothing_is_open(node: &Node) -> Result<()> {
    poll::until_true(CHANGE, "what was closed is counted off", || {
        Ok(agent_output::all_active(node)? == 0)
    })
}

pub(super) fn sockets(service: ServiceOf, check: Check<'_>) -> Result<OneNode> {
    let bed = one_node(Start::new(), service)?;
    for case in matrix() {
        for scheduler in Scheduler::ALL {
            let to = vip(*scheduler).at(case.family, PORT);
            let turn = Turn {
                scheduler: *scheduler,
                case,
                node: &bed.node,
                backends: WEB.len(),
                connect: &|| bed.client().connect(case.kind, to),
            };
            turn.run(check)?;
        }
    }
    Ok(bed)
}

/// To node ports with pods of both nodes behind them.
pub(super) fn from_outside(hook: Hook, service: ServiceOf, check: Check<'_>) -> Result<()> {
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
            answers(&bed, to)?;
            let kind = Kind::Tcp;
            let turn = Turn {
                scheduler: *scheduler,
                case: Case { family, kind },
                node: &bed.near,
                backends: LOCAL.len() + REMOTE.len(),
                connect: &|| bed.client.connect(kind, to),
            };
            turn.run(check)?;
        }
    }
    Ok(())
}

pub(super) fn over_lb0(service: ServiceOf, check: Check<'_>) -> Result<()> {
    let bed = one_node(without_sockets(), service)?;
    routed(&bed.node)?;
    for family in families() {
        for scheduler in Scheduler::ALL {
            let to = vip(*scheduler).at(family, PORT);
            let kind = Kind::Tcp;
            let turn = Turn {
                scheduler: *scheduler,
                case: Case { family, kind },
                node: &bed.node,
                backends: WEB.len(),
                connect: &|| bed.client().connect(kind, to),
            };
            turn.run(check)?;
        }
    }
    Ok(())
}

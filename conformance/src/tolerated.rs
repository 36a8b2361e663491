//! The list of differences from kube-proxy that are meant: each with its reason and the narrowest
//! test for it. There are no others; `docs/compat.md` says the same to users.

use std::{collections::BTreeSet, net::IpAddr};

use nix::errno::Errno;
use testbed::{addr, probe::Family};

use crate::{
    judge::{self, Case},
    question::{Client, Front},
    side::Side,
    world,
};

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    /// Who answers, or how it fails.
    Who,
    /// Whom the backend saw as its client.
    Address,
}

/// One difference that is meant.
#[derive(Debug)]
pub struct Toleration {
    /// For reports.
    pub name: &'static str,
    /// Why.
    pub reason: &'static str,
    /// What differs.
    pub aspect: Aspect,
    /// Is it this one?
    pub applies: fn(&Case<'_>) -> bool,
}

const REFUSED: i32 = Errno::ECONNREFUSED as i32;
const UNREACHABLE: i32 = Errno::EHOSTUNREACH as i32;
const FORBIDDEN: i32 = Errno::EPERM as i32;

/// Seen only where both nodes are refereed.
pub const OF_PAIR: &str = "every endpoint answers a pod of another node";

/// All of them.
pub const ALL: &[Toleration] = &[
    Toleration {
        name: "a socket keeps its address",
        reason: "the destination of a socket of this node is translated when it connects, and no packet is touched: the \
                 backend sees who it is, where kube-proxy shows the node (hairpin, NodePort, load-balancer IP, the host)",
        aspect: Aspect::Address,
        applies: |case| {
            on_node(case)
                && is_within(&case.we_saw(), &own(case))
                && is_within(&case.they_saw(), &[own(case), node(case)].concat())
        },
    },
    Toleration {
        name: "a backend on this node sees the client",
        reason: "a packet for a backend on this node has its destination rewritten and nothing else, also where the policy is \
                 Cluster; kube-proxy shows the node",
        aspect: Aspect::Address,
        applies: |case| {
            !on_node(case)
                && is_within(&case.we_saw(), &own(case))
                && is_within(&case.they_saw(), &node(case))
                && case.only_near_answer()
        },
    },
    Toleration {
        name: "a socket hears a no at once",
        reason: "an unconnected UDP socket never hears the ICMP error by which kube-proxy refuses; sendmsg() returns it here",
        aspect: Aspect::Who,
        applies: |case| {
            on_node(case)
                && case.question.udp
                && !case.question.connected
                && case.they_are_silent()
                && case.we_say(REFUSED)
        },
    },
    Toleration {
        name: "the host hears a refusal as such",
        reason: "netfilter refuses the host's own datagrams with EPERM, which no host has sent; ECONNREFUSED here, as for a pod",
        aspect: Aspect::Who,
        applies: |case| {
            case.question.client == Client::Host
                && case.question.udp
                && case.they_say(FORBIDDEN)
                && case.we_say(REFUSED)
        },
    },
    Toleration {
        name: "a local-only policy fails at once",
        reason: "with no endpoint on this node and some elsewhere kube-proxy drops, and the client waits for nothing; a socket \
                 of this node is told EHOSTUNREACH",
        aspect: Aspect::Who,
        applies: |case| {
            on_node(case)
                && case.svc.internal_local
                && case.question.front == Front::ClusterIp
                && (case.they_are_silent() || host_is_forbidden(case))
                && case.we_say(UNREACHABLE)
        },
    },
    Toleration {
        name: "a drop is silence for the host too",
        reason: "netfilter drops the host's own datagrams with EPERM; here they vanish as a pod's do: to a ClusterIP without a Service, \
                 and to a load-balancer IP whose source ranges do not admit the node",
        aspect: Aspect::Who,
        applies: |case| {
            let without_service = case.question.front == Front::Gone || case.svc.label.is_some();
            host_is_forbidden(case) && case.we_are_silent() && (without_service || is_guarded(case))
        },
    },
    Toleration {
        name: "lb0 speaks for clients that it admits",
        reason: "sockets of this node reach a load-balancer IP with source ranges through lb0, which judges them by their address: \
                 a backend on this node sees lb0's, one on another node the node's",
        aspect: Aspect::Address,
        applies: |case| {
            let lb0 = addr::LB0.ip(case.question.family);
            on_node(case)
                && is_guarded(case)
                && is_within(&case.we_saw(), &[vec![lb0], node(case)].concat())
                && is_within(&case.they_saw(), &[own(case), node(case)].concat())
        },
    },
    Toleration {
        name: "a pod reaches itself",
        reason: "kube-proxy shows a pod that is its own backend the node's address only if the endpoint names the node; else the \
                 answer never arrives, or from another address. A socket that is translated to its own address needs no such help",
        aspect: Aspect::Who,
        applies: |case| {
            case.question.client == Client::Backend
                && case.they_hear_nothing_good()
                && is_own_answer(case)
                && has_nameless_twin(case)
        },
    },
    Toleration {
        name: OF_PAIR,
        reason: "a pod of another node is a client of the cluster, whatever the external policy: kube-proxy sends it to every \
                 endpoint and leaves it its address, so answers of endpoints on other nodes miss the node that is asked, and are \
                 lost; here they pass it",
        aspect: Aspect::Who,
        applies: |case| {
            case.question.is_halved(case.svc)
                && case.they_are_halved()
                && case.all_inside_answer()
                && is_within(&case.we_saw(), &[own(case), node(case)].concat())
        },
    },
];

/// Asked by a socket of the very node whose proxy is the first to see it.
fn on_node(case: &Case<'_>) -> bool {
    let question = case.question;
    question.client != Client::Outside && question.from == question.through
}

/// A load-balancer IP with source ranges.
fn is_guarded(case: &Case<'_>) -> bool {
    matches!(case.question.front, Front::LoadBalancer(..)) && !case.svc.ranges.is_empty()
}

/// Only the client itself has answered.
fn is_own_answer(case: &Case<'_>) -> bool {
    let own = format!("{}:", world::pod(case.question.from.backend()).name);
    let names = judge::names(case.ours);
    case.we_are_answered() && names.iter().all(|name| name.starts_with(&own))
}

/// The Service has an endpoint of the asking pod without a node.
fn has_nameless_twin(case: &Case<'_>) -> bool {
    let asking = case.question.from.backend();
    let mut endpoints = case.svc.slices.iter().flat_map(|slice| &slice.endpoints);
    endpoints.any(|endpoint| endpoint.pod == asking && endpoint.nameless)
}

/// A drop on the way out is an error of the host's own datagram.
fn host_is_forbidden(case: &Case<'_>) -> bool {
    case.question.client == Client::Host && case.question.udp && case.they_say(FORBIDDEN)
}

/// The client's own addresses.
fn own(case: &Case<'_>) -> Vec<IpAddr> {
    let (from, family) = (case.question.from, case.question.family);
    match case.question.client {
        Client::Host => of_node(from, family),
        Client::Backend => vec![world::pod(from.backend()).addr.ip(family)],
        Client::Pod => vec![world::client(from).ip(family)],
        Client::Outside => vec![world::outside(from).ip(family)],
    }
}

/// The addresses of the node whose proxy is the first to see it.
fn node(case: &Case<'_>) -> Vec<IpAddr> {
    of_node(case.question.through, case.question.family)
}

/// A node's addresses: on the segment and towards its pods.
fn of_node(side: Side, family: Family) -> Vec<IpAddr> {
    vec![side.addr().ip(family), world::gateway().ip(family)]
}

fn is_within(seen: &BTreeSet<IpAddr>, wanted: &[IpAddr]) -> bool {
    seen.iter().all(|ip| wanted.contains(ip))
}

//! Connections of pods and of the node's processes whose sockets were not translated: to backends
//! of this node and of the other one, with sums that the receivers compute.

use std::{collections::BTreeSet, io};

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::{self, Both},
    lan::Offloads,
    matrix::{Case, each, matrix},
    node::PodNetwork,
    one_node::PORT,
    probe::{Answer, Family, Kind},
    two_nodes::{LOCAL, REMOTE, TwoNodes},
};

use crate::lb0::common::two_nodes;

/// Longer than a packet of TCP; a datagram that fits into one, overlay included.
const LONG: [(Kind, usize); 2] = [(Kind::Tcp, 20_000), (Kind::Udp, 1_200)];

/// Every combination of client, protocol and family, to local pods and to remote ones.
fn whole_matrix(network: PodNetwork) -> Result<()> {
    for offloads in each(Offloads::ALL) {
        let bed = two_nodes(network, offloads)?;
        for (names, vip, source) in [
            (LOCAL, addr::vip(1), addr::LB0),
            (REMOTE, addr::vip(2), bed.source_towards_far()),
        ] {
            for Case { family, kind } in matrix() {
                one(&bed, offloads, (names, vip, source), family, kind).map_err(|error| {
                    error.context(format!(
                        "{network:?} {offloads:?} {names:?} {family:?} {kind:?}"
                    ))
                })?;
            }
        }
    }
    Ok(())
}

fn one(
    bed: &TwoNodes,
    offloads: Offloads,
    (names, vip, source): ([&str; 2], Both, Both),
    family: Family,
    kind: Kind,
) -> Result<()> {
    let to = vip.at(family, PORT);
    let pods = if names == LOCAL {
        bed.near.pods()
    } else {
        bed.far.pods()
    };
    let client = bed.near.pod(0);
    let at_pods = pods
        .iter()
        .map(|pod| pod.record())
        .collect::<io::Result<Vec<_>>>()?;
    let at_client = client.record()?;
    // The pod is one of its own service's backends.
    let mut answers: Vec<Answer> = Vec::new();
    for (who, host) in [("the pod", client.host()), ("the node", &bed.near)] {
        for n in 0..16 {
            let answer = host.ask(kind, to);
            answers.push(answer.with_context(|| format!("{who} asks, time {n}"))?);
        }
    }
    let answered: BTreeSet<&str> = answers.iter().map(|answer| answer.name.as_str()).collect();
    ensure!(answered == BTreeSet::from(names), "{answered:?} answered");
    for answer in &answers {
        ensure!(
            answer.client.ip() == source.ip(family),
            "the pod saw {}",
            answer.client
        );
        ensure!(
            kind == Kind::Tcp || answer.from == Some(to),
            "the answer came from {:?}",
            answer.from
        );
    }
    for (of, length) in LONG {
        for host in [client.host(), &bed.near] {
            if of == kind {
                let sock = host.connect(kind, to)?;
                let first = sock.ask("short")?.name;
                for _ in 0..3 {
                    let again = sock.ask(&"x".repeat(length));
                    let again = again.context("a long one")?.name;
                    ensure!(again == first, "the flow changed its backend");
                }
            }
        }
    }

    let mut frames = at_client.stop(&client.addr().ips())?;
    frames.retain(|frame| frame.from != addr::LB0.ip(family));
    offloads.keep_right(&mut frames, kind, "the client")?;
    ensure!(
        frames.iter().all(|frame| frame.from == to.ip()),
        "answers from elsewhere: {frames:?}"
    );
    for (pod, recorder) in pods.iter().zip(at_pods) {
        let mut frames = recorder.stop(&pod.addr().ips())?;
        offloads.keep_right(&mut frames, kind, pod.name())?;
    }
    Ok(())
}

#[test]
fn routed_pods() -> Result<()> {
    whole_matrix(PodNetwork::Routed)
}

#[test]
fn flannels_overlay_and_its_masquerade() -> Result<()> {
    whole_matrix(PodNetwork::Flannel)
}

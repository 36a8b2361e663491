//! The packet path: node ports from outside, by tc and by XDP, to pods of this node and of another,
//! over routed pods and over flannel's overlay, with sums that the receivers compute.

use std::{collections::BTreeSet, io};

use anyhow::{Result, ensure};
use testbed::{
    addr::Both,
    agent::Start,
    lan::Offloads,
    matrix::{Case, each, matrix},
    node::PodNetwork,
    probe::{Answer, Family, Kind},
    two_nodes::{LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, TwoNodes},
};

/// Longer than a packet of TCP; a datagram that fits into one, overlay included.
const LONG: [(Kind, usize); 2] = [(Kind::Tcp, 20_000), (Kind::Udp, 1_200)];

/// Every combination of protocol and family, to local pods and to remote ones.
fn whole_matrix(network: PodNetwork, xdp: bool) -> Result<()> {
    for offloads in each(Offloads::ALL) {
        let start = if xdp {
            Start::new().xdp("eth0")
        } else {
            Start::new()
        };
        let bed = TwoNodes::new(network, offloads, start)?;
        if xdp {
            ensure!(has_native_xdp(&bed)?, "no native XDP program on eth0");
        }
        let seen_by_remote = bed.source_towards_far();
        for (names, port, source) in [
            (LOCAL, LOCAL_PORT, bed.client.addr),
            (REMOTE, REMOTE_PORT, seen_by_remote),
        ] {
            for Case { family, kind } in matrix() {
                one(&bed, offloads, (names, port, source), family, kind).map_err(|error| {
                    error.context(format!(
                        "{network:?} xdp={xdp} {offloads:?} {names:?} {family:?} {kind:?}"
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
    (names, port, source): ([&str; 2], u16, Both),
    family: Family,
    kind: Kind,
) -> Result<()> {
    let (client, to) = (&bed.client, bed.near.addr().at(family, port));
    let pods = if names == LOCAL {
        bed.near.pods()
    } else {
        bed.far.pods()
    };
    let at_pods = pods
        .iter()
        .map(|pod| pod.record())
        .collect::<io::Result<Vec<_>>>()?;
    let at_client = client.record()?;

    let answers = (0..24)
        .map(|_| client.ask(kind, to))
        .collect::<io::Result<Vec<Answer>>>()?;
    let answered: BTreeSet<&str> = answers.iter().map(|answer| answer.name.as_str()).collect();
    ensure!(answered == BTreeSet::from(names), "{answered:?} answered");
    for answer in &answers {
        ensure!(
            answer.client.ip() == source.ip(family),
            "the pod saw {}",
            answer.client
        );
        if kind == Kind::Udp {
            ensure!(
                answer.from == Some(to),
                "the answer came from {:?}",
                answer.from
            );
        }
    }
    for (of, length) in LONG {
        if of == kind {
            let sock = client.connect(kind, to)?;
            let first = sock.ask("short")?.name;
            for _ in 0..3 {
                ensure!(
                    sock.ask(&"x".repeat(length))?.name == first,
                    "the flow changed its backend"
                );
            }
        }
    }

    let mut frames = at_client.stop(&client.addr.ips())?;
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

fn has_native_xdp(bed: &TwoNodes) -> Result<bool> {
    let links: serde_json::Value = serde_json::from_str(
        &bed.near
            .run(&["ip", "-json", "-details", "link", "show", "eth0"])?,
    )?;
    // XDP_ATTACHED_DRV
    Ok(links[0]["xdp"]["mode"] == 1)
}

#[test]
fn routed_pods_by_tc() -> Result<()> {
    whole_matrix(PodNetwork::Routed, false)
}

#[test]
fn routed_pods_by_xdp() -> Result<()> {
    whole_matrix(PodNetwork::Routed, true)
}

#[test]
fn flannels_overlay_by_tc() -> Result<()> {
    whole_matrix(PodNetwork::Flannel, false)
}

#[test]
fn flannels_overlay_by_xdp() -> Result<()> {
    whole_matrix(PodNetwork::Flannel, true)
}

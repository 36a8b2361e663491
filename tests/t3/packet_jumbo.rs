//! Devices with jumbo frames, which XDP sees in several pieces.

use std::io;

use anyhow::{Context as _, Result, ensure};
use testbed::{
    addr::Both,
    agent::Start,
    lan::Offloads,
    matrix::{Case, Hook, matrix},
    node::PodNetwork,
    probe::{Frame, Kind},
    two_nodes::{LOCAL, LOCAL_PORT, REMOTE, REMOTE_PORT, TwoNodes},
};

const MTU: u32 = 9_000;
/// Bytes of a message: several packets of TCP, one of UDP.
const LENGTH: [(Kind, usize); 2] = [(Kind::Tcp, 60_000), (Kind::Udp, 8_000)];
/// Longer than what XDP sees in one piece: a page without what the kernel puts before and behind.
const PIECES: usize = 4_096;

/// Gives every device of the segment (see [`testbed::lan::Lan::plug`]), the nodes and the pods this
/// MTU.
fn widen(bed: &TwoNodes) -> Result<()> {
    let set = |device: &str| format!("link set {device} mtu {MTU}\n");
    for port in ["port11", "port12", "port101"] {
        bed.lan.netns().ip(&set(port))?;
    }
    bed.client.netns().ip(&set("eth0"))?;
    for node in [&bed.near, &bed.far] {
        node.netns().ip(&set("eth0"))?;
        for pod in node.pods() {
            node.netns().ip(&set(pod.device()))?;
            pod.netns().ip(&set("eth0"))?;
        }
    }
    Ok(())
}

/// Of the near node's device: what XDP has sent back out by it, as veth counts it.
fn sent_by_xdp(bed: &TwoNodes) -> Result<u64> {
    let all = bed.near.run(&["ethtool", "--statistics", "eth0"])?;
    let counts = all.lines().filter_map(|line| {
        let (name, count) = line.trim().split_once(": ")?;
        name.ends_with("_xdp_tx").then(|| count.parse::<u64>())
    });
    counts
        .sum::<Result<u64, _>>()
        .context("ethtool tells no numbers")
}

#[test]
fn node_ports_carry_jumbo_segments_by_tc() -> Result<()> {
    jumbo(Hook::Tc)
}

#[test]
fn node_ports_carry_jumbo_segments_by_xdp() -> Result<()> {
    jumbo(Hook::Xdp)
}

fn jumbo(hook: Hook) -> Result<()> {
    let mut bed = TwoNodes::new(PodNetwork::Routed, Offloads::Off, Start::new())?;
    drop(bed.agents.remove(0));
    widen(&bed)?;
    let near = hook.start().on(&bed.near)?;
    bed.agents.insert(0, near);
    for (names, port, source) in [
        (LOCAL, LOCAL_PORT, bed.client.addr),
        (REMOTE, REMOTE_PORT, bed.source_towards_far()),
    ] {
        for Case { family, kind } in matrix() {
            let Some((_, length)) = LENGTH.iter().find(|(of, _)| *of == kind) else {
                continue;
            };
            let before = sent_by_xdp(&bed)?;
            carry(&bed, (names, port, source), Case { family, kind }, *length)
                .with_context(|| format!("{names:?} {family:?} {kind:?}"))?;
            let sent = sent_by_xdp(&bed)? - before;
            // Requests and answers of pods on the other node turn round at the device.
            ensure!(
                (hook == Hook::Xdp && names == REMOTE) == (sent > 0),
                "XDP sent {sent} frames, {names:?} {family:?} {kind:?}"
            );
        }
    }
    Ok(())
}

/// A long message there and back: at both ends there are frames in several pieces, all sums right.
fn carry(
    bed: &TwoNodes,
    (names, port, source): ([&str; 2], u16, Both),
    Case { family, kind }: Case,
    length: usize,
) -> Result<()> {
    let (client, to) = (&bed.client, bed.near.addr().at(family, port));
    let pods = if names == LOCAL {
        bed.near.pods()
    } else {
        bed.far.pods()
    };
    let at_client = client.record()?;
    let at_pods = pods
        .iter()
        .map(|pod| pod.record())
        .collect::<io::Result<Vec<_>>>()?;
    let sock = client.connect(kind, to)?;
    for _ in 0..4 {
        let answer = sock.ask(&"x".repeat(length))?;
        ensure!(answer.client.ip() == source.ip(family), "{answer:?}");
    }
    let mut there = vec![];
    for (pod, recorder) in pods.iter().zip(at_pods) {
        there.extend(recorder.stop(&pod.addr().ips())?);
    }
    let back = at_client.stop(&client.addr.ips())?;
    let proto = if kind == Kind::Tcp { "tcp" } else { "udp" };
    for (mut frames, way) in [(there, "there"), (back, "back")] {
        frames.retain(|frame: &Frame| frame.proto == proto);
        ensure!(
            frames.iter().any(|frame| frame.length > PIECES),
            "no jumbo frame {way}: {frames:?}"
        );
        for frame in &frames {
            ensure!(frame.sums.is_ok(), "{way}: {frame:?}");
        }
    }
    Ok(())
}

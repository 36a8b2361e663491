//! Nodes with the rules of the real kube-proxy: it wrote them from a real API server, and both were
//! stopped so that only the rules are there to be measured.

use std::time::Duration;

use anyhow::Result;
use testbed::{
    cluster::{Cluster, KubeProxy},
    node::Node,
    poll,
};

use super::place_of;
use crate::{
    bulk::NAMESPACE,
    client::Client,
    ground::Ground,
    progress::say,
    services::{backends, json, vip},
    stored,
};

/// By then it must have written them.
const RULES: Duration = Duration::from_mins(2);
/// Services that are asked whether they have rules.
const SAMPLE: usize = 50;

/// The rules go with this value.
pub(super) struct Ruled {
    pub(super) mode: &'static str,
    pub(super) services: u32,
    pub(super) node: Node,
}

/// What kube-proxy has written.
pub(super) struct Rules {
    pub(super) ruled: Vec<Ruled>,
    /// What it had not written by the end of our patience, a sentence each.
    pub(super) missing: Vec<String>,
}

/// One node for each mode and each number of services, which must grow. Of those in `slow` no more
/// than a time is waited for, and they are missing then.
pub(super) fn rules(
    ground: &Ground,
    client: &mut Client,
    modes: &[&'static str],
    scales: &[u32],
    slow: &[(&str, u32, Duration)],
) -> Result<Rules> {
    let cluster = Cluster::start()?;
    cluster.client().add_namespace(NAMESPACE)?;
    let (mut ruled, mut missing) = (Vec::new(), Vec::new());
    let (mut there, mut number) = (0, 0);
    for &services in scales {
        stored::create(&cluster, (there..services).map(json))?;
        there = services;
        for &mode in modes {
            number += 1;
            let node = cluster.node(number)?;
            ground.plug(node.netns())?;
            let bound = slow
                .iter()
                .find(|slow| (slow.0, slow.1) == (mode, services))
                .map(|slow| slow.2);
            let patience = bound.unwrap_or(RULES);
            match write(&cluster, client, &node, (mode, services), patience) {
                Ok(()) => {
                    say(format_args!(
                        "socket: kube-proxy {mode} has written the rules of {services} services"
                    ));
                    ruled.push(Ruled {
                        mode,
                        services,
                        node,
                    });
                }
                Err(error) if bound.is_some() => {
                    // Who is on a node goes with it.
                    client.go(&ground.sandbox())?;
                    say(format_args!("socket: {error:#}"));
                    missing.push(format!(
                        "kube-proxy in {mode} mode had not written the rules of {services} services after {} s: no such row",
                        patience.as_secs()
                    ));
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Rules { ruled, missing })
}

/// Lets kube-proxy write the rules of so many services, and ends it.
fn write(
    cluster: &Cluster,
    client: &mut Client,
    node: &Node,
    (mode, services): (&str, u32),
    patience: Duration,
) -> Result<()> {
    let mut kube_proxy = KubeProxy::start_within(
        cluster.control_plane(),
        node.sandbox(),
        node.name(),
        mode,
        patience,
    )?;
    // Its healthz may be a moment ahead of its rules.
    let place = place_of(node.netns(), node.cgroup());
    let step = usize::try_from(services)?.div_ceil(SAMPLE);
    let sample: Vec<u32> = (0..services).step_by(step).chain([services - 1]).collect();
    poll::until_true(patience, "kube-proxy has written all its rules", || {
        kube_proxy.check()?;
        let reached = client.reach(&place, sample.iter().map(|&i| vip(i)).collect())?;
        Ok(reached
            .iter()
            .zip(&sample)
            .all(|(reached, &i)| backends(i).contains(&reached.tcp)))
    })
}

//! `kill -9` in the middle of changes.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use testbed::{
    cluster::{
        Cluster,
        objects::{cluster_ip, service},
    },
    poll,
};

use crate::cluster::common::{
    agent, answered_by, by_kubeconfig, frontend, frontends, hammer, no_failure, ports,
};

/// Services that are made; the one before the last few is removed again.
const CHANGES: usize = 60;
/// So many stand at a time.
const STANDING: usize = 5;

#[test]
fn killed_in_the_middle_of_changes_it_goes_on_where_it_was() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let mut node = cluster.node(2)?;
    api.add_namespace("restart")?;
    let stable = api.add_service("restart", service("stable", "ClusterIP", &ports()))?;
    for name in ["stable-1", "stable-2"] {
        cluster.pod("restart", &mut node, name, "stable", 8080)?;
    }
    api.wait_endpoints("restart", "stable", "IPv4", 2)?;
    node.add_pod("client")?;
    let vip = SocketAddr::new(cluster_ip(&stable)?, 80);

    let mut running = Some(agent(&cluster, &node)?);
    let client = node.pod(2);
    answered_by(client, vip, &["stable-1", "stable-2"])?;
    let hammer = hammer(client, vip)?;
    let mut standing = Vec::new();
    let mut removed = BTreeSet::new();
    for change in 0..CHANGES {
        let name = format!("change-{change}");
        // Of the same pods, so that each has endpoints.
        let mut new = service(&name, "ClusterIP", &ports());
        new["spec"]["selector"]["app"] = "stable".into();
        standing.push((
            name,
            frontend(cluster_ip(&api.add_service("restart", new)?)?),
        ));
        if standing.len() > STANDING {
            let (name, ip) = standing.remove(0);
            api.delete::<Service>("restart", &name)?;
            removed.insert(ip);
        }
        // Not waited for: changes go on while it is dead and while it starts.
        if change % 20 == 10
            && let Some(agent) = running.take()
        {
            agent.kill()?;
            running = Some(by_kubeconfig(&cluster)?.without_waiting(&node)?);
        }
    }
    if let Some(agent) = &mut running {
        agent.wait_ready(&node)?;
    }
    let standing: BTreeSet<String> = standing.into_iter().map(|(_, ip)| ip).collect();
    // The API server may have given an address a second time.
    let removed: BTreeSet<String> = removed.difference(&standing).cloned().collect();
    poll::until(
        Duration::from_secs(30),
        "the kernel holds what the API server holds",
        || {
            let held = frontends(&node)?;
            let missing: Vec<&String> = standing.difference(&held).collect();
            let left: Vec<&String> = removed.intersection(&held).collect();
            ensure!(
                missing.is_empty() && left.is_empty(),
                "missing {missing:?}, left over {left:?}"
            );
            Ok(Some(()))
        },
    )?;
    for ip in &standing {
        answered_by(node.pod(2), ip.parse()?, &["stable-1", "stable-2"])?;
    }
    no_failure(hammer, 0)
}

//! Objects that come, change and go, before and after the agent starts.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::json;
use testbed::{
    agent::CHANGE,
    cluster::{
        Cluster,
        objects::{cluster_ip, node_port, service},
    },
    matrix::kinds,
    poll,
};

use crate::cluster::common::{agent, answered_by, frontend, frontends, ports, refused};

#[test]
fn services_made_before_and_after_the_agent_started_are_served() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let mut node = cluster.node(1)?;
    api.add_namespace("objects")?;
    let mut early = service("early", "NodePort", &ports());
    early["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    let early = api.add_service("objects", early)?;
    cluster.pod("objects", &mut node, "early-1", "early", 8080)?;
    api.wait_endpoints("objects", "early", "IPv4", 1)?;
    api.wait_endpoints("objects", "early", "IPv6", 1)?;
    node.add_pod("client")?;

    let _agent = agent(&cluster, &node)?;
    let client = node.pod(1);
    // Ready means that what was there has been written: the first try counts.
    let ips = early
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ips.clone())
        .context("no ClusterIPs")?;
    ensure!(
        ips.len() == 2,
        "a dual-stack Service has two ClusterIPs: {ips:?}"
    );
    for ip in &ips {
        let vip = SocketAddr::new(ip.parse()?, 80);
        for kind in kinds() {
            assert_eq!(client.ask(kind, vip)?.name, "early-1", "{kind:?} {vip}");
        }
    }
    // The API server tells the networks of cluster IPs, and they are routed whole.
    for (family, address) in [("-4", ips[0].as_str()), ("-6", ips[1].as_str())] {
        poll::until_true(CHANGE, "the service network is routed", || {
            let routes =
                node.run(&["ip", family, "route", "show", "dev", "lb0", "proto", "108"])?;
            Ok(routes.contains('/') && !routes.contains(address))
        })?;
        node.run(&["ping", "-n", "-c", "1", "-W", "2", address])?;
    }
    let outside = cluster.outside(21)?;
    for ip in node.addr().ips() {
        answered_by(
            &outside,
            SocketAddr::new(ip, node_port(&early)?),
            &["early-1"],
        )?;
    }

    let late = api.add_service("objects", service("late", "ClusterIP", &ports()))?;
    let vip = SocketAddr::new(cluster_ip(&late)?, 80);
    refused(node.pod(1), vip)?;
    for name in ["late-1", "late-2"] {
        cluster.pod("objects", &mut node, name, "late", 8080)?;
    }
    let client = node.pod(1);
    answered_by(client, vip, &["late-1", "late-2"])?;
    api.set_ready("objects", "late-1", false)?;
    answered_by(client, vip, &["late-2"])?;
    api.set_ready("objects", "late-1", true)?;
    answered_by(client, vip, &["late-1", "late-2"])?;
    api.delete::<Pod>("objects", "late-2")?;
    answered_by(client, vip, &["late-1"])?;
    api.set_ready("objects", "late-1", false)?;
    refused(client, vip)?;

    ensure!(
        frontends(&node)?.contains(&frontend(vip.ip())),
        "get services does not show {vip}"
    );
    api.delete::<Service>("objects", "late")?;
    poll::until_true(CHANGE, "a deleted Service is gone from the kernel", || {
        Ok(!frontends(&node)?.contains(&frontend(vip.ip())))
    })
}

//! Upgrade and rollback of a release under load: each connection of its clients comes off.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::Value;
use testbed::{
    cluster::{
        Cluster,
        chart::{self, path_str},
    },
    poll,
};

use super::installed::{Installed, daemon_set, web};
use crate::cluster::common::{hammer, no_failure};

const RELEASE: &str = "rolled";

/// The pods that the DaemonSet makes now.
fn template(cluster: &Cluster) -> Result<PodTemplateSpec> {
    Ok(daemon_set(cluster, RELEASE)?.spec.template)
}

fn args(template: &PodTemplateSpec) -> Vec<String> {
    let pod = template.spec.as_ref();
    let containers = pod.map(|pod| pod.containers.as_slice()).unwrap_or_default();
    containers
        .first()
        .and_then(|it| it.args.clone())
        .unwrap_or_default()
}

#[test]
fn upgrade_and_rollback_lose_no_connection() -> Result<()> {
    let cluster = Cluster::shared()?;
    let mut node = cluster.node(17)?;
    let (vip, node_port) = web(&cluster, &mut node, RELEASE)?;
    let mut installed = Installed::new(&cluster, &node, RELEASE, &[])?;
    let first = template(&cluster)?;
    let mut agent = installed.start()?;
    let outside = cluster.outside(17)?;
    let client = installed.node.pod(1);
    poll::until_true(Duration::from_secs(10), "the node port answers", || {
        Ok(outside.ask(testbed::probe::Kind::Tcp, node_port).is_ok())
    })?;
    let inside = hammer(client, vip)?;
    let from_outside = hammer(&outside, node_port)?;

    let dir = chart::dir();
    let upgrade = [
        "upgrade",
        RELEASE,
        path_str(&dir)?,
        "--reset-then-reuse-values",
        "--set",
    ];
    let change = "config.scheduler=rr,config.logLevel=debug,revisionHistoryLimit=3";
    installed.helm(&[&upgrade[..], &[change]].concat())?;
    installed.reload()?;
    assert_eq!(installed.container.flag("scheduler"), Some("rr"));
    let status = agent.terminate(Duration::from_secs(20))?;
    ensure!(status.success(), "SIGTERM: {status}");
    agent = installed.start()?;

    // What would not work changes nothing.
    let error = installed.helm(&[&upgrade[..], &["config.socketLb=off,config.lb0=off"]].concat());
    let error = error.err().context("a bad combination was accepted")?;
    ensure!(
        format!("{error:#}").contains("nothing would balance"),
        "{error:#}"
    );
    ensure!(args(&template(&cluster)?).contains(&"--scheduler=rr".to_owned()));

    installed.helm(&["rollback", RELEASE, "1"])?;
    assert_eq!(template(&cluster)?, first, "not what it was before");
    installed.reload()?;
    agent.terminate(Duration::from_secs(20))?;
    agent = installed.start()?;

    no_failure(inside, 0)?;
    no_failure(from_outside, 0)?;
    let history: Value =
        serde_json::from_str(&installed.helm(&["history", RELEASE, "-o", "json"])?)?;
    let statuses: Vec<&str> = history
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|it| it["status"].as_str())
        .collect();
    assert_eq!(statuses.last(), Some(&"deployed"), "{history}");
    agent.check()?;
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), RELEASE).map(drop)
}

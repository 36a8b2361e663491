//! The API server goes away and comes back.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Service;
use testbed::{
    agent::{self, HEALTH},
    cluster::{
        Cluster,
        objects::{cluster_ip, service},
    },
    poll,
};

use crate::cluster::common::{
    agent, answered_by, answered_within, frontend, frontends, hammer, no_failure, ports,
};

/// A client of the API server waits up to 30 seconds between two tries, and a bit at random.
const HEARD: Duration = Duration::from_secs(75);

#[test]
fn without_the_api_server_all_goes_on_and_what_was_missed_is_made_up() -> Result<()> {
    // Of its own: the others could not bear it.
    let mut cluster = Cluster::start()?;
    let mut node = cluster.node(3)?;
    let api = cluster.client();
    let [kept, moved, gone] = ["kept", "moved", "gone"]
        .map(|name| api.add_service("default", service(name, "ClusterIP", &ports())));
    let (kept, moved, gone) = (
        cluster_ip(&kept?)?,
        cluster_ip(&moved?)?,
        cluster_ip(&gone?)?,
    );
    for (name, app) in [
        ("kept-1", "kept"),
        ("moved-1", "moved"),
        ("moved-2", "moved"),
        ("gone-1", "gone"),
    ] {
        cluster.pod("default", &mut node, name, app, 8080)?;
    }
    cluster.client().set_ready("default", "moved-2", false)?;
    cluster
        .client()
        .wait_endpoints("default", "moved", "IPv4", 1)?;
    node.add_pod("client")?;
    let _agent = agent(&cluster, &node)?;
    let client = node.pod(4);
    let at = |ip| SocketAddr::new(ip, 80);
    answered_by(client, at(kept), &["kept-1"])?;
    answered_by(client, at(moved), &["moved-1"])?;
    answered_by(client, at(gone), &["gone-1"])?;
    let before = frontends(&node)?;
    let hammer = hammer(client, at(kept))?;

    // Cut off first, and the server stopped after: no goodbye is heard. It starts again while the
    // way is still cut.
    let (address, _) = cluster.control_plane().address();
    node.netns()
        .ip(&format!("route add blackhole {address}/32\n"))?;
    cluster.control_plane_mut().stop_api()?;
    for _ in 0..20 {
        for (path, wanted) in [("/livez", 200), ("/readyz", 200), ("/healthz", 200)] {
            let (status, body) = agent::http(&node, HEALTH, path)?;
            ensure!(
                status == wanted,
                "{path} says {status} without the API server: {body}"
            );
        }
        answered_by(client, at(moved), &["moved-1"])?;
    }
    assert_eq!(
        frontends(&node)?,
        before,
        "the data path changed while the API server was away"
    );

    cluster.control_plane_mut().start_api()?;
    let api = cluster.client();
    api.delete::<Service>("default", "gone")?;
    api.set_ready("default", "moved-1", false)?;
    api.set_ready("default", "moved-2", true)?;
    let mut new = service("new", "ClusterIP", &ports());
    new["spec"]["selector"]["app"] = "kept".into();
    let new = cluster_ip(&api.add_service("default", new)?)?;
    assert_eq!(frontends(&node)?, before, "nothing can be known yet");
    let attempts = hammer.so_far()?.attempts;

    node.netns()
        .ip(&format!("route del blackhole {address}/32\n"))?;
    answered_within(HEARD, client, at(new), &["kept-1"])?;
    answered_within(HEARD, client, at(moved), &["moved-2"])?;
    poll::until_true(
        HEARD,
        "a Service that was deleted meanwhile is gone",
        || Ok(!frontends(&node)?.contains(&frontend(gone))),
    )?;
    no_failure(hammer, attempts)
}

#[test]
fn a_restart_of_the_api_server_is_not_felt() -> Result<()> {
    let mut cluster = Cluster::start()?;
    let mut node = cluster.node(4)?;
    let web = cluster_ip(
        &cluster
            .client()
            .add_service("default", service("web", "ClusterIP", &ports()))?,
    )?;
    cluster.pod("default", &mut node, "web-1", "web", 8080)?;
    cluster
        .client()
        .wait_endpoints("default", "web", "IPv4", 1)?;
    node.add_pod("client")?;
    let _agent = agent(&cluster, &node)?;
    let (client, vip) = (node.pod(1), SocketAddr::new(web, 80));
    answered_by(client, vip, &["web-1"])?;
    let hammer = hammer(client, vip)?;
    cluster.control_plane_mut().stop_api()?;
    let attempts = hammer.so_far()?.attempts;
    cluster.control_plane_mut().start_api()?;
    // The watches live again: a change is followed.
    let mut new = service("new", "ClusterIP", &ports());
    new["spec"]["selector"]["app"] = "web".into();
    let new = cluster_ip(&cluster.client().add_service("default", new)?)?;
    answered_within(HEARD, client, SocketAddr::new(new, 80), &["web-1"])?;
    no_failure(hammer, attempts)
}

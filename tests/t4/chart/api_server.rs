//! `k8sServiceHost: auto` on the real API server: where the chart finds it, and what it says if it
//! does not. A cluster of its own, since every release would see its ConfigMap.

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::{ConfigMap, Namespace},
    discovery::v1::EndpointSlice,
};
use serde_json::json;
use testbed::cluster::{
    Cluster,
    chart::{self, path_str},
    objects::object,
};

/// The environment of the agent in what helm would install.
fn rendered(cluster: &Cluster, more: &[&str]) -> Result<(String, String)> {
    let dir = chart::dir();
    let words = [
        &["template", "auto", path_str(&dir)?, "--dry-run=server"],
        more,
    ]
    .concat();
    let text = chart::on_cluster(cluster.control_plane(), cluster.sandbox(), &words)?;
    let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text)?;
    let set = documents
        .into_iter()
        .find(|it| it["kind"] == "DaemonSet")
        .context("no DaemonSet")?;
    let env = set["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .cloned();
    let value = |name: &str| {
        let found = env.iter().flatten().find(|it| it["name"] == name);
        found
            .and_then(|it| it["value"].as_str())
            .unwrap_or_default()
            .to_owned()
    };
    Ok((
        value("KUBERNETES_SERVICE_HOST"),
        value("KUBERNETES_SERVICE_PORT"),
    ))
}

/// kubeadm's, with this address of the API server.
fn cluster_info(cluster: &Cluster, server: &str) -> Result<()> {
    let api = cluster.client();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: \"\"\n  cluster:\n    server: {server}\n"
    );
    let map = json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": kubeconfig}});
    if api
        .get::<ConfigMap>("kube-public", "cluster-info")?
        .is_some()
    {
        api.patch::<ConfigMap>("kube-public", "cluster-info", json!({"data": map["data"]}))
            .map(drop)
    } else {
        api.create::<ConfigMap>("kube-public", &object(map)?)
            .map(drop)
    }
}

#[test]
fn the_chart_finds_the_api_server_by_itself() -> Result<()> {
    let cluster = Cluster::start()?;
    let api = cluster.client();
    let (address, port) = cluster.control_plane().address();
    let (own, port) = (address.to_string(), port.to_string());
    assert_eq!(rendered(&cluster, &[])?, (own.clone(), port.clone()));

    // What nodes that join are told takes precedence, by name or address, with or without a port.
    if api.get_global::<Namespace>("kube-public")?.is_none() {
        api.add_namespace("kube-public")?;
    }
    for (server, host, port) in [
        ("https://api.example:16443", "api.example", "16443"),
        ("https://198.18.0.99:6443", "198.18.0.99", "6443"),
        ("https://[fd66::99]:6443", "fd66::99", "6443"),
        ("https://api.example", "api.example", "443"),
    ] {
        cluster_info(&cluster, server)?;
        assert_eq!(
            rendered(&cluster, &[])?,
            (host.to_owned(), port.to_owned()),
            "{server}"
        );
    }
    // An address of each node for itself is none.
    cluster_info(&cluster, "https://127.0.0.1:6443")?;
    assert_eq!(rendered(&cluster, &[])?, (own, port));

    // Whoever says an address, or that the Service is to be used, gets it.
    let said = ["--set", "k8sServiceHost=198.18.0.1,k8sServicePort=1234"];
    assert_eq!(
        rendered(&cluster, &said)?,
        ("198.18.0.1".into(), "1234".into())
    );
    assert_eq!(
        rendered(&cluster, &["--set", "k8sServiceHost="])?,
        (String::new(), String::new())
    );

    // The API server writes its slice anew every ten seconds: an empty one of its name is there
    // until then.
    api.patch::<EndpointSlice>("default", "kubernetes", json!({"endpoints": null}))?;
    let error = rendered(&cluster, &[])
        .err()
        .context("found, although nothing says where")?;
    let said = format!("{error:#}");
    ensure!(
        said.contains("k8sServiceHost is auto")
            && said.contains("set k8sServiceHost and k8sServicePort"),
        "{said}"
    );
    Ok(())
}

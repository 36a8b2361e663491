//! Real CoreDNS behind its cluster IP, asked as programs ask.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use serde_json::json;
use testbed::{
    cluster::{
        Cluster, coredns,
        objects::{PodSpec, cluster_ip, service},
    },
    poll,
};

use crate::cluster::common::{agent, ports};

/// Where kubelets tell pods that their name server is.
const DNS: &str = "10.96.0.10";

#[test]
fn names_are_resolved_through_the_cluster_ip_of_coredns() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let mut node = cluster.node(5)?;
    let pod = node.add_pod("coredns")?;
    let ips = pod.addr().ips();
    let mut coredns = coredns::start(cluster.control_plane(), pod.sandbox())?;
    let spec = PodSpec {
        name: "coredns",
        app: "kube-dns",
        node: node.name(),
        ips: &ips,
    };
    api.add_pod("kube-system", &spec)?;
    let mut dns = service(
        "kube-dns",
        "ClusterIP",
        &json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]),
    );
    dns["spec"]["clusterIP"] = json!(DNS);
    api.add_service("kube-system", dns)?;
    api.wait_endpoints("kube-system", "kube-dns", "IPv4", 1)?;
    let web = cluster_ip(&api.add_service("default", service("web", "ClusterIP", &ports()))?)?
        .to_string();
    cluster.pod("default", &mut node, "web-1", "web", 8080)?;

    let _agent = agent(&cluster, &node)?;
    let resolv_conf = coredns::resolv_conf(cluster.control_plane(), DNS.parse::<IpAddr>()?)?;
    let client = node.add_pod("client")?.host_mut();
    client.resolve_by(&resolv_conf);

    // By the search domains, over UDP; CoreDNS hears of the Service from its own watch.
    let asked = ["dig", "+short", "+search", "+tries=1", "+time=2", "web"];
    poll::until_true(testbed::agent::CHANGE, "web has an address", || {
        Ok(client.run(&asked)?.trim() == web)
    })?;
    for name in [
        "web",
        "web.default",
        "web.default.svc",
        "web.default.svc.cluster.local",
    ] {
        for transport in ["+notcp", "+tcp"] {
            let said = client.run(&[
                "dig", "+short", "+search", "+tries=1", "+time=2", transport, name,
            ])?;
            ensure!(said.trim() == web, "dig {transport} {name}: {said}");
        }
    }
    // The answer comes from the address that was asked: dig and nslookup refuse any other.
    let said = client.run(&["nslookup", "web"])?;
    ensure!(said.contains(&format!("Server:\t\t{DNS}")), "{said}");
    ensure!(
        said.contains("Name:\tweb.default.svc.cluster.local") && said.contains(&web),
        "{said}"
    );
    // As a program does that has never heard of DNS: an unconnected or connected socket of the C
    // library.
    let said = client.run(&["getent", "ahostsv4", "web"])?;
    ensure!(said.starts_with(&web), "{said}");
    let said = client.run(&["nslookup", "kubernetes"])?;
    ensure!(said.contains(testbed::cluster::SERVICE_HOST), "{said}");
    let none = client.output(&["nslookup", "nobody.default.svc.cluster.local."])?;
    ensure!(
        !none.status.success() && none.stdout.contains("NXDOMAIN"),
        "{none:?}"
    );
    coredns.check()
}

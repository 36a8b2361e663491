//! The demo's objects in a real API server, with a real CoreDNS in the DNS pod.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use testbed::{
    addr::Both,
    agent::Start,
    cluster::{self, Cluster, Daemon, objects},
    lan::Client,
    node::Node,
    pod::Pod,
    poll,
};

use crate::{
    servers::DOMAIN,
    show,
    stage::{CLIENT, DNS, DNS_VIP, NODE_PORT, TARGET, WEB, WEB_VIP},
};

const NAMESPACE: &str = "default";
/// From ready to listening.
const START: Duration = Duration::from_secs(30);

/// The control plane, and what runs against it.
pub(crate) struct FromCluster {
    pub(crate) dns: Option<Daemon>,
    pub(crate) cluster: Cluster,
}

impl FromCluster {
    pub(crate) fn start() -> Result<Self> {
        Ok(Self {
            dns: None,
            cluster: Cluster::start()?,
        })
    }

    pub(crate) fn machines(&self) -> Result<(Node, Client)> {
        Ok((self.cluster.node(1)?, self.cluster.outside(2)?))
    }

    /// Makes the objects through the API; how to start an agent that watches them.
    pub(crate) fn apply(&self, node: &Node) -> Result<Start> {
        show::title("Two Services, made through the API");
        let api = self.cluster.client();
        for pod in node.pods().iter().filter(|pod| pod.name() != CLIENT) {
            let app = if pod.name() == DNS { "kube-dns" } else { "web" };
            let spec = objects::PodSpec {
                name: pod.name(),
                app,
                node: node.name(),
                ips: &pod.addr().ips(),
            };
            api.add_pod(NAMESPACE, &spec)?;
        }
        let web =
            json!([{"name": "http", "port": 80, "targetPort": TARGET, "nodePort": NODE_PORT}]);
        let dns = json!([
            {"name": "dns", "protocol": "UDP", "port": 53},
            {"name": "dns-tcp", "protocol": "TCP", "port": 53},
        ]);
        for (name, kind, ports, vip) in [
            ("web", "NodePort", web, WEB_VIP),
            ("kube-dns", "ClusterIP", dns, DNS_VIP),
        ] {
            let service = with_addresses(objects::service(name, kind, &ports), vip);
            show::prompt("admin", &format!("kubectl create -f {name}.yaml"));
            show::lines(
                &serde_json::to_string(&service).context("encode a Service")?,
                9,
            );
            api.add_service(NAMESPACE, service)?;
        }
        api.wait_endpoints(NAMESPACE, "web", "IPv4", WEB.len())?;
        api.wait_endpoints(NAMESPACE, "kube-dns", "IPv4", 1)?;
        let kubeconfig = self.cluster.admin()?.display().to_string();
        Ok(Start::new().source(&["--kubeconfig", &kubeconfig]))
    }

    /// CoreDNS with its `kubernetes` plugin.
    pub(crate) fn dns(&mut self, pod: &Pod) -> Result<()> {
        show::say("  CoreDNS starts in the DNS pod and lists the Services");
        self.dns = Some(cluster::coredns::start(
            self.cluster.control_plane(),
            pod.sandbox(),
        )?);
        // It calls itself ready a moment before it listens.
        let name = format!("web.{NAMESPACE}.svc.{DOMAIN}");
        poll::until_true(START, "CoreDNS answers in its pod", || {
            let asked = pod.output(&["nslookup", "-timeout=1", &name, "127.0.0.1"])?;
            Ok(asked.status.success())
        })
    }

    /// Its readiness probe fails, and the controller takes it out.
    pub(crate) fn remove_backend(&self, name: &str) -> Result<()> {
        show::prompt("admin", &format!("# the readiness probe of {name} fails"));
        self.cluster.client().set_ready(NAMESPACE, name, false)?;
        self.cluster
            .client()
            .wait_endpoints(NAMESPACE, "web", "IPv4", WEB.len() - 1)
    }
}

fn with_addresses(mut service: Value, Both { v4, v6 }: Both) -> Value {
    service["spec"]["clusterIP"] = json!(v4);
    service["spec"]["clusterIPs"] = json!([v4, v6]);
    service["spec"]["ipFamilies"] = json!(["IPv4", "IPv6"]);
    service["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    service
}

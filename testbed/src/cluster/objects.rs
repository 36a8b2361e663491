//! The making of Kubernetes objects as a test needs them, and a kubelet's part: their status.

use std::{net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::api::{Api, DeleteParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Client;
use crate::poll;

/// The controllers act within a second on an idle machine.
const CONTROLLERS: Duration = Duration::from_secs(30);

/// A typed object from its JSON; a wrong field is an error.
pub fn object<K: DeserializeOwned>(value: Value) -> Result<K> {
    serde_json::from_value(value).context("a wrong object")
}

/// The JSON of a Service that selects `app: <name>`, with these ports: `[{"name": …, "port": …}]`.
#[must_use]
pub fn service(name: &str, kind: &str, ports: &Value) -> Value {
    json!({
        "metadata": {"name": name},
        "spec": {"type": kind, "selector": {"app": name}, "ports": ports},
    })
}

/// A pod as a scheduler left it.
#[derive(Debug, Clone, Copy)]
pub struct PodSpec<'a> {
    /// Its name.
    pub name: &'a str,
    /// What Services select it by.
    pub app: &'a str,
    /// Where it runs.
    pub node: &'a str,
    /// Its addresses, the first family first.
    pub ips: &'a [IpAddr],
}

impl Client {
    /// A namespace.
    pub fn add_namespace(&self, name: &str) -> Result<()> {
        self.create_global::<Namespace>(&object(json!({"metadata": {"name": name}}))?)
            .map(drop)
    }

    /// A ready Node with these addresses.
    pub fn add_node(&self, name: &str, ips: &[IpAddr]) -> Result<()> {
        let labels = json!({"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"});
        self.create_global::<Node>(&object(
            json!({"metadata": {"name": name, "labels": labels}}),
        )?)?;
        let addresses: Vec<Value> = ips
            .iter()
            .map(|ip| json!({"type": "InternalIP", "address": ip}))
            .collect();
        let ready = json!([{"type": "Ready", "status": "True", "reason": "KubeletReady"}]);
        self.patch_global_status::<Node>(
            name,
            json!({"status": {"addresses": addresses, "conditions": ready}}),
        )
        .map(drop)
    }

    /// A running, ready pod.
    pub fn add_pod(&self, namespace: &str, pod: &PodSpec<'_>) -> Result<()> {
        let object: Pod = object(json!({
            "metadata": {"name": pod.name, "labels": {"app": pod.app}},
            "spec": {"nodeName": pod.node, "containers": [{"name": "c", "image": "none"}]},
        }))?;
        self.create(namespace, &object)?;
        let ips: Vec<Value> = pod.ips.iter().map(|ip| json!({"ip": ip})).collect();
        let first = pod.ips.first().context("a pod without an address")?;
        let status =
            json!({"phase": "Running", "podIP": first, "podIPs": ips, "conditions": ready(true)});
        self.patch_status::<Pod>(namespace, pod.name, json!({"status": status}))
            .map(drop)
    }

    /// Tells a pod to go within so many seconds: it stays, terminating, until a kubelet or
    /// [`Client::delete`] says that it has gone.
    pub fn terminate_pod(&self, namespace: &str, pod: &str, grace: u32) -> Result<()> {
        let (namespace, name) = (namespace.to_owned(), pod.to_owned());
        self.with(move |client| async move {
            let params = DeleteParams::default().grace_period(grace);
            Api::<Pod>::namespaced(client, &namespace)
                .delete(&name, &params)
                .await
        })
        .map(drop)
        .with_context(|| format!("terminate {pod}"))
    }

    /// What a readiness probe found.
    pub fn set_ready(&self, namespace: &str, pod: &str, is: bool) -> Result<()> {
        self.patch_status::<Pod>(namespace, pod, json!({"status": {"conditions": ready(is)}}))
            .map(drop)
    }

    /// A Service from its JSON, as the API server keeps it: with its addresses.
    pub fn add_service(&self, namespace: &str, value: Value) -> Result<Service> {
        self.create(namespace, &object::<Service>(value)?)
    }

    /// Waits until the controller's slices of a Service hold exactly so many ready endpoints of one
    /// family.
    pub fn wait_endpoints(
        &self,
        namespace: &str,
        service: &str,
        family: &str,
        ready: usize,
    ) -> Result<()> {
        let what = format!("{namespace}/{service} has {ready} ready {family} endpoints");
        let labels = format!("kubernetes.io/service-name={service}");
        poll::until_true(CONTROLLERS, &what, || {
            let slices = self.list::<EndpointSlice>(namespace, &labels)?;
            let endpoints = slices
                .iter()
                .filter(|slice| slice.address_type == family)
                .flat_map(|slice| slice.endpoints.iter().flatten());
            Ok(!slices.is_empty()
                && endpoints.filter(|endpoint| is_ready(endpoint)).count() == ready)
        })
    }
}

/// The first ClusterIP of a Service.
pub fn cluster_ip(service: &Service) -> Result<IpAddr> {
    let ip = service
        .spec
        .as_ref()
        .and_then(|spec| spec.cluster_ip.as_deref());
    ip.context("the Service has no ClusterIP")?
        .parse()
        .context("the Service's ClusterIP is not an address")
}

/// The first NodePort of a Service.
pub fn node_port(service: &Service) -> Result<u16> {
    let port = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_ref()?.first()?.node_port);
    u16::try_from(port.context("the Service has no NodePort")?).context("the NodePort is no port")
}

fn is_ready(endpoint: &k8s_openapi::api::discovery::v1::Endpoint) -> bool {
    endpoint
        .conditions
        .as_ref()
        .and_then(|conditions| conditions.ready)
        .unwrap_or(true)
}

/// With the time of the change, from which the controller makes a slice's trigger time.
fn ready(is: bool) -> Value {
    let now = Time(k8s_openapi::jiff::Timestamp::now());
    let status = if is { "True" } else { "False" };
    json!([{"type": "Ready", "status": status, "lastTransitionTime": now}])
}

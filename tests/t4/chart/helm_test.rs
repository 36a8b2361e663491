//! The real `helm test` on the real API server; this module is the kubelet of its pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::{Pod, Service};
use serde_json::json;
use testbed::{
    cluster::{
        Cluster, Container, chart, coredns,
        objects::{PodSpec, cluster_ip, object, service},
    },
    node::Node,
    poll,
    process::{self, Output},
    sandbox::Sandbox,
};

use super::installed::{Installed, daemon_set, web};

/// A pod of a test appears once helm has made what comes before it.
const POD: Duration = Duration::from_mins(2);
const RELEASE: &str = "tested";

/// The pods that run on the node: the agent's own, as the DaemonSet controller would make it.
fn add_agent_pod(cluster: &Cluster, node: &Node) -> Result<()> {
    let template = daemon_set(cluster, RELEASE)?.spec.template;
    let mut pod: Pod = object(json!({"metadata": {"name": "tested-agent"}}))?;
    pod.metadata.labels = template.metadata.and_then(|it| it.labels);
    pod.spec = template.spec;
    let spec = pod.spec.as_mut().context("no spec")?;
    spec.node_name = Some(node.name().to_owned());
    cluster.client().create("kube-system", &pod)?;
    let ips: Vec<_> = node
        .addr()
        .ips()
        .iter()
        .map(|ip| json!({"ip": ip}))
        .collect();
    let status = json!({"phase": "Running", "podIP": ips[0]["ip"], "podIPs": ips,
        "conditions": [{"type": "Ready", "status": "True"}]});
    cluster
        .client()
        .patch_status::<Pod>("kube-system", "tested-agent", json!({"status": status}))
        .map(drop)
}

/// CoreDNS in a pod behind a ClusterIP; the `resolv.conf` of pods that ask it.
fn add_dns(
    cluster: &Cluster,
    node: &mut Node,
) -> Result<(testbed::cluster::Daemon, std::path::PathBuf)> {
    let api = cluster.client();
    let pod = node.add_pod("dns")?;
    let ips = pod.addr().ips();
    let daemon = coredns::start(cluster.control_plane(), pod.sandbox())?;
    let spec = PodSpec {
        name: "tested-dns",
        app: "tested-dns",
        node: node.name(),
        ips: &ips,
    };
    api.add_pod("kube-system", &spec)?;
    let ports =
        json!([{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53}]);
    let dns: Service =
        api.add_service("kube-system", service("tested-dns", "ClusterIP", &ports))?;
    api.wait_endpoints("kube-system", "tested-dns", "IPv4", 1)?;
    let file = coredns::resolv_conf(cluster.control_plane(), cluster_ip(&dns)?)?;
    Ok((daemon, file))
}

/// The pods that ran, and what they said.
type Ran = BTreeMap<String, (Pod, Output)>;

/// Runs the pods of `helm test` as they appear; what helm said, and each pod's output by its name.
fn helm_test(installed: &Installed<'_>, client: &Sandbox) -> Result<(Result<String>, Ran)> {
    thread::scope(|scope| {
        let helm = scope.spawn(|| installed.helm(&["test", RELEASE, "--timeout", "3m"]));
        let mut outputs = BTreeMap::new();
        let mut seen = BTreeSet::new();
        while !helm.is_finished() {
            let pods = installed.cluster.client().list::<Pod>(
                "kube-system",
                &format!(
                    "app.kubernetes.io/name=lb-agent-test,app.kubernetes.io/instance={RELEASE}"
                ),
            )?;
            for pod in pods {
                let name = pod.metadata.name.clone().context("no name")?;
                if seen.insert(name.clone()) {
                    let output = run_pod(installed, client, &pod)?;
                    let phase = if output.status.success() {
                        "Succeeded"
                    } else {
                        "Failed"
                    };
                    let status = json!({"status": {"phase": phase}});
                    installed
                        .cluster
                        .client()
                        .patch_status::<Pod>("kube-system", &name, status)?;
                    outputs.insert(name, (pod, output));
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
        match helm.join() {
            Ok(said) => Ok((said, outputs)),
            Err(_) => bail!("the thread of helm ended by a panic"),
        }
    })
}

fn run_pod(installed: &Installed<'_>, client: &Sandbox, pod: &Pod) -> Result<Output> {
    let spec = pod.spec.clone().context("no spec")?;
    let (container, sandbox) = if spec.host_network == Some(true) {
        let container = Container::of_host_pod(spec)?;
        assert_eq!(container.capabilities()?, ["BPF"]);
        (container, installed.node.sandbox())
    } else {
        let container = Container::of_client_pod(spec)?;
        assert!(container.capabilities()?.is_empty());
        (container, client)
    };
    process::output(sandbox, &installed.words_in(&container, "test")?)
}

fn text(outputs: &Ran, name: &str) -> Result<String> {
    let (_, output) = outputs
        .get(name)
        .with_context(|| format!("{name} never ran: {outputs:?}"))?;
    Ok(format!("{}{}", output.stdout, output.stderr))
}

#[test]
fn helm_test_reaches_a_service_by_name_cluster_ip_and_node_port() -> Result<()> {
    // Its own: each of its nodes has an agent.
    let cluster = Cluster::start()?;
    let mut node = cluster.node(1)?;
    let (vip, _) = web(&cluster, &mut node, "tested")?;
    let (_coredns, resolv_conf) = add_dns(&cluster, &mut node)?;
    node.add_pod("tester")?.host_mut().resolve_by(&resolv_conf);
    let tester = node.pods().len() - 1;
    let client = node.pod(tester).sandbox().clone();

    let mut installed = Installed::new(
        &cluster,
        &node,
        RELEASE,
        &["--set", "health.bindAddress=::"],
    )?;
    let agent = installed.start()?;
    add_agent_pod(&cluster, &node)?;
    let (said, outputs) = helm_test(&installed, &client)?;
    let tried = text(&outputs, "tested-lb-agent-test-service")?;
    let said = said.with_context(|| format!("{outputs:#?}"))?;
    ensure!(said.contains("Succeeded"), "{said}");
    let node_ip = node.addr().v4.to_string();
    for way in [
        "API server at https://10.96.0.1",
        "DNS name tested-lb-agent-test.kube-system.svc",
        "ClusterIP 10.96.",
    ] {
        ensure!(tried.contains(&format!("ok    {way}")), "{way}: {tried}");
    }
    ensure!(
        tried.contains(&format!("ok    node port {node_ip}:")),
        "{tried}"
    );
    ensure!(tried.contains("ClusterIP [fd66:96::"), "IPv6: {tried}");
    let listed = text(&outputs, "tested-lb-agent-test-status")?;
    ensure!(listed.contains(&vip.to_string()), "{listed}");
    // Neither Service nor pods of the test stay.
    poll::until_true(POD, "the test's Service is gone", || {
        let left = cluster
            .client()
            .get::<Service>("kube-system", "tested-lb-agent-test")?;
        Ok(left.is_none())
    })?;

    // Without a data path it fails, and says what does not work.
    agent.terminate(Duration::from_secs(20))?;
    let binary = testbed::agent::binary()?;
    let pins = node.bpf_dir().join("lb");
    node.run(&[
        chart::path_str(&binary)?,
        "cleanup",
        "--bpf-dir",
        chart::path_str(&pins)?,
    ])?;
    let (mut pod, _) = outputs["tested-lb-agent-test-service"].clone();
    for container in pod.spec.iter_mut().flat_map(|spec| &mut spec.containers) {
        container
            .args
            .get_or_insert_default()
            .push("--timeout=3s".into());
    }
    let output = run_pod(&installed, &client, &pod)?;
    ensure!(
        !output.status.success(),
        "passed without a data path: {output:?}"
    );
    ensure!(
        output
            .stderr
            .contains("ask the API server at https://10.96.0.1"),
        "{output:?}"
    );
    chart::uninstall(cluster.control_plane(), cluster.sandbox(), RELEASE).map(drop)
}

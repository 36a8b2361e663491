//! The smoke check of a cluster: DNS, a cluster IP and a node port answer, in both families, the
//! chart's own test passes, and nothing of the cluster stays behind.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use testbed::{cluster::chart, poll};

use crate::{Asked, Proxy, Up, images::Images, kubectl, once};

const MANIFEST: &str = include_str!("../manifests/smoke.yaml");
/// As in the manifest.
const NODE_PORT: u16 = 30080;
/// What a node's endpoints take to follow.
const FOLLOW: std::time::Duration = std::time::Duration::from_secs(20);

/// Makes a cluster, checks it, and removes it; says each step.
pub fn whole(asked: Asked, mut say: impl FnMut(&str)) -> Result<()> {
    once::with(asked, Images::Own, "check", &mut say, |up, _, say| {
        run(up, asked.proxy, say).with_context(|| pods(up))
    })
}

/// For an error.
fn pods(up: &Up) -> String {
    let asked = up
        .kubectl()
        .and_then(|kubectl| kubectl.run(&["get", "pods,events", "--all-namespaces"]));
    asked.unwrap_or_else(|error| format!("{error:#}"))
}

/// Asks from a pod and from outside, says what answered, and removes what it made.
fn run(up: &Up, proxy: Proxy, say: &mut impl FnMut(&str)) -> Result<()> {
    let kubectl = up.kubectl()?;
    kubectl.apply("smoke", MANIFEST)?;
    let in_smoke = |words: &[&str]| kubectl.run(&[&["--namespace=smoke"], words].concat());
    in_smoke(&["rollout", "status", "daemonset/web", kubectl::TIMEOUT])?;
    in_smoke(&[
        "wait",
        "--for=condition=Ready",
        "pod/client",
        kubectl::TIMEOUT,
    ])?;
    let from_pod = |words: &[&str]| in_smoke(&[&["exec", "client", "--"], words].concat());
    let name = "web.smoke.svc.cluster.local";
    poll::until_true(FOLLOW, "DNS answers", || {
        Ok(from_pod(&["nslookup", name]).is_ok_and(|said| said.contains(name)))
    })?;
    say("DNS answers in a pod, by the cluster IP of CoreDNS");
    for ip in cluster_ips(up)? {
        let url = format!("http://{}/cgi-bin/name", SocketAddr::new(ip, 80));
        answers(&url, |url| {
            from_pod(&["curl", "-sS", "--max-time", "5", url])
        })?;
    }
    answers("http://web/cgi-bin/name", |url| {
        from_pod(&["curl", "-sS", "--max-time", "5", url])
    })?;
    say("the cluster IPs of a Service answer in a pod, by address and by name");
    let outside = up.cluster().outside(2)?;
    for node in up.nodes() {
        for ip in node.machine().addr().ips() {
            let url = format!("http://{}/cgi-bin/name", SocketAddr::new(ip, NODE_PORT));
            answers(&url, |url| {
                outside.run(&["curl", "-sS", "--max-time", "5", url])
            })?;
        }
    }
    say("its node port answers outside, on every address of every node");
    kubectl.run(&["delete", "namespace", "smoke", kubectl::TIMEOUT])?;
    if proxy == Proxy::LbAgent {
        let (control_plane, sandbox) = (up.cluster().control_plane(), up.cluster().sandbox());
        chart::on_cluster(control_plane, sandbox, &["test", "lb-agent"])?;
        say("the chart's own test passes");
    }
    Ok(())
}

/// The name of a pod is what every backend answers.
fn answers(url: &str, ask: impl Fn(&str) -> Result<String>) -> Result<()> {
    poll::until(FOLLOW, &format!("{url} answers"), || {
        let said = ask(url)?;
        ensure!(said.starts_with("web-"), "{said}");
        Ok(Some(()))
    })
}

fn cluster_ips(up: &Up) -> Result<Vec<IpAddr>> {
    let service = up
        .cluster()
        .client()
        .get::<k8s_openapi::api::core::v1::Service>("smoke", "web")?;
    let spec = service.and_then(|service| service.spec);
    let ips = spec.and_then(|spec| spec.cluster_ips);
    let ips: Vec<IpAddr> = ips
        .context("a Service without addresses")?
        .iter()
        .map(|ip| ip.parse().context("a cluster IP is an address"))
        .collect::<Result<_>>()?;
    ensure!(ips.len() == 2, "{ips:?} are not of both families");
    Ok(ips)
}

//! What load balancers and kubelets read: the agent's answers beside those of the real kube-proxy,
//! byte for byte.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::{
    core::v1::{Node as ApiNode, Service},
    events::v1::Event,
};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};
use testbed::{
    agent::CHANGE,
    cluster::{Cluster, KubeProxy, objects::service},
    http::{self, Answer},
    matrix::families,
    node::Node,
    poll,
    probe::Family,
};

use crate::cluster::common::{agent, ports};

/// Of /healthz and /livez, in a node's namespace.
const HEALTH: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 10256);
/// The autoscaler's mark of a node that it takes away.
const TAINT: &str = "ToBeDeletedByClusterAutoscaler";

/// A load balancer's Service whose node ports lead to pods of their own node alone.
pub(crate) fn local_service(name: &str) -> Value {
    let mut value = service(name, "LoadBalancer", &ports());
    value["spec"]["externalTrafficPolicy"] = json!("Local");
    value["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    value
}

/// Where its health checks are answered.
pub(crate) fn health_port(service: &Service) -> Result<u16> {
    let port = service.spec.as_ref().and_then(|s| s.health_check_node_port);
    u16::try_from(port.context("no healthCheckNodePort")?).context("it is no port")
}

/// Marks the node as the autoscaler does, or takes the mark off.
pub(crate) fn taint(cluster: &Cluster, node: &str, on: bool) -> Result<()> {
    let name = node.to_owned();
    let taints = if on {
        json!([{"key": TAINT, "value": "1", "effect": "NoSchedule"}])
    } else {
        Value::Null
    };
    let patch = json!({"spec": {"taints": taints}});
    cluster
        .client()
        .with(move |client| async move {
            let api = Api::<ApiNode>::all(client);
            api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))
                .await
        })
        .map(drop)
        .context("taint a Node")
}

/// An answer without what differs from one moment to the next: times, and lengths of what has times
/// in it.
fn timeless(answer: Answer, method: &str) -> Result<Answer> {
    let Answer {
        status,
        line,
        mut headers,
        body,
    } = answer;
    let mut timeless = String::new();
    let mut rest = body.as_str();
    while let Some(at) = rest.find("\":\"20") {
        let (before, time) = rest.split_at(at + 3);
        let end = time.find('"').context("a time that does not end")?;
        let digits = time[..end].trim_end_matches('Z');
        ensure!(
            digits.len() >= 19 && digits.len() < end && digits.as_bytes()[10] == b'T',
            "{:?} is no time in UTC",
            &time[..end]
        );
        timeless.push_str(before);
        timeless.push_str("TIME");
        rest = &time[end..];
    }
    timeless.push_str(rest);
    for (name, value) in &mut headers {
        match name.as_str() {
            "Date" => {
                ensure!(value.ends_with(" GMT"), "{value:?} is no date");
                "DATE".clone_into(value);
            }
            "Content-Length" => {
                let length: usize = value.parse().context("a length")?;
                ensure!(
                    method == "HEAD" || length == body.len(),
                    "{length} is not the length of {body:?}"
                );
                if timeless != body || method == "HEAD" {
                    "LENGTH".clone_into(value);
                }
            }
            _ => {}
        }
    }
    Ok(Answer {
        status,
        line,
        headers,
        body: timeless,
    })
}

/// What a node says to every question that a load balancer or a kubelet may ask.
fn answers(node: &Node, ports: &[u16]) -> Result<Vec<(String, Answer)>> {
    let mut questions: Vec<(SocketAddr, String)> = ["/healthz", "/livez", "/other"]
        .iter()
        .map(|path| (HEALTH, (*path).to_owned()))
        .collect();
    for port in ports {
        for family in families() {
            for path in ["/", "/healthz", "/a/b?c=d"] {
                questions.push((node.addr().at(family, *port), path.to_owned()));
            }
        }
    }
    let mut answers = Vec::new();
    for (to, path) in questions {
        for method in ["GET", "HEAD", "POST", "OPTIONS"] {
            let answer = http::ask(node, to, method, &path)?;
            let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
            let question = format!("{method} {family} {}{path}", to.port());
            answers.push((question, timeless(answer, method)?));
        }
    }
    Ok(answers)
}

#[test]
fn health_is_told_as_kube_proxy_tells_it() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let (mut theirs, mut ours) = (cluster.node(31)?, cluster.node(32)?);
    api.add_namespace("health")?;
    let full = health_port(&api.add_service("health", local_service("full"))?)?;
    let empty = health_port(&api.add_service("health", local_service("empty"))?)?;
    for (node, names) in [
        (&mut theirs, ["full-a1", "full-a2"]),
        (&mut ours, ["full-b1", "full-b2"]),
    ] {
        for name in names {
            cluster.pod("health", node, name, "full", 8080)?;
        }
    }
    for family in ["IPv4", "IPv6"] {
        api.wait_endpoints("health", "full", family, 4)?;
    }
    let mut kube_proxy =
        KubeProxy::start(cluster.control_plane(), theirs.sandbox(), theirs.name())?;
    let _agent = agent(&cluster, &ours)?;
    let ports = [full, empty];
    let settled = |node: &Node| {
        poll::until_true(CHANGE, "both health check ports answer", || {
            let full = http::ask(node, node.addr().at(Family::V6, full), "GET", "/")?;
            let empty = http::ask(node, node.addr().at(Family::V6, empty), "GET", "/")?;
            Ok((full.status, empty.status) == (200, 503))
        })
    };
    settled(&theirs)?;
    settled(&ours)?;
    let compare = |what: &str| -> Result<Vec<(String, Answer)>> {
        let (ours, theirs) = (answers(&ours, &ports)?, answers(&theirs, &ports)?);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs, "{what}: ours left, kube-proxy's right");
        }
        Ok(ours)
    };
    let well = compare("all is well")?;
    let of = |all: &[(String, Answer)], question: &str| -> Result<Answer> {
        let found = all.iter().find(|(q, _)| q == question);
        Ok(found.with_context(|| format!("no {question}"))?.1.clone())
    };
    // That the two agree is worth something only if both say what the rule book says.
    let told = of(&well, &format!("GET IPv4 {full}/"))?;
    assert_eq!(told.status, 200);
    assert_eq!(told.header("X-Load-Balancing-Endpoint-Weight"), Some("2"));
    let parsed: Value = serde_json::from_str(&told.body)?;
    let expected = json!({
        "service": {"namespace": "health", "name": "full"},
        "localEndpoints": 2,
        "serviceProxyHealthy": true,
    });
    assert_eq!(parsed, expected);
    assert_eq!(of(&well, &format!("GET IPv4 {empty}/"))?.status, 503);

    for node in [&theirs, &ours] {
        taint(&cluster, node.name(), true)?;
        poll::until_true(CHANGE, "/healthz turns 503", || {
            Ok(http::status(node, HEALTH, "/healthz")? == 503)
        })?;
    }
    let marked = compare("the autoscaler has marked the node")?;
    assert_eq!(of(&marked, "GET IPv4 10256/healthz")?.status, 503);
    assert_eq!(of(&marked, "GET IPv4 10256/livez")?.status, 200);
    // It still serves what it has: the health check ports do not look at the node.
    assert_eq!(of(&marked, &format!("GET IPv4 {full}/"))?.status, 200);
    for node in [&theirs, &ours] {
        taint(&cluster, node.name(), false)?;
        poll::until_true(CHANGE, "/healthz turns 200", || {
            Ok(http::status(node, HEALTH, "/healthz")? == 200)
        })?;
    }
    kube_proxy.check()?;
    drop(kube_proxy);
    delete_node(&cluster, ours.name())?;
    poll::until_true(CHANGE, "a deleted node is not eligible", || {
        let status = |path| http::status(&ours, HEALTH, path);
        Ok((status("/healthz")?, status("/livez")?) == (503, 200))
    })
}

/// Another process has the port: the agent writes an Event on the Service, as kube-proxy does, and
/// serves the health check once the port is free.
#[test]
fn a_health_check_port_that_is_taken_is_an_event_on_its_service() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let mut node = cluster.node(39)?;
    api.add_namespace("taken")?;
    let service = api.add_service("taken", local_service("web"))?;
    let port = health_port(&service)?;
    cluster.pod("taken", &mut node, "web-1", "web", 8080)?;
    api.wait_endpoints("taken", "web", "IPv4", 1)?;
    let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
    let squatter = node.block(|| Ok(TcpListener::bind(wildcard)?))?;
    let _agent = agent(&cluster, &node)?;
    poll::until_true(CHANGE, "an Event names the port", || {
        let events = api.list::<Event>("taken", "")?;
        Ok(events.iter().any(|event| {
            let about = event.regarding.as_ref().and_then(|about| about.uid.clone());
            let note = event.note.as_deref().unwrap_or_default();
            about == service.metadata.uid
                && event.type_.as_deref() == Some("Warning")
                && event.reason.as_deref() == Some("FailedToStartServiceHealthcheck")
                && note.contains(&port.to_string())
                && note.contains(node.name())
        }))
    })?;
    drop(squatter);
    let to = node.addr().at(Family::V4, port);
    poll::until_true(CHANGE, "the port is taken over", || {
        Ok(http::status(&node, to, "/").is_ok_and(|status| status == 200))
    })
}

fn delete_node(cluster: &Cluster, name: &str) -> Result<()> {
    let name = name.to_owned();
    cluster
        .client()
        .with(move |client| async move {
            let api = Api::<ApiNode>::all(client);
            api.delete(&name, &DeleteParams::default()).await
        })
        .map(drop)
        .context("delete a Node")
}

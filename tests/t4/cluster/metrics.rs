//! What kube-proxy's `/metrics` names, the agent names too, with the same types and labels, or
//! docs/compat.md says why not.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testbed::{
    agent::{CHANGE, METRICS},
    cluster::{
        Cluster, KubeProxy,
        objects::{PodSpec, service},
    },
    node::Node,
    poll, process,
};

use crate::cluster::common::{agent, ports};

/// A family of metrics: its type, and the names of its labels.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
}

/// The text of `/metrics`, as a scrape gets it that knows only the oldest format.
fn scrape(node: &Node) -> Result<String> {
    let url = format!("http://{METRICS}/metrics");
    let said = process::output(node.sandbox(), &["curl", "-sf", &url])?;
    ensure!(said.status.success(), "no metrics of {}", node.name());
    Ok(said.stdout)
}

/// The families below `kubeproxy_`, counters by the names of their samples.
fn families(text: &str) -> BTreeMap<String, Family> {
    let mut all: BTreeMap<String, Family> = BTreeMap::new();
    let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
    for (name, kind) in types.filter_map(|line| line.split_once(' ')) {
        let mut name = name.to_owned();
        // OpenMetrics names a counter without its suffix.
        if kind == "counter" && !name.ends_with("_total") {
            name += "_total";
        }
        if name.starts_with("kubeproxy_") {
            let kind = kind.to_owned();
            all.insert(
                name,
                Family {
                    kind,
                    ..Family::default()
                },
            );
        }
    }
    for line in text.lines().filter(|l| l.starts_with("kubeproxy_")) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
        let stem = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix).filter(|n| all.contains_key(*n)));
        let Some(family) = all.get_mut(stem.unwrap_or(name)) else {
            continue;
        };
        let labels = rest.strip_prefix('{').and_then(|l| l.split_once('}'));
        let labels = labels.map_or("", |(labels, _)| labels);
        let names = labels
            .split(',')
            .filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        family.labels.extend(names.filter(|name| name != "le"));
    }
    all
}

/// The rows of docs/compat.md about kube-proxy's metrics: the name, and whether it is absent.
fn documented() -> Result<BTreeMap<String, bool>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compat.md");
    let text = fs::read_to_string(&path)?;
    let rows = text.lines().filter_map(|line| {
        let (name, meaning) = line.strip_prefix("| `kubeproxy_")?.split_once("` | ")?;
        Some((format!("kubeproxy_{name}"), meaning.starts_with("absent: ")))
    });
    Ok(rows.collect())
}

fn value(text: &str, name: &str) -> Result<f64> {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found
        .with_context(|| format!("no {name} in\n{text}"))?
        .parse()
        .context("a metric is a number")
}

#[test]
fn kube_proxys_metrics_are_there_or_their_absence_is_explained() -> Result<()> {
    let cluster = Cluster::shared()?;
    let api = cluster.client();
    let (theirs, ours) = (cluster.node(51)?, cluster.node(52)?);
    api.add_namespace("metrics")?;
    api.add_node("elsewhere", &["198.18.0.251".parse()?])?;
    // Its only endpoint is on neither of the two nodes, and both its policies want one that is.
    let mut local = service("local", "LoadBalancer", &ports());
    local["spec"]["internalTrafficPolicy"] = json!("Local");
    local["spec"]["externalTrafficPolicy"] = json!("Local");
    api.add_service("metrics", local)?;
    let elsewhere = |name: &str, ip: &str| {
        let ips = [ip.parse()?];
        let pod = PodSpec {
            name,
            app: "local",
            node: "elsewhere",
            ips: &ips,
        };
        api.add_pod("metrics", &pod)
    };
    elsewhere("first", "10.244.251.1")?;
    api.wait_endpoints("metrics", "local", "IPv4", 1)?;
    let mut kube_proxy =
        KubeProxy::start(cluster.control_plane(), theirs.sandbox(), theirs.name())?;
    let _agent = agent(&cluster, &ours)?;
    for node in [&theirs, &ours] {
        for path in ["healthz", "livez"] {
            let url = format!("http://127.0.0.1:10256/{path}");
            process::output(node.sandbox(), &["curl", "-s", &url])?;
        }
    }
    elsewhere("second", "10.244.251.2")?;

    let programmed = "kubeproxy_network_programming_duration_seconds_count{ip_family=\"IPv4\"}";
    for node in [&theirs, &ours] {
        poll::until_true(CHANGE, "a change is measured", || {
            Ok(value(&scrape(node)?, programmed).is_ok_and(|count| count > 0.5))
        })?;
    }
    for policy in ["internal", "external"] {
        let labels = format!("traffic_policy=\"{policy}\",ip_family=\"IPv4\"");
        let theirs_has = format!("ip_family=\"IPv4\",traffic_policy=\"{policy}\"");
        let name = "kubeproxy_sync_proxy_rules_no_local_endpoints_total";
        poll::until_true(CHANGE, "both count what is nowhere near", || {
            let us = value(&scrape(&ours)?, &format!("{name}{{{labels}}}"))?;
            let them = value(&scrape(&theirs)?, &format!("{name}{{{theirs_has}}}"))?;
            Ok((us - them).abs() < 0.5 && us > 1.5)
        })?;
    }

    let (them, us) = (families(&scrape(&theirs)?), families(&scrape(&ours)?));
    kube_proxy.check()?;
    ensure!(them.len() > 10, "only {them:#?}");
    let rows = documented()?;
    for (name, family) in &them {
        let absent = rows.get(name);
        let absent = absent.with_context(|| format!("{name} is not in docs/compat.md"))?;
        match (us.get(name), absent) {
            (None, true) => {}
            (Some(of_us), false) => assert_eq!(of_us, family, "{name}"),
            (found, _) => {
                anyhow::bail!("{name}: absent by the document is {absent}, here it is {found:?}")
            }
        }
    }
    for name in us.keys() {
        ensure!(them.contains_key(name), "kube-proxy has no {name}");
        ensure!(
            rows.get(name) == Some(&false),
            "{name} is not in docs/compat.md"
        );
    }
    Ok(())
}

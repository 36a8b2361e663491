//! Every query finds data of an agent that serves clients, and no alert is raised by one that is
//! well.

use std::{collections::BTreeSet, fs};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{cluster::chart, one_node::OneNode};

use super::{
    prometheus::Prometheus,
    rules::{alerts, name},
};

/// Of the kubernetes-mixin's dashboard `proxy` and its alert, without what is Go's own
/// (`go_goroutines`, `rest_client_*`).
const MIXIN: [&str; 7] = [
    r#"sum(up{job="kube-proxy"})"#,
    r#"sum(rate(kubeproxy_sync_proxy_rules_duration_seconds_count{job="kube-proxy"}[10s]))"#,
    r#"histogram_quantile(0.99, rate(kubeproxy_sync_proxy_rules_duration_seconds_bucket{job="kube-proxy"}[10s]))"#,
    r#"sum(rate(kubeproxy_network_programming_duration_seconds_count{job="kube-proxy"}[10s]))"#,
    r#"histogram_quantile(0.99, sum(rate(kubeproxy_network_programming_duration_seconds_bucket{job="kube-proxy"}[10s])) by (instance, le))"#,
    r#"process_resident_memory_bytes{job="kube-proxy"}"#,
    r#"rate(process_cpu_seconds_total{job="kube-proxy"}[10s])"#,
];

/// The queries of the dashboard, with its variables at *All*.
fn dashboard() -> Result<Vec<String>> {
    let text = fs::read_to_string(chart::dir().join("files/dashboard.json"))?;
    let parsed: Value = serde_json::from_str(&text)?;
    let panels = parsed["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<String> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .map(|query| {
            ["$instance", "$namespace", "$service"]
                .iter()
                .fold(query.replace("$__rate_interval", "10s"), |query, name| {
                    query.replace(name, ".*")
                })
        })
        .collect();
    ensure!(queries.len() > 20, "{} queries", queries.len());
    Ok(queries)
}

/// The series that a query asks for: each metric, with its braces.
fn selectors(query: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(start) = rest.find("lb_agent_") {
        rest = &rest[start..];
        let name = rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(rest.len());
        let end = if rest[name..].starts_with('{') {
            rest.find('}').map_or(rest.len(), |end| end + 1)
        } else {
            name
        };
        found.insert(&rest[..end]);
        rest = &rest[end..];
    }
    found
}

#[test]
fn every_query_finds_data_of_a_running_agent() -> Result<()> {
    let bed = OneNode::new()?;
    let hammer = bed.hammer_web()?;
    let prometheus = Prometheus::start(&bed.node)?;
    for query in dashboard()?.iter().map(String::as_str).chain(MIXIN) {
        ensure!(!prometheus.query(query)?.is_empty(), "no data: {query}");
    }
    let down = r#"absent(up{job="kube-proxy"} == 1)"#;
    ensure!(prometheus.query(down)?.is_empty(), "kube-proxy is down");
    let mut asked = 0;
    for alert in &alerts()? {
        let (name, query) = (name(alert)?, &alert["expr"]);
        let query = query.as_str().context("an alert without a query")?;
        for selector in selectors(query) {
            let found = prometheus.query(&format!("count({selector})"))?;
            ensure!(!found.is_empty(), "{name}: no data: {selector}");
            asked += 1;
        }
        let raised = prometheus.query(query)?;
        ensure!(
            raised.is_empty(),
            "{name} on an agent that is well: {raised:?}"
        );
    }
    ensure!(asked > alerts()?.len(), "{asked} selectors");
    hammer.stop()?;
    Ok(())
}

#[test]
fn selectors_of_a_query_are_found() {
    let query = "rate(lb_agent_a_total{x=\"y\"}[5m]) / on (map) lb_agent_b > 1";
    let expected = ["lb_agent_a_total{x=\"y\"}", "lb_agent_b"];
    assert_eq!(selectors(query), expected.into());
}

//! The reading of what the agent shows: `get services -o json`, `status -o json` and `/metrics`, by
//! the names that are promised to be stable, and its rules.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::{agent, node::Node};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct List {
    api_version: String,
    items: Vec<Frontend>,
}

/// What clients connect to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frontend {
    /// `TCP` or `UDP`
    pub protocol: String,
    /// IPv6 in brackets; `*` and `[*]` for node ports.
    pub address: String,
    /// Port.
    pub port: u16,
    /// `random`, `rr`, …
    pub scheduler: String,
    /// Open connections that each backend may have, 0: any number; agents before this one did not
    /// tell.
    #[serde(default)]
    pub max_connections: u32,
    /// How old TCP connections may become, in seconds; 0: any age.
    #[serde(default)]
    pub max_connection_age_seconds: u32,
    /// In the order of their addresses.
    pub backends: Vec<Backend>,
}

/// Who serves it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Stable across restarts.
    pub id: u32,
    /// IPv6 in brackets.
    pub address: String,
    /// Port.
    pub port: u16,
    /// 0 gets nothing new.
    pub weight: u16,
    /// Open connections.
    pub active_connections: u64,
    /// Flows that are not open yet, or over; agents before this one did not tell.
    #[serde(default)]
    pub inactive_connections: u64,
    /// `ready`, `terminating`, `draining`.
    pub state: String,
}

/// A Service that is only partly programmed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PartiallyProgrammed {
    /// Namespace and name.
    pub service: String,
    /// Sentences.
    pub problems: Vec<String>,
}

/// What `get services -o json` says beside the frontends.
pub fn partially_programmed(node: &Node) -> Result<Vec<PartiallyProgrammed>> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Beside {
        partially_programmed: Vec<PartiallyProgrammed>,
    }
    let text = agent::verb_with_state(node, &["get", "services", "-o", "json"])?;
    let beside: Beside =
        serde_json::from_str(&text).context("partiallyProgrammed is not as promised")?;
    Ok(beside.partially_programmed)
}

/// The sum of a metric over all its labels, such as `lb_agent_map_writes_total`.
pub fn metric_sum(node: &Node, name: &str) -> Result<f64> {
    let text = metrics(node)?;
    let values = text.lines().filter_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix('{')?
            .rsplit(' ')
            .next()
    });
    let values: Vec<f64> = values.map(str::parse).collect::<Result<_, _>>()?;
    anyhow::ensure!(
        !values.is_empty(),
        "no metric {name} with labels in\n{text}"
    );
    Ok(values.iter().sum())
}

/// All frontends of the node.
pub fn frontends(node: &Node) -> Result<Vec<Frontend>> {
    let list: List = serde_json::from_value(agent::services(node)?)
        .context("get services -o json is not as promised")?;
    anyhow::ensure!(
        list.api_version == "lb-agent.io/v1",
        "apiVersion {}",
        list.api_version
    );
    Ok(list.items)
}

/// The one with this protocol, address and port.
pub fn frontend(node: &Node, protocol: &str, address: &str, port: u16) -> Result<Frontend> {
    let all = frontends(node)?;
    let found = all
        .iter()
        .find(|f| (f.protocol.as_str(), f.address.as_str(), f.port) == (protocol, address, port));
    found
        .cloned()
        .with_context(|| format!("no frontend {protocol} {address}:{port} among {all:#?}"))
}

/// The backend that TCP reaches at this address.
pub fn backend(node: &Node, at: SocketAddr) -> Result<Backend> {
    let (address, port) = (at.to_string(), at.port());
    let all = frontends(node)?;
    let tcp = all.iter().filter(|frontend| frontend.protocol == "TCP");
    let found = tcp
        .flat_map(|frontend| &frontend.backends)
        .find(|b| b.port == port && format!("{}:{}", b.address, b.port) == address);
    found
        .cloned()
        .with_context(|| format!("no backend {at} among {all:#?}"))
}

/// Open connections by the backends' `address:port`, both protocols together.
pub fn active(node: &Node) -> Result<BTreeMap<String, u64>> {
    // Many frontends share a backend.
    let backends = frontends(node)?
        .into_iter()
        .flat_map(|frontend| frontend.backends);
    let once: BTreeMap<u32, Backend> = backends.map(|backend| (backend.id, backend)).collect();
    let mut sums = BTreeMap::new();
    for Backend {
        address,
        port,
        active_connections,
        ..
    } in once.into_values()
    {
        *sums.entry(format!("{address}:{port}")).or_default() += active_connections;
    }
    Ok(sums)
}

/// Open connections of all backends.
pub fn all_active(node: &Node) -> Result<u64> {
    Ok(active(node)?.values().sum())
}

/// The text of `/metrics`.
pub fn metrics(node: &Node) -> Result<String> {
    let (status, text) = agent::http(node, agent::METRICS, "/metrics")?;
    anyhow::ensure!(status == 200, "/metrics says {status}: {text}");
    Ok(text)
}

/// One value of `/metrics`, by its whole name with labels, such as `lb_agent_syncs_total{result="ok"}`.
pub fn metric(node: &Node, name: &str) -> Result<f64> {
    let text = metrics(node)?;
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    found
        .with_context(|| format!("no metric {name} in\n{text}"))?
        .parse()
        .context("a metric is a number")
}

/// A counter of the node's kernel side, by its reason.
pub fn counted(node: &Node, reason: &str) -> Result<u64> {
    let text = agent::verb(node, &["status", "-o", "json"])?;
    let told: Value = serde_json::from_str(&text).context("read the JSON of status")?;
    let reasons = told["reasons"].as_array().context("status tells reasons")?;
    let found = reasons.iter().find(|r| r[0] == reason);
    Ok(found.and_then(|r| r[1].as_u64()).unwrap_or(0))
}

/// The node's routing rules that the agent made, both families, sorted.
pub fn rules(node: &Node) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for family in ["-4", "-6"] {
        let text = node.run(&["ip", family, "rule", "show"])?;
        let ours = text.lines().filter(|line| line.contains("proto 108"));
        all.extend(ours.map(str::to_owned));
    }
    all.sort();
    Ok(all)
}

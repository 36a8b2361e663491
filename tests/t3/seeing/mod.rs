//! What an operator sees: names, lists and their filters, schemas.

mod browser;
mod dump;
mod explain;
mod get;
mod metrics;
mod names;
mod on_call;
mod page;
mod page_enemies;
mod schema;
mod top;
mod top_screen;
mod trace;
mod verbs;
mod views;

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::{
    agent::{self, CHANGE, Start},
    manifest::Service,
    one_node::{self, OneNode},
    poll,
};

/// The manifest with labels on its Service and a zone on its endpoints.
fn labelled(service: &Service) -> String {
    let text = service.yaml();
    let labels = "  namespace: default\n  labels: {app: web, tier: front}\n";
    let text = text.replacen("  namespace: default\n", labels, 1);
    text.replace("  conditions: ", "  zone: zone-a\n  conditions: ")
}

/// The service `web` with labels and zones, and `other`, which has neither.
fn bed() -> Result<OneNode> {
    let bed = OneNode::with(Start::new(), |node| {
        let other = one_node::behind(
            "other",
            testbed::addr::vip(71),
            &one_node::web_pods(node)[..1],
        );
        vec![other.port(one_node::PORT, one_node::TARGET)]
    })?;
    let web = one_node::web(&bed.node).affinity(600);
    bed.node.write_manifest(&web.file(), &labelled(&web))?;
    poll::until_true(CHANGE, "the names are known", || {
        let all = get(&bed, &["services"])?;
        let mut names = all["items"].as_array().into_iter().flatten();
        Ok(names.any(|f| f["service"]["name"] == "web"))
    })?;
    Ok(bed)
}

/// `get … -o json`
fn get(bed: &OneNode, words: &[&str]) -> Result<Value> {
    let text = agent::verb(&bed.node, &[&["get"], words, &["-o", "json"]].concat())?;
    serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))
}

/// The items of [`get`].
fn items(bed: &OneNode, words: &[&str]) -> Result<Vec<Value>> {
    let all = get(bed, words)?;
    Ok(all["items"].as_array().context("no items")?.clone())
}

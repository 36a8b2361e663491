//! `trace`: each decision as it is made, and nothing of it when nobody looks.

mod filters;
mod output;
mod packets;
mod sessions;
mod sockets;

use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use testbed::{
    addr::{self, Both},
    agent::{self, CHANGE, Start},
    node::Node,
    one_node::{self, OneNode, PORT, TARGET},
    poll,
    process::Process,
};

/// Without endpoints.
const EMPTY_VIP: Both = addr::vip(20);
const EMPTY_NODE_PORT: u16 = 30081;

/// A running `trace -o json`.
struct Trace(Process);

impl Trace {
    /// Starts it with these words more, and waits until it looks on.
    fn start(node: &Node, name: &str, words: &[&str]) -> Result<Self> {
        let binary = agent::binary()?.display().to_string();
        let dir = node.bpf_dir().display().to_string();
        let line = [
            &[binary.as_str(), "trace", "-o", "json", "--bpf-dir", &dir][..],
            words,
        ]
        .concat();
        let log = node.files().join(format!("trace-{name}"));
        let mut trace = Self(node.spawn(&line, &log)?);
        poll::until_true(CHANGE, "trace looks on", || {
            ensure!(trace.0.ended()?.is_none(), "it ended: {}", trace.0.said()?);
            Ok(trace.0.said()?.contains("lb-agent: tracing\n"))
        })?;
        Ok(trace)
    }

    /// The decisions that it has shown.
    fn decisions(&self) -> Result<Vec<Value>> {
        let said = self.0.said()?;
        // The last line may be half written.
        let whole = said.rfind('\n').map_or("", |end| &said[..end]);
        let lines = whole.lines().filter(|line| line.starts_with('{'));
        lines
            .map(|line| serde_json::from_str(line).with_context(|| line.to_owned()))
            .collect()
    }

    /// The decisions until there is one of which this holds.
    fn until(&self, what: &str, holds: impl Fn(&Value) -> bool) -> Result<Vec<Value>> {
        let seen = poll::until(CHANGE, what, || {
            let all = self.decisions()?;
            Ok(all.iter().any(&holds).then_some(all))
        });
        seen.with_context(|| self.0.said().unwrap_or_default())
    }
}

/// Was it counted under this reason?
fn has(decision: &Value, reason: &str) -> bool {
    let all = decision["reasons"].as_array().into_iter().flatten();
    all.into_iter().any(|r| r == reason)
}

fn is_for(decision: &Value, frontend: SocketAddr) -> bool {
    decision["frontend"] == frontend.to_string()
}

/// The services `web` and `empty`, whose names are kept.
fn stage(start: Start) -> Result<OneNode> {
    let bed = OneNode::with(start, |node| {
        let empty = one_node::behind("empty", EMPTY_VIP, &[]);
        let empty = empty.node_port(PORT, TARGET, EMPTY_NODE_PORT);
        vec![one_node::web(node), empty]
    })?;
    poll::until_true(CHANGE, "the names are kept", || {
        let text = agent::verb(&bed.node, &["get", "services", "-o", "name"])?;
        Ok(text.contains("default/web") && text.contains("default/empty"))
    })?;
    Ok(bed)
}

//! The agents' pods: one for each node.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::Nodes;

/// Of the chart, where the pod does not say.
const CONTAINER: &str = "agent";
/// Which container a command runs in if none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// A pod of an agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AgentPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) container: String,
    /// Why nothing can run in it.
    pub(super) unfit: Option<String>,
}

/// The agents that are to be asked, by node.
pub(super) async fn find(nodes: &Nodes<'_>) -> Result<BTreeMap<String, Result<AgentPod>>> {
    let agents = nodes.agents;
    let client = nodes.client.clone();
    let api: Api<Pod> = match &agents.agent_namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let params = ListParams::default().labels(&agents.agent_selector);
    let listing = api.list(&params);
    let pods = tokio::time::timeout(agents.timeout, listing)
        .await
        .with_context(|| format!("the API server has not answered in {:?}", agents.timeout))?
        .context("list the agents' pods")?;
    let found = by_node(pods.items);
    ensure!(
        !found.is_empty(),
        "no pod has the labels {} in {}: see --agent-selector and --agent-namespace",
        agents.agent_selector,
        match &agents.agent_namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => "any namespace".to_owned(),
        }
    );
    Ok(chosen(found, &agents.node))
}

/// Of several on a node, such as during an update, the one that commands can run in.
fn by_node(pods: Vec<Pod>) -> BTreeMap<String, AgentPod> {
    let mut found: BTreeMap<String, AgentPod> = BTreeMap::new();
    for pod in pods {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        // One without a node waits to be placed.
        let Some(node) = node else { continue };
        let pod = agent(&pod);
        match found.get(&node) {
            Some(known) if known.unfit.is_none() || pod.unfit.is_some() => {}
            _ => drop(found.insert(node, pod)),
        }
    }
    found
}

fn agent(pod: &Pod) -> AgentPod {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    let unfit = match phase {
        _ if pod.metadata.deletion_timestamp.is_some() => Some("is ending".to_owned()),
        Some("Running") => None,
        other => Some(format!("is {}", other.unwrap_or("in no phase"))),
    };
    let default = pod.annotations().get(DEFAULT_CONTAINER);
    AgentPod {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        container: default.map_or(CONTAINER, String::as_str).to_owned(),
        unfit,
    }
}

/// Those of these nodes, or all.
fn chosen(
    mut found: BTreeMap<String, AgentPod>,
    wanted: &[String],
) -> BTreeMap<String, Result<AgentPod>> {
    if wanted.is_empty() {
        return found
            .into_iter()
            .map(|(node, pod)| (node, Ok(pod)))
            .collect();
    }
    let of = |node: &String| {
        let pod = found.remove(node);
        let pod = pod.ok_or_else(|| anyhow!("no pod of an agent is on this node"));
        (node.clone(), pod)
    };
    let mut wanted: Vec<&String> = wanted.iter().collect();
    wanted.sort();
    wanted.dedup();
    wanted.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: &str, phase: &str, ending: bool) -> Pod {
        let at = if ending {
            json!("2026-01-01T00:00:00Z")
        } else {
            Value::Null
        };
        let value = json!({
            "metadata": {"name": name, "namespace": "lb", "deletionTimestamp": at},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": phase},
        });
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_node_has_one_agent_and_it_is_one_that_runs() {
        let old = pod("old", "a", "Running", true);
        let new = pod("new", "a", "Running", false);
        let waiting = pod("waiting", "b", "Pending", false);
        for pods in [
            [old.clone(), new.clone(), waiting.clone()],
            [waiting, new, old],
        ] {
            let found = by_node(pods.into());
            assert_eq!(found["a"].name, "new");
            assert_eq!(found["a"].container, "agent");
            assert_eq!(found["b"].unfit.as_deref(), Some("is Pending"));
            let chosen = chosen(found, &["c".to_owned(), "a".to_owned(), "a".to_owned()]);
            assert_eq!(chosen.keys().collect::<Vec<_>>(), ["a", "c"]);
            assert!(chosen["a"].is_ok() && chosen["c"].is_err());
        }
    }
}

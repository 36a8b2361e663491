//! The agents' pods: one for each node.

use std::collections::{BTreeMap, BTreeSet};

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
    let found = by_node(pods.items)?;
    ensure!(
        !found.is_empty(),
        "no pod of a DaemonSet with the labels {} is on its node's network in {}: see --agent-selector and --agent-namespace",
        agents.agent_selector,
        match &agents.agent_namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => "any namespace".to_owned(),
        }
    );
    Ok(chosen(found, &agents.node))
}

/// Of several on a node, such as during an update, the one that commands can run in.
///
/// Whoever may make pods may give them the agents' labels. An agent is of a DaemonSet (Kubernetes
/// removes a pod that claims one that does not own it) and on its node's network, which is not for
/// everybody; and agents in two namespaces are those of two owners, who are not mixed.
fn by_node(pods: Vec<Pod>) -> Result<BTreeMap<String, AgentPod>> {
    let mut found: BTreeMap<String, AgentPod> = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    for pod in pods {
        if !is_of_daemon_set(&pod) {
            continue;
        }
        let spec = pod.spec.clone().unwrap_or_default();
        // One without a node waits to be placed.
        let (Some(node), Some(true)) = (spec.node_name, spec.host_network) else {
            continue;
        };
        let pod = agent(&pod);
        namespaces.insert(pod.namespace.clone());
        match found.get(&node) {
            Some(known) if known.unfit.is_none() || pod.unfit.is_some() => {}
            _ => drop(found.insert(node, pod)),
        }
    }
    ensure!(
        namespaces.len() <= 1,
        "pods with the agents' labels are in several namespaces, {}: name the agents' with --agent-namespace",
        Vec::from_iter(namespaces).join(", ")
    );
    Ok(found)
}

fn is_of_daemon_set(pod: &Pod) -> bool {
    let mut owners = pod.owner_references().iter();
    owners.any(|owner| owner.controller == Some(true) && owner.kind == "DaemonSet")
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
            "metadata": {
                "name": name,
                "namespace": "lb",
                "deletionTimestamp": at,
                "ownerReferences": [{
                    "apiVersion": "apps/v1",
                    "kind": "DaemonSet",
                    "name": "lb-agent",
                    "uid": "1",
                    "controller": true,
                }],
            },
            "spec": {"nodeName": node, "hostNetwork": true, "containers": []},
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
            let found = by_node(pods.into()).unwrap();
            assert_eq!(found["a"].name, "new");
            assert_eq!(found["a"].container, "agent");
            assert_eq!(found["b"].unfit.as_deref(), Some("is Pending"));
            let chosen = chosen(found, &["c".to_owned(), "a".to_owned(), "a".to_owned()]);
            assert_eq!(chosen.keys().collect::<Vec<_>>(), ["a", "c"]);
            assert!(chosen["a"].is_ok() && chosen["c"].is_err());
        }
    }

    #[test]
    fn pods_of_others_are_no_agents() {
        let agent = pod("agent", "a", "Running", false);
        let mut tenants = pod("agent-0", "a", "Running", false);
        tenants.metadata.namespace = Some("shop".to_owned());
        let error = by_node(vec![tenants.clone(), agent.clone()]).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(" lb, shop: name") && error.contains("--agent-namespace"));
        let mut alone = tenants.clone();
        alone.metadata.owner_references = None;
        let mut replica = tenants.clone();
        let owners = replica.metadata.owner_references.iter_mut().flatten();
        owners.for_each(|owner| "ReplicaSet".clone_into(&mut owner.kind));
        for pod in [alone, replica] {
            assert!(by_node(vec![pod]).unwrap().is_empty());
        }
        for network in [Some(false), None] {
            tenants.spec.as_mut().unwrap().host_network = network;
            let found = by_node(vec![tenants.clone(), agent.clone()]).unwrap();
            assert_eq!(found["a"].namespace, "lb");
            assert!(by_node(vec![tenants.clone()]).unwrap().is_empty());
        }
    }
}

//! The agents' pods: one for each node.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _, api::ListParams};

use super::{Nodes, agent_pod::AgentPod};

/// So many pods that are no agents are named.
const NAMED: usize = 5;

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
    let found = by_node(&pods.items)?;
    if found.is_empty() {
        let place = match &agents.agent_namespace {
            Some(namespace) => format!("namespace {namespace}"),
            None => "any namespace".to_owned(),
        };
        bail!(
            "no pod of a DaemonSet with the labels {} is on its node's network in {place}{}: see --agent-selector and --agent-namespace",
            agents.agent_selector,
            left_out(&pods.items)
        );
    }
    Ok(chosen(found, &agents.node))
}

/// Of several on a node, such as during an update, the one that commands can run in. Agents in two
/// namespaces are those of two owners, who are not mixed.
fn by_node(pods: &[Pod]) -> Result<BTreeMap<String, AgentPod>> {
    let mut found: BTreeMap<String, AgentPod> = BTreeMap::new();
    let mut namespaces = BTreeSet::new();
    for (node, pod) in pods.iter().filter_map(|pod| AgentPod::of(pod).ok()) {
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

/// Pods with the agents' labels that are none, and why: ` (NAMESPACE/NAME is …, …)`.
fn left_out(pods: &[Pod]) -> String {
    let mut all = pods.iter().filter_map(|pod| {
        let why = AgentPod::of(pod).err()?;
        let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
        Some(format!("{namespace}/{name} {why}"))
    });
    let mut text = all.by_ref().take(NAMED).collect::<Vec<_>>().join(", ");
    match all.count() {
        0 if text.is_empty() => return text,
        0 => {}
        more => drop(write!(text, ", and {more} more")),
    }
    format!(" ({text})")
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
            let found = by_node(&pods).unwrap();
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
        let error = by_node(&[tenants.clone(), agent.clone()]).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(" lb, shop: name") && error.contains("--agent-namespace"));
        let mut alone = tenants.clone();
        alone.metadata.owner_references = None;
        let mut replica = tenants.clone();
        let owners = replica.metadata.owner_references.iter_mut().flatten();
        owners.for_each(|owner| "ReplicaSet".clone_into(&mut owner.kind));
        let mut other_group = tenants.clone();
        let owners = other_group.metadata.owner_references.iter_mut().flatten();
        owners.for_each(|owner| "example.com/v1".clone_into(&mut owner.api_version));
        for pod in [alone, replica, other_group] {
            assert!(by_node(&[pod]).unwrap().is_empty());
        }
        for network in [Some(false), None] {
            tenants.spec.as_mut().unwrap().host_network = network;
            let found = by_node(&[tenants.clone(), agent.clone()]).unwrap();
            assert_eq!(found["a"].namespace, "lb");
            assert!(by_node(&[tenants.clone()]).unwrap().is_empty());
        }
    }
    #[test]
    fn pods_that_are_no_agents_are_named_with_the_reason() {
        let mut pods = vec![
            pod("a", "n", "Running", false),
            pod("b", "n", "Running", false),
            pod("c", "n", "Running", false),
        ];
        pods[0].metadata.owner_references = None;
        pods[1].spec.as_mut().unwrap().host_network = None;
        pods[2].spec.as_mut().unwrap().node_name = None;
        assert_eq!(
            left_out(&pods),
            " (lb/a is of no DaemonSet, lb/b is not on its node's network, lb/c is on no node)"
        );
        let many = vec![pods[0].clone(); NAMED + 2];
        assert!(left_out(&many).ends_with(", and 2 more)"));
        assert_eq!(left_out(&[]), "");
    }
}

//! A pod of an agent.

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

/// Of the chart, where the pod does not say.
const CONTAINER: &str = "agent";
/// Which container a command runs in if none is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// Where a verb runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct AgentPod {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) container: String,
    /// Why nothing can run in it.
    pub(super) unfit: Option<String>,
}

impl AgentPod {
    /// The pod, with its node; or why it is no agent's.
    ///
    /// Whoever may make pods may give them the agents' labels. An agent is of a DaemonSet (Kubernetes
    /// removes a pod that claims one that does not own it) and on its node's network, which is not
    /// for everybody.
    pub(super) fn of(pod: &Pod) -> Result<(String, Self), &'static str> {
        if !is_of_daemon_set(pod) {
            return Err("is of no DaemonSet");
        }
        let spec = pod.spec.as_ref();
        if spec.and_then(|spec| spec.host_network) != Some(true) {
            return Err("is not on its node's network");
        }
        let node = spec.and_then(|spec| spec.node_name.clone());
        let node = node.ok_or("is on no node")?;
        let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
        let unfit = match phase {
            _ if pod.metadata.deletion_timestamp.is_some() => Some("is ending".to_owned()),
            Some("Running") => None,
            other => Some(format!("is {}", other.unwrap_or("in no phase"))),
        };
        let default = pod.annotations().get(DEFAULT_CONTAINER);
        let pod = Self {
            namespace: pod.namespace().unwrap_or_default(),
            name: pod.name_any(),
            container: default.map_or(CONTAINER, String::as_str).to_owned(),
            unfit,
        };
        Ok((node, pod))
    }
}

fn is_of_daemon_set(pod: &Pod) -> bool {
    let mut owners = pod.owner_references().iter();
    owners.any(|owner| {
        owner.controller == Some(true)
            && (owner.api_version.as_str(), owner.kind.as_str()) == ("apps/v1", "DaemonSet")
    })
}

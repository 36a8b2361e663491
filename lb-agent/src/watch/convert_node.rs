//! Node: from the API's type to the model's.

use k8s_openapi::api::core::v1 as api;

use crate::model::{Node, cidr::parse_ip};

/// Label of the node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Taint of a node that the autoscaler takes away (KEP-3836).
const LEAVING: &str = "ToBeDeletedByClusterAutoscaler";

/// The Node; an address that cannot be read is left out.
#[must_use]
pub fn node(object: &api::Node) -> Node {
    let meta = &object.metadata;
    let addresses = object
        .status
        .as_ref()
        .and_then(|s| s.addresses.as_deref())
        .unwrap_or_default();
    let taints = object
        .spec
        .as_ref()
        .and_then(|s| s.taints.as_deref())
        .unwrap_or_default();
    Node {
        name: meta.name.as_deref().unwrap_or_default().into(),
        zone: meta
            .labels
            .as_ref()
            .and_then(|l| l.get(ZONE))
            .filter(|zone| !zone.is_empty())
            .map(|zone| zone.as_str().into()),
        addresses: addresses
            .iter()
            .filter(|a| matches!(a.type_.as_str(), "InternalIP" | "ExternalIP"))
            .filter_map(|a| parse_ip(&a.address))
            .collect(),
        leaving: meta.deletion_timestamp.is_some() || taints.iter().any(|t| t.key == LEAVING),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Node {
        node(&serde_saphyr::from_str(yaml).unwrap())
    }

    #[test]
    fn zone_and_addresses() {
        let n = read(
            "apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: a}}
status:
  addresses:
  - {type: Hostname, address: n1}
  - {type: InternalIP, address: 010.0.0.1}
  - {type: InternalIP, address: 'fd66::1'}
  - {type: ExternalIP, address: 203.0.113.9}
",
        );
        assert_eq!(
            (&*n.name, n.zone.as_deref(), n.leaving),
            ("n1", Some("a"), false)
        );
        let ips: Vec<_> = n.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.0.0.1", "fd66::1", "203.0.113.9"]);
    }

    #[test]
    fn deletion_and_the_autoscalers_taint_mean_leaving() {
        let head = "apiVersion: v1\nkind: Node\n";
        let deleted = "metadata: {name: n1, deletionTimestamp: '2026-01-01T00:00:00Z'}\n";
        let tainted = "metadata: {name: n1}\nspec: {taints: [{key: ToBeDeletedByClusterAutoscaler, effect: NoSchedule}]}\n";
        let other = "metadata: {name: n1}\nspec: {taints: [{key: other, effect: NoSchedule}]}\n";
        assert!(read(&format!("{head}{deleted}")).leaving);
        assert!(read(&format!("{head}{tainted}")).leaving);
        let n = read(&format!("{head}{other}"));
        assert!(!n.leaving && n.zone.is_none());
    }
}

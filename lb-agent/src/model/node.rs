//! What the agent knows of its own Node.

use std::sync::Arc;

/// The Node this agent runs on, as the API server tells it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// Label `topology.kubernetes.io/zone`.
    pub zone: Option<Arc<str>>,
    /// `status.addresses` of type InternalIP and ExternalIP.
    pub addresses: Vec<std::net::IpAddr>,
    /// Being deleted, or tainted `ToBeDeletedByClusterAutoscaler` (KEP-3836): not eligible for new
    /// traffic from outside.
    pub leaving: bool,
}

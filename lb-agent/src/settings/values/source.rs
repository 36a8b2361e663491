//! Where Services, EndpointSlices and Nodes are read from.

use std::path::PathBuf;

/// Where objects come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// The cluster this process is a Pod of.
    InCluster,
    /// The cluster that a kubeconfig names.
    Kubeconfig(PathBuf),
    /// YAML files of a folder.
    Manifests(PathBuf),
}

//! The network of a node's pods: a route to each, as the testbed's routed nodes have it.

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;
use testbed::{
    addr::{self, Both},
    node::Node,
};

use super::files;

/// Writes what containerd hands to the plugins.
pub(super) fn write(node: &Node) -> Result<()> {
    let Both { v4, v6 } = addr::pod(node.number(), 0);
    let config = json!({
        "cniVersion": "1.0.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                // Other nodes have routes to the pods' own addresses.
                "ipMasq": false,
                "ipam": {
                    "type": "host-local",
                    "ranges": [
                        [{"subnet": format!("{v4}/24")}],
                        [{"subnet": format!("{v6}/64")}],
                    ],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    });
    let dir = files(node).join("cni");
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join("10-pods.conflist");
    fs::write(&path, config.to_string()).with_context(|| format!("write {}", path.display()))
}

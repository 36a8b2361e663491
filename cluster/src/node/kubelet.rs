//! The kubelet of a node.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::json;
use testbed::{
    addr::{self, Both},
    cluster::{Cluster, Daemon, node_token, tool, words},
    node::Node,
};

use super::{containerd, files, zone};

/// Starts it in the namespaces of that process.
pub(super) fn start(cluster: &Cluster, node: &Node, beside: u32, logs: &Path) -> Result<Daemon> {
    let files = files(node);
    let resolv_conf = files.join("resolv.conf");
    // Pods with the node's DNS have none: there is nothing outside.
    fs::write(&resolv_conf, "").with_context(|| format!("write {}", resolv_conf.display()))?;
    let cgroup = node.root_cgroup().path().file_name().unwrap_or_default();
    let Both { v4, v6 } = addr::vip(crate::DNS);
    let config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Nobody else reaches it.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": format!("/{}", cgroup.display()),
        "clusterDNS": [v4, v6],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": format!("unix://{}", containerd::socket(node).display()),
        "resolvConf": resolv_conf,
        // Not below /usr of the machine.
        "volumePluginDir": files.join("plugins"),
        // A machine may have cgroup v1, swap, and a full disk.
        "failCgroupV1": false,
        "failSwapOn": false,
        "localStorageCapacityIsolation": false,
        "evictionHard": {"memory.available": "0%", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        // Without CAP_SYS_RESOURCE it cannot lower its own.
        "oomScoreAdj": 0,
        "makeIPTablesUtilChains": false,
        // Sooner than by default: a person waits.
        "syncFrequency": "5s",
    });
    let path = files.join("kubelet.json");
    fs::write(&path, config.to_string()).with_context(|| format!("write {}", path.display()))?;
    let user = node.name();
    let kubeconfig = cluster
        .control_plane()
        .kubeconfig(user, &node_token(node.number()))?;
    let Both { v4, v6 } = node.addr();
    let mut line = words(
        "nsenter",
        &["--mount", "--uts", "--target", &beside.to_string()],
    );
    line.push(tool("kubelet")?.into());
    for (flag, value) in [
        ("--config", path.into_os_string()),
        ("--kubeconfig", kubeconfig.into_os_string()),
        ("--hostname-override", user.into()),
        ("--node-ip", format!("{v4},{v6}").into()),
        (
            "--node-labels",
            format!(
                "topology.kubernetes.io/region=region,topology.kubernetes.io/zone={}",
                zone(node)
            )
            .into(),
        ),
    ] {
        line.extend([flag.into(), value]);
    }
    Daemon::start(&format!("kubelet-{user}"), &line, node.sandbox(), logs)
}

//! The key of the hash that places connections: made of what identifies the cluster.

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Namespace;
use lb_agent::{
    flows::hash_key::HashKeyTable,
    maps::{dir::BpfDir, pinned::Access},
};
use lb_common::hash::HashKey;
use testbed::{agent::CHANGE, cluster::Cluster, poll};

use crate::cluster::common::agent;

#[test]
fn nodes_of_one_cluster_have_one_key_made_of_the_uid_of_kube_system() -> Result<()> {
    let cluster = Cluster::shared()?;
    // The API server makes it when it starts.
    let uid = poll::until(CHANGE, "the namespace kube-system exists", || {
        let namespace = cluster.client().get_global::<Namespace>("kube-system");
        Ok(namespace?.and_then(|found| found.metadata.uid))
    })?;
    let wanted = HashKey::of(uid.as_bytes());
    for number in [11, 12] {
        let node = cluster.node(number)?;
        let running = agent(&cluster, &node)?;
        let dir = BpfDir::at(node.bpf_dir());
        poll::until_true(CHANGE, "the key is written", || {
            let table = HashKeyTable::open(&dir, Access::Read).context("no map")?;
            Ok(table.read()? == wanted)
        })?;
        running.stop()?;
    }
    Ok(())
}

//! The key of the hashes that place packets: from the secret of `--cluster-key-file`, or from the
//! cluster's own identity once the API server has told it.

use anyhow::Result;
use lb_common::hash::HashKey;
use tracing::{error, info};

use crate::{
    flows::hash_key::{self, HashKeyTable},
    maps::{dir::BpfDir, pinned::Access},
    model::Event,
    settings::{Config, values::Source},
};

/// The key in use, and what may change it.
pub(super) struct ClusterKey {
    table: HashKeyTable,
    origin: Origin,
}

/// What the key is made of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The secret of a file.
    File,
    /// Whatever identifies the cluster.
    Cluster,
}

impl ClusterKey {
    /// The key of a file holds at once. Without one, the key of a previous agent holds until the
    /// API server answers.
    pub(super) fn start(config: &Config, dir: &BpfDir) -> Result<Self> {
        let table = HashKeyTable::open(dir, Access::Write)?;
        let Some(path) = &config.cluster_key_file else {
            let manifests = matches!(config.source, Source::Manifests(_));
            if manifests && table.read()?.is_absent() {
                info!(
                    "no key: whoever knows the hash can choose its backend; nodes are given the same secret by --cluster-key-file"
                );
            }
            let origin = Origin::Cluster;
            return Ok(Self { table, origin });
        };
        let key = hash_key::of_file(path)?;
        if table.write(key)? {
            info!(file = %path.display(), "key of the cluster read");
        }
        let origin = Origin::File;
        Ok(Self { table, origin })
    }

    /// An event was received.
    pub(super) fn received(&self, event: &Event) {
        let Event::ClusterUid(uid) = event else {
            return;
        };
        if self.origin == Origin::File {
            return;
        }
        match self.table.write(HashKey::of(uid.as_bytes())) {
            Ok(true) => info!("key of the cluster written"),
            Ok(false) => {}
            Err(error) => error!(%error, "the key of the cluster stays as it is"),
        }
    }
}

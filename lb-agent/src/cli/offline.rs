//! Manifests as an agent would have them, for verbs that need none.

use std::path::Path;

use anyhow::Result;

use super::args::OfflineArgs;
use crate::{
    model::Cluster,
    plan::PlanConfig,
    watch::manifests::{self, FileProblem},
};

/// What is read, and how it would be planned.
pub(super) struct Offline {
    /// Everything that could be read.
    pub(super) cluster: Cluster,
    /// Of an agent with default settings, but for what the command line says.
    pub(super) config: PlanConfig,
    /// Files that were read.
    pub(super) files: usize,
    /// What cannot be read.
    pub(super) problems: Vec<FileProblem>,
    /// What the agent would warn of.
    pub(super) warnings: Vec<String>,
}

impl Offline {
    /// Reads a folder, or a single file.
    pub(super) fn read(dir: &Path, args: &OfflineArgs) -> Result<Self> {
        let node = args.node_name.as_deref().unwrap_or_default();
        let read = manifests::read(dir, node)?;
        let mut cluster = Cluster::default();
        for event in read.lists {
            cluster.apply(event);
        }
        let config = PlanConfig {
            node_name: node.into(),
            external_ips: args.external_ip_cidrs.clone(),
            lb0: true,
            ..PlanConfig::default()
        };
        Ok(Self {
            cluster,
            config,
            files: read.files,
            problems: read.problems,
            warnings: read.warnings,
        })
    }
}

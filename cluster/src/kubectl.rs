//! The real kubectl, beside the API server.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};
use testbed::{
    cluster::{Cluster, tool},
    process,
    sandbox::Sandbox,
};

/// How long kubectl and helm wait for what is to become ready.
pub(crate) const TIMEOUT: &str = "--timeout=180s";

/// Ready to be run.
#[derive(Debug)]
pub struct Kubectl {
    sandbox: Sandbox,
    words: Vec<String>,
    files: PathBuf,
}

impl Kubectl {
    pub(crate) fn new(cluster: &Cluster) -> Result<Self> {
        let files = cluster.files().to_owned();
        let words = vec![
            "env".to_owned(),
            // It keeps what it has learnt of the API there.
            format!("HOME={}", files.display()),
            tool("kubectl")?.display().to_string(),
            format!("--kubeconfig={}", cluster.admin()?.display()),
        ];
        Ok(Self {
            sandbox: cluster.sandbox().clone(),
            words,
            files,
        })
    }

    /// Runs it to its end; its standard output, or an error with what it said.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        let words = self.words.iter().map(String::as_str);
        let words: Vec<&str> = words.chain(args.iter().copied()).collect();
        process::run(&self.sandbox, &words)
    }

    /// Makes the objects of a manifest.
    pub(crate) fn apply(&self, name: &str, yaml: &str) -> Result<()> {
        let path = self.files.join(format!("{name}.yaml"));
        fs::write(&path, yaml).with_context(|| format!("write {}", path.display()))?;
        let path = path.display().to_string();
        self.run(&["apply", "--filename", &path]).map(drop)
    }
}

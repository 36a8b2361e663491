//! What is said of the sources in everything that is shipped: version, commit, components.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use lb_dist::components::{self, Component};
use serde_json::Value;

use crate::cargo::{cargo, root};

pub(crate) const URL: &str = "https://github.com/lb-agent/lb-agent";

/// The sources of a program.
pub(crate) struct Sources {
    pub(crate) version: String,
    /// The commit, with `-dirty` if files differ from it; empty outside of git.
    pub(crate) revision: String,
    /// When it was committed, in seconds since 1970; `SOURCE_DATE_EPOCH` wins.
    pub(crate) time: u64,
    /// All crates, the programs in the kernel included.
    pub(crate) components: Vec<Component>,
}

impl Sources {
    /// Of the clone; `target` decides which dependencies there are.
    pub(crate) fn read(target: &str) -> Result<Self> {
        let mut all = crates("Cargo.toml", "Cargo.lock", target, "lb-agent")?;
        // The programs' object is part of the agent's file.
        all.extend(crates(
            "lb-ebpf/Cargo.toml",
            "lb-ebpf/Cargo.lock",
            target,
            "lb-ebpf",
        )?);
        all.sort();
        all.dedup_by(|one, other| (&one.name, &one.version) == (&other.name, &other.version));
        let agent = all
            .iter()
            .find(|it| it.name == "lb-agent")
            .context("no lb-agent")?;
        let version = agent.version.clone();
        let epoch = std::env::var("SOURCE_DATE_EPOCH").ok();
        let time = epoch
            .or_else(|| git(&["log", "-1", "--format=%ct"]))
            .unwrap_or_default();
        let mut revision = git(&["rev-parse", "HEAD"]).unwrap_or_default();
        if git(&["status", "--porcelain"]).is_some_and(|said| !said.is_empty()) {
            revision.push_str("-dirty");
        }
        Ok(Self {
            version,
            revision,
            time: time
                .parse()
                .context("neither git nor SOURCE_DATE_EPOCH says a time")?,
            components: all,
        })
    }

    /// The list of components, as CycloneDX.
    pub(crate) fn bom(&self) -> Result<Value> {
        let program = self.components.iter().find(|it| it.name == "lb-agent");
        let created = jiff::Timestamp::from_second(i64::try_from(self.time)?)?.to_string();
        let program = program.context("no lb-agent among its components")?;
        Ok(lb_dist::sbom::cyclonedx(
            program,
            &self.components,
            &created,
        ))
    }

    /// Labels of the image, by the names of the OCI.
    pub(crate) fn labels(&self) -> Vec<(String, String)> {
        let labels = [
            ("title", "lb-agent"),
            (
                "description",
                "Service load balancing in the kernel by eBPF, in place of kube-proxy",
            ),
            ("licenses", "MIT OR Apache-2.0"),
            ("source", URL),
            ("url", URL),
            (
                "documentation",
                "https://github.com/lb-agent/lb-agent/tree/main/docs",
            ),
            ("version", &self.version),
            ("revision", &self.revision),
        ];
        labels
            .map(|(name, value)| (format!("org.opencontainers.image.{name}"), value.to_owned()))
            .into()
    }
}

fn crates(manifest: &str, lock: &str, target: &str, package: &str) -> Result<Vec<Component>> {
    let said = cargo()?
        .args([
            "metadata",
            "--format-version=1",
            "--locked",
            "--filter-platform",
            target,
        ])
        .args(["--manifest-path", manifest])
        .output()
        .context("run cargo metadata")?;
    ensure!(
        said.status.success(),
        "cargo metadata of {manifest}: {}",
        String::from_utf8_lossy(&said.stderr)
    );
    let metadata: Value = serde_json::from_slice(&said.stdout).context("read cargo's JSON")?;
    let lock = root()?.join(lock);
    let lock = fs::read_to_string(&lock).with_context(|| format!("read {}", lock.display()))?;
    components::of(&metadata, &lock, package)
}

/// What git says on one line; `None` where there is no repository.
fn git(args: &[&str]) -> Option<String> {
    let said = Command::new("git")
        .current_dir(root().ok()?)
        .args(args)
        .output()
        .ok()?;
    let text = String::from_utf8(said.stdout).ok()?;
    said.status.success().then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_components_are_those_of_agent_and_programs() {
        let sources = Sources::read("x86_64-unknown-linux-gnu").unwrap();
        let names: Vec<&str> = sources
            .components
            .iter()
            .map(|it| it.name.as_str())
            .collect();
        for name in ["lb-agent", "lb-ebpf", "aya", "aya-ebpf", "kube", "tokio"] {
            assert!(names.contains(&name), "{name} is missing");
        }
        // For tests, and for building.
        for name in ["proptest", "insta", "lb-build"] {
            assert!(!names.contains(&name), "{name} is not in the program");
        }
        let nameless: Vec<_> = sources
            .components
            .iter()
            .filter(|it| it.licence.is_empty())
            .collect();
        assert!(nameless.is_empty(), "{nameless:?}");
        let bom = sources.bom().unwrap();
        assert!(bom["components"].as_array().unwrap().len() > 100);
        assert!(
            lb_dist::licences::text(&sources.components)
                .unwrap()
                .contains("Apache License")
        );
    }
}

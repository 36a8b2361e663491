//! The file in which a running agent keeps which Services are only partly programmed, for `get
//! services`, which may run when the agent is dead.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::model::ObjectKey;

/// Where an agent keeps its problems.
#[derive(Clone, Debug)]
pub struct ProblemFile {
    path: PathBuf,
    bpf_dir: PathBuf,
}

/// A Service that is only partly programmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartiallyProgrammed {
    /// Namespace and name.
    pub service: String,
    /// Sentences that name the field and the remedy.
    pub problems: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// Of the agent that wrote it: several agents may share a state directory by mistake.
    bpf_dir: PathBuf,
    services: Vec<PartiallyProgrammed>,
}

impl ProblemFile {
    /// The file in `state_dir` of the agent that works in `bpf_dir`.
    #[must_use]
    pub fn of(state_dir: &Path, bpf_dir: &Path) -> Self {
        Self {
            path: state_dir.join("problems.json"),
            bpf_dir: bpf_dir.to_owned(),
        }
    }

    /// What the agent of these pins reported last; nothing if it never did.
    pub fn load(&self) -> Result<Vec<PartiallyProgrammed>> {
        let path = self.path.display();
        let text = match fs::read(&self.path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            read => read.with_context(|| format!("read {path}"))?,
        };
        let Kept { bpf_dir, services } = serde_json::from_slice(&text)
            .with_context(|| format!("{path}: not what the agent wrote; remove it"))?;
        Ok(if bpf_dir == self.bpf_dir {
            services
        } else {
            Vec::new()
        })
    }

    /// Replaces the file: a reader sees the old one or the new one.
    pub fn store(&self, problems: &BTreeMap<ObjectKey, Vec<String>>) -> Result<()> {
        let path = self.path.display();
        let new = self.path.with_extension("new");
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
        }
        let services = problems
            .iter()
            .map(|(service, problems)| PartiallyProgrammed {
                service: service.to_string(),
                problems: problems.clone(),
            });
        let kept = Kept {
            bpf_dir: self.bpf_dir.clone(),
            services: services.collect(),
        };
        let text = serde_json::to_vec_pretty(&kept).with_context(|| format!("encode {path}"))?;
        fs::write(&new, text).with_context(|| format!("write {}", new.display()))?;
        fs::rename(&new, &self.path).with_context(|| format!("put {path} in its place"))
    }

    /// Removes the file.
    pub fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                Err(e).with_context(|| format!("remove {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_for_the_pins_of_the_agent_that_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let file = ProblemFile::of(&state, Path::new("/sys/fs/bpf/lb"));
        assert_eq!(file.load().unwrap(), []);
        let key = ObjectKey::new("shop", "web");
        let problems = BTreeMap::from([(key, vec!["no".to_owned()])]);
        file.store(&problems).unwrap();
        let found = file.load().unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].service.as_str(), found[0].problems.len()),
            ("shop/web", 1)
        );
        let other = ProblemFile::of(&state, Path::new("/sys/fs/bpf/other"));
        assert_eq!(other.load().unwrap(), []);
        file.remove().unwrap();
        assert_eq!(file.load().unwrap(), []);
        file.remove().unwrap();
    }
}

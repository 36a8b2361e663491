//! The file in which a running agent keeps which Services are only partly programmed, for `get
//! services`, which may run when the agent is dead.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::{kept::KeptFile, model::ObjectKey};

/// Where an agent keeps its problems.
#[derive(Clone, Debug)]
pub struct ProblemFile(KeptFile<Problems>);

/// A Service that is only partly programmed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PartiallyProgrammed {
    /// Namespace and name.
    pub service: String,
    /// Sentences that name the field and the remedy.
    pub problems: Vec<String>,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
struct Problems {
    services: Vec<PartiallyProgrammed>,
}

impl ProblemFile {
    /// The file in `state_dir` of the agent that works in `bpf_dir`.
    #[must_use]
    pub fn of(state_dir: &Path, bpf_dir: &Path) -> Self {
        Self(KeptFile::of(state_dir.join("problems.json"), bpf_dir))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What the agent of these pins reported last; nothing if it never did.
    pub fn load(&self) -> Result<Vec<PartiallyProgrammed>> {
        Ok(self.0.load()?.services)
    }

    /// Replaces the file: a reader sees the old one or the new one.
    pub fn store(&self, problems: &BTreeMap<ObjectKey, Vec<String>>) -> Result<()> {
        let services = problems
            .iter()
            .map(|(service, problems)| PartiallyProgrammed {
                service: service.to_string(),
                problems: problems.clone(),
            });
        self.0.store(Problems {
            services: services.collect(),
        })
    }

    /// Removes the file.
    pub fn remove(&self) -> Result<()> {
        self.0.remove()
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

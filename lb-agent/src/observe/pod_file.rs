//! The file in which a running agent keeps which path each pod's sockets take, for `get pods`, which
//! may run when the agent is dead.

use std::path::Path;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::kept::KeptFile;

/// Where an agent keeps the paths of its pods.
#[derive(Clone, Debug)]
pub struct PodFile(KeptFile<Paths>);

/// A pod, and the path of its sockets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodPath {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `socket` or `packet`.
    pub path: String,
    /// One word, for machines.
    pub reason: String,
    /// The same in a few words.
    pub because: String,
    /// What somebody should look at.
    pub conflict: Option<String>,
    /// `SO_NETNS_COOKIE` of its network namespaces: none while they are not found, several where
    /// others have its address too.
    pub netns: Vec<u64>,
    /// Its addresses.
    pub addresses: Vec<String>,
}

#[derive(Clone, Default, Debug, Serialize, Deserialize)]
struct Paths {
    pods: Vec<PodPath>,
}

impl PodFile {
    /// The file in `state_dir` of the agent that works in `bpf_dir`.
    #[must_use]
    pub fn of(state_dir: &Path, bpf_dir: &Path) -> Self {
        Self(KeptFile::of(state_dir.join("pods.json"), bpf_dir))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// What the agent of these pins wrote last; nothing if it never did.
    pub fn load(&self) -> Result<Vec<PodPath>> {
        Ok(self.0.load()?.pods)
    }

    /// Replaces the file: a reader sees the old one or the new one.
    pub fn store(&self, pods: &[PodPath]) -> Result<()> {
        self.0.store(Paths {
            pods: pods.to_vec(),
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
        let file = PodFile::of(dir.path(), Path::new("/sys/fs/bpf/lb"));
        assert_eq!(file.load().unwrap(), []);
        let pod = PodPath {
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            path: "packet".to_owned(),
            reason: "istio".to_owned(),
            because: "a side-car".to_owned(),
            conflict: None,
            netns: vec![4026],
            addresses: vec!["10.244.1.11".to_owned()],
        };
        file.store(std::slice::from_ref(&pod)).unwrap();
        assert_eq!(file.load().unwrap(), [pod]);
        let other = PodFile::of(dir.path(), Path::new("/sys/fs/bpf/other"));
        assert_eq!(other.load().unwrap(), []);
        file.remove().unwrap();
        assert_eq!(file.load().unwrap(), []);
    }
}

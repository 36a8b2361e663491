//! The file in which a running agent keeps which path each pod's sockets take, for `get pods`, which
//! may run when the agent is dead.

use serde::{Deserialize, Serialize};

use crate::kept::{Content, KeptFile};

/// Where it is kept.
pub type PodFile = KeptFile<KeptPods>;

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

/// What the file holds.
#[derive(Clone, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeptPods {
    /// Of the pods of this node.
    pub pods: Vec<PodPath>,
}

impl Content for KeptPods {
    const NAME: &'static str = "pods.json";
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kept;

    #[test]
    fn the_file_is_read_for_the_pins_of_the_agent_that_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = PodFile::of(dir.path(), Path::new("/sys/fs/bpf/lb"));
        assert_eq!(file.load().unwrap().pods, []);
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
        let pods = vec![pod.clone()];
        file.store(KeptPods { pods }).unwrap();
        assert_eq!(file.load().unwrap().pods, [pod]);
        let other = PodFile::of(dir.path(), Path::new("/sys/fs/bpf/other"));
        assert_eq!(other.load().unwrap().pods, []);
        kept::remove(file.path()).unwrap();
        assert_eq!(file.load().unwrap().pods, []);
    }
}

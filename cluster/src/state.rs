//! What a running cluster tells other processes: a folder of the process that holds it.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use testbed::{name, sandbox::Sandbox};

use crate::Up;

/// The end of the folder's name.
const ROLE: &str = "cluster";

/// A cluster that is ready, as `state.json` says it.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// The network namespace from which everything is reached.
    pub netns: PathBuf,
    /// The administrator's.
    pub kubeconfig: PathBuf,
    /// Logs of the control plane.
    pub control_plane: PathBuf,
    /// Its nodes.
    pub nodes: Vec<Machine>,
}

/// A node.
#[derive(Debug, Serialize, Deserialize)]
pub struct Machine {
    /// As Kubernetes calls it.
    pub name: String,
    /// A process in all its namespaces.
    pub pid: u32,
    /// The network namespace, by which the process is known to be still that one.
    pub netns: PathBuf,
    /// Its addresses.
    pub addresses: Vec<std::net::IpAddr>,
}

impl State {
    /// Of a cluster that is ready.
    pub(crate) fn of(up: &Up) -> Result<Self> {
        let cluster = up.cluster();
        let nodes = up.nodes().iter().map(|node| {
            Ok(Machine {
                name: node.machine().name().to_owned(),
                pid: node.pid(),
                netns: netns(node.machine().sandbox())?,
                addresses: node.machine().addr().ips().to_vec(),
            })
        });
        Ok(Self {
            netns: netns(cluster.sandbox())?,
            kubeconfig: cluster.admin()?,
            control_plane: cluster.files().to_owned(),
            nodes: nodes.collect::<Result<_>>()?,
        })
    }
}

fn netns(sandbox: &Sandbox) -> Result<PathBuf> {
    let path = sandbox.netns.clone();
    path.context("a machine in no network namespace")
}

impl Machine {
    /// An error if its process has ended, though another may have its number now.
    pub(crate) fn check(&self) -> Result<()> {
        let identity = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino()));
        let own = identity(&self.netns).with_context(|| format!("{} is gone", self.name))?;
        let now = identity(&Path::new("/proc").join(self.pid.to_string()).join("ns/net"));
        ensure!(
            now.is_ok_and(|now| now == own),
            "containerd of {} runs no more",
            self.name
        );
        Ok(())
    }
}

/// The folder of this process, held until the value goes.
#[derive(Debug)]
pub(crate) struct Held {
    dir: PathBuf,
    /// Locked: by that others see that the process lives.
    _lock: File,
}

impl Held {
    pub(crate) fn new() -> Result<Self> {
        // Nobody takes it for the folder of a cluster before it is locked.
        let draft = tempfile::Builder::new()
            .prefix(&name::unique("raising"))
            .tempdir()
            .context("make a folder")?;
        let path = draft.path().join("lock");
        let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        lock.try_lock().context("lock a new file")?;
        let dir = std::env::temp_dir().join(name::unique(ROLE));
        fs::rename(draft.path(), &dir).with_context(|| format!("make {}", dir.display()))?;
        // It is no more where it would be looked for.
        let _ = draft.keep();
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Tells others that it is ready.
    pub(crate) fn tell(&self, state: &State) -> Result<()> {
        let (draft, path) = (self.path().join(".state"), self.path().join("state.json"));
        fs::write(&draft, serde_json::to_string(state)?)
            .and_then(|()| fs::rename(&draft, &path))
            .with_context(|| format!("write {}", path.display()))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // A signal may have had it removed.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A folder that was found.
#[derive(Debug)]
pub struct Found {
    /// Where.
    pub dir: PathBuf,
    /// Whose.
    pub maker: u32,
    /// Whether its process still lives.
    pub lives: bool,
}

impl Found {
    /// What it tells; an error while the cluster is on its way up.
    pub fn state(&self) -> Result<State> {
        let path = self.dir.join("state.json");
        let text = fs::read_to_string(&path)
            .with_context(|| format!("read {}: is the cluster ready yet?", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
    }
}

/// Every folder of a cluster on this machine.
pub fn find() -> Result<Vec<Found>> {
    let place = std::env::temp_dir();
    let mut found = Vec::new();
    for entry in fs::read_dir(&place).with_context(|| format!("list {}", place.display()))? {
        let dir = entry?.path();
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let Some(maker) = name::maker(&name).filter(|_| is_ours(&name)) else {
            continue;
        };
        if !is_own(&dir) {
            continue;
        }
        let lock = File::open(dir.join("lock"));
        let lives = lock.is_ok_and(|lock| lock.try_lock_shared().is_err());
        found.push(Found { dir, maker, lives });
    }
    Ok(found)
}

/// Whether it is a folder of whoever runs this: everybody may make one beside it.
fn is_own(dir: &Path) -> bool {
    let us = nix::unistd::geteuid().as_raw();
    fs::symlink_metadata(dir).is_ok_and(|meta| meta.is_dir() && meta.uid() == us)
}

/// `lbt-1234-0-cluster`, and what makes it unique.
fn is_ours(name: &str) -> bool {
    let role = name.splitn(4, '-').nth(3);
    role.is_some_and(|role| role.starts_with(ROLE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_known_by_its_role() {
        assert!(is_ours("lbt-12-0-clusterX7"));
        assert!(!is_ours("lbt-12-1-control-plane"));
        assert!(!is_ours("lbt-cluster"));
    }

    #[test]
    fn a_folder_of_somebody_else_is_none_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        assert!(is_own(dir.path()));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        assert!(!is_own(&link));
        assert!(!is_own(Path::new("/proc/self/nothing")));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(dir.path(), Some(65_534), None).unwrap();
            assert!(!is_own(dir.path()));
        }
    }

    #[test]
    fn a_process_that_is_in_another_namespace_is_not_the_nodes() {
        let mut node = Machine {
            name: "node-1".to_owned(),
            pid: std::process::id(),
            netns: "/proc/self/ns/net".into(),
            addresses: vec![],
        };
        node.check().unwrap();
        node.netns = "/proc/self/ns/mnt".into();
        assert!(node.check().is_err());
    }
}

//! The folder of pins, `<bpf-dir>/{maps,links,clsact,trace}`, and the names of pins.

use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use lb_common::maps::MapSpec;
use nix::sys::statfs::statfs;

/// A folder on a bpf file system, ours alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BpfDir {
    root: PathBuf,
}

/// Ending of the name of a new map that is not in use yet (bpffs forbids dots in names).
pub(crate) const NEW: &str = "-new";

/// A symbolic link to the agent's state directory.
const STATE: &str = "state";

/// `BPF_FS_MAGIC`
const BPF_FS: i64 = 0xcafe_4a11;

impl BpfDir {
    /// Opens the folder. Creates it and its parts if they are missing.
    pub fn create(root: &Path) -> Result<Self> {
        let dir = Self::at(root);
        let parts = [dir.maps(), dir.links(), dir.clsact(), dir.trace()];
        for part in [dir.root.clone()].into_iter().chain(parts) {
            require_bpffs(&part)?;
            fs::create_dir_all(&part)
                .with_context(|| format!("cannot make the folder {}", part.display()))?;
        }
        Ok(dir)
    }

    /// The folder of that name, which need not exist.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Pins of maps.
    #[must_use]
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Pins of links.
    #[must_use]
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Pins of programs that netlink holds on a device (before Linux 6.6), so that `cleanup` finds
    /// them.
    #[must_use]
    pub fn clsact(&self) -> PathBuf {
        self.root.join("clsact")
    }

    /// What `trace` needs beside the maps; the process that traces locks it.
    #[must_use]
    pub fn trace(&self) -> PathBuf {
        self.root.join("trace")
    }

    /// The pin of the map whose first word turns the programs' records on.
    #[must_use]
    pub fn trace_switch(&self) -> PathBuf {
        self.trace().join("switch")
    }

    /// Names the directory in which the agent keeps its other state, for verbs that are not told.
    pub fn link_state(&self, state_dir: &Path) -> Result<()> {
        let link = self.root.join(STATE);
        if fs::read_link(&link).is_ok_and(|known| known == state_dir) {
            return Ok(());
        }
        unpin(&link)?;
        symlink(state_dir, &link)
            .with_context(|| format!("cannot make the link {}", link.display()))
    }

    /// The directory that [`BpfDir::link_state`] has named last.
    #[must_use]
    pub fn state_dir(&self) -> Option<PathBuf> {
        fs::read_link(self.root.join(STATE)).ok()
    }

    /// Removes the name of the directory.
    pub(crate) fn unlink_state(&self) -> Result<()> {
        unpin(&self.root.join(STATE))
    }

    /// The pin of the iterator over the records of sockets.
    #[must_use]
    pub fn sockets(&self) -> PathBuf {
        self.root.join("sockets")
    }

    /// The pin of a map: until the commit of the first agent that knows its name, the one under its
    /// former name.
    #[must_use]
    pub fn map(&self, spec: &MapSpec) -> PathBuf {
        let name = if self.is_former(spec) {
            spec.former.to_owned()
        } else {
            spec.pin_name()
        };
        self.maps().join(name)
    }

    /// Is the map pinned under its former name alone?
    #[must_use]
    pub fn is_former(&self, spec: &MapSpec) -> bool {
        !spec.former.is_empty()
            && self.maps().join(spec.former).exists()
            && !self.maps().join(spec.pin_name()).exists()
    }

    /// Exists while new maps take the places of those that they replace.
    pub(crate) fn committing(&self) -> PathBuf {
        self.root.join("committing")
    }

    /// The pin of a map's successor until the commit.
    #[must_use]
    pub fn new_map(&self, spec: &MapSpec) -> PathBuf {
        self.maps().join(spec.pin_name() + NEW)
    }
}

/// The names in a folder of pins, sorted; none if the folder is not there.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>> {
    let failed = || format!("cannot list {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.with_context(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes a pin; one that is not there is removed already.
pub(crate) fn unpin(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove the pin {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Fails unless the path, or the nearest folder above it that exists, is on a bpf file system.
pub(crate) fn require_bpffs(path: &Path) -> Result<()> {
    let existing = path
        .ancestors()
        .find(|p| p.exists())
        .unwrap_or(Path::new("/"));
    let stat = statfs(existing)
        .with_context(|| format!("cannot find out the file system of {}", existing.display()))?;
    #[expect(
        clippy::useless_conversion,
        reason = "the type differs between C libraries"
    )]
    if i64::from(stat.filesystem_type().0) == BPF_FS {
        return Ok(());
    }
    bail!(
        "{} is not on a bpf file system: mount one with `mount -t bpf bpf /sys/fs/bpf`, or name a folder on one with --bpf-dir",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use lb_common::maps;

    use super::*;

    #[test]
    fn a_map_is_found_under_its_former_name_until_it_has_a_pin_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let dir = BpfDir::at(root.path());
        fs::create_dir(dir.maps()).unwrap();
        let (now, former) = (
            dir.maps().join("lb_pool_stats"),
            dir.maps().join("lb_svc_stats"),
        );
        assert_eq!(dir.map(&maps::POOL_STATS), now);
        fs::write(&former, "").unwrap();
        assert_eq!(dir.map(&maps::POOL_STATS), former);
        fs::write(&now, "").unwrap();
        assert_eq!(dir.map(&maps::POOL_STATS), now);
        assert_eq!(dir.map(&maps::FLOWS), dir.maps().join("lb_flows"));
    }
}

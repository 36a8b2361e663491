//! Cgroups: made below the machine's cgroup2 mount, emptied and removed with their values.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};

use crate::{name, poll};

/// A killed process is reaped by its parent at leisure, but leaves its cgroup at once.
const EMPTYING: Duration = Duration::from_secs(5);

/// A directory of the cgroup2 tree.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new one below the root of the tree.
    pub fn new(role: &str) -> Result<Self> {
        Self::at(root()?.join(name::unique(role)))
    }

    /// A new one below this one; it goes before its parent, or with it.
    pub fn child(&self, role: &str) -> Result<Self> {
        Self::at(self.path.join(role))
    }

    fn at(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).with_context(|| format!("create cgroup {}", path.display()))?;
        Ok(Self { path })
    }

    /// CPU time of all that runs and ran in it.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let path = self.path().join("cpu.stat");
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        let micros = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "));
        let micros: f64 = micros
            .and_then(|text| text.parse().ok())
            .with_context(|| format!("{} tells no usage", path.display()))?;
        Ok(micros / 1e6)
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A parent that went first has taken this one along.
        if self.path.exists()
            && let Err(error) = remove(&self.path)
        {
            eprintln!("remove cgroup {}: {error:#}", self.path.display());
        }
    }
}

/// Kills what runs below (`cgroup.kill`, Linux 5.14) and removes the tree. Processes that are
/// started meanwhile are killed too.
pub(crate) fn remove(path: &Path) -> Result<()> {
    poll::until_true(EMPTYING, "its last process is gone", || {
        // Gone already, if an owner on another thread was faster.
        if !path.exists() {
            return Ok(true);
        }
        fs::write(path.join("cgroup.kill"), "1").context("kill its processes")?;
        Ok(remove_tree(path).is_ok())
    })
}

pub(crate) fn remove_tree(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    Ok(fs::remove_dir(path)?)
}

/// Where cgroup2 is mounted: `/sys/fs/cgroup` on most machines, below it on hybrid ones.
pub fn root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    find_cgroup2(&mounts)
        .context("cgroup2 is not mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
}

fn find_cgroup2(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split_whitespace().nth(4)?;
        kind.starts_with("cgroup2 ").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_point_is_read_from_mountinfo() {
        let hybrid = "30 24 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      31 30 0:27 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(find_cgroup2(hybrid), Some("/sys/fs/cgroup/unified".into()));
        assert_eq!(find_cgroup2("30 24 0:26 / / rw - ext4 /dev/vda rw"), None);
    }
}

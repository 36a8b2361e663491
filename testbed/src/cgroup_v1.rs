//! The hierarchies of cgroup v1 that a machine may have beside its cgroup2 tree. Container runtimes
//! keep limits there, so a node that runs real ones has a group in each.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{cgroup::remove_tree, poll};

/// A killed process leaves its groups when it is reaped.
const EMPTYING: Duration = Duration::from_secs(5);
/// What a group of the cpuset hierarchy must be given before it takes a process.
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// One group of the same name in each hierarchy; none on machines that have only cgroup2.
#[derive(Debug)]
pub struct V1 {
    name: String,
}

impl V1 {
    /// Makes them; they go with this value.
    pub fn new(name: &str) -> Result<Self> {
        let groups = Self {
            name: name.to_owned(),
        };
        for root in roots()? {
            let path = root.join(name);
            fs::create_dir(&path).with_context(|| format!("create cgroup {}", path.display()))?;
            for file in CPUSET {
                let (from, to) = (root.join(file), path.join(file));
                if from.exists() {
                    fs::copy(&from, &to).with_context(|| format!("write {}", to.display()))?;
                }
            }
        }
        Ok(groups)
    }
}

impl Drop for V1 {
    fn drop(&mut self) {
        for root in roots().unwrap_or_default() {
            let path = root.join(&self.name);
            if path.exists()
                && let Err(error) = remove(&path)
            {
                eprintln!("remove cgroup {}: {error:#}", path.display());
            }
        }
    }
}

/// Where the hierarchies are mounted.
pub fn roots() -> Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read /proc/self/mountinfo")?;
    Ok(find(&mounts))
}

fn find(mountinfo: &str) -> Vec<PathBuf> {
    let points = mountinfo.lines().filter_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let point = mount.split_whitespace().nth(4)?;
        kind.starts_with("cgroup ").then(|| PathBuf::from(point))
    });
    points.collect()
}

/// Kills what is in a group and below, and removes the tree.
pub(crate) fn remove(path: &Path) -> Result<()> {
    poll::until_true(EMPTYING, "its last process is gone", || {
        if !path.exists() {
            return Ok(true);
        }
        kill_all(path);
        Ok(remove_tree(path).is_ok())
    })
}

fn kill_all(path: &Path) {
    // Gone meanwhile is what is wanted.
    let said = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for process in said.lines().filter_map(|line| line.parse().ok()) {
        let _ = kill(Pid::from_raw(process), Signal::SIGKILL);
    }
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            kill_all(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_no_hierarchy_of_v1() {
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert_eq!(find(hybrid), [PathBuf::from("/sys/fs/cgroup/cpu")]);
    }
}

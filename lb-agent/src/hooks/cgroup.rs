//! The cgroup that the socket programs are attached to: by default the root of the v2 hierarchy,
//! which systems mount in different places.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// An open cgroup.
#[derive(Debug)]
pub struct Cgroup {
    /// Its folder.
    pub path: PathBuf,
    /// As links know it: the inode of the folder.
    pub id: u64,
    pub(crate) folder: File,
}

impl Cgroup {
    /// Opens `path`, or else the root of the hierarchy that this process sees.
    pub fn open(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_owned(),
            None => find()?,
        };
        let open = || format!("cannot open the cgroup {}", path.display());
        let folder = File::open(&path).with_context(open)?;
        let id = folder.metadata().with_context(open)?.ino();
        if !path.join("cgroup.procs").exists() {
            bail!(
                "{} is not a cgroup: name a folder of the cgroup2 file system with --cgroup",
                path.display()
            );
        }
        Ok(Self { path, id, folder })
    }

    /// Is it the root of the whole hierarchy? Sockets outside of it are not translated. (Only the
    /// real root lacks a type.)
    #[must_use]
    pub fn is_root(&self) -> bool {
        is_root(&self.path)
    }
}

fn is_root(path: &Path) -> bool {
    path.join("cgroup.procs").exists() && !path.join("cgroup.type").exists()
}

/// The mount point of the v2 hierarchy: `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` on hybrid
/// systems. In a container that is a part which only looks like the whole; a mount of the host's is
/// taken, wherever it is.
pub fn find() -> Result<PathBuf> {
    let mounts =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read /proc/self/mountinfo")?;
    let host = mounts_of(&mounts)
        .map(|(_, point)| point)
        .find(|point| is_root(point));
    host.or_else(|| mount_point(&mounts)).context(
        "no cgroup2 file system is mounted: mount one with `mount -t cgroup2 none /sys/fs/cgroup`, or name one with --cgroup",
    )
}

/// The last mount that shows a whole hierarchy, as far as this process's cgroup namespace goes.
fn mount_point(mountinfo: &str) -> Option<PathBuf> {
    let whole = mounts_of(mountinfo).filter(|(root, _)| *root == "/");
    whole.map(|(_, point)| point).last()
}

/// Root and mount point of every mount of type cgroup2, in the words of proc(5).
fn mounts_of(mountinfo: &str) -> impl Iterator<Item = (&str, PathBuf)> {
    mountinfo.lines().filter_map(|line| {
        let (mount, fs) = line.split_once(" - ")?;
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        (fs.split(' ').next()? == "cgroup2").then(|| (root, PathBuf::from(unescape(point))))
    })
}

/// Undoes the octal escapes of space, tab, newline and backslash.
fn unescape(field: &str) -> String {
    [
        (r"\040", " "),
        (r"\011", "\t"),
        (r"\012", "\n"),
        (r"\134", r"\"),
    ]
    .iter()
    .fold(field.to_owned(), |s, (code, c)| s.replace(code, c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_is_found_where_systems_mount_it() {
        let unified =
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(mount_point(unified), Some("/sys/fs/cgroup".into()));
        let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                      32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                      41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        assert_eq!(mount_point(hybrid), Some("/sys/fs/cgroup/unified".into()));
    }

    #[test]
    fn a_mount_of_the_hosts_hierarchy_is_seen_in_a_container() {
        let container = "41 31 0:38 / /sys/fs/cgroup ro - cgroup2 cgroup rw\n\
                         55 31 0:38 /../../.. /host/cgroup ro - cgroup2 cgroup rw";
        let points: Vec<PathBuf> = mounts_of(container).map(|(_, point)| point).collect();
        assert_eq!(
            points,
            [PathBuf::from("/sys/fs/cgroup"), "/host/cgroup".into()]
        );
    }

    #[test]
    fn a_part_of_the_hierarchy_is_not_taken_for_it() {
        let part = "41 31 0:38 /kubepods/x /mnt/cg rw - cgroup2 cgroup2 rw";
        assert_eq!(mount_point(part), None);
        assert_eq!(
            mount_point("31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw"),
            None
        );
    }
}

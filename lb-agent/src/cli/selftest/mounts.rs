//! The file systems of the test: in mount namespaces of its own, so that they go with its last
//! process.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// Where the room is: `/run` first, since it also hides the machine's named network namespaces;
/// every container has the other one.
const PLACES: [&str; 2] = ["/run", "/dev/shm"];
/// What every refusal may come from.
const REMEDY: &str = "it needs CAP_SYS_ADMIN, and in a container no AppArmor or seccomp profile that forbids mounts: run it on the node, or in a privileged pod";

/// The room's directories.
pub(super) const CGROUP: &str = "cgroup";
/// Of pins.
pub(super) const PINS: &str = "bpf";

/// A room for files, with the cgroups below this process's own in it. The calling process, which has
/// one thread, sees it, and those that it starts.
pub(super) fn room() -> Result<PathBuf> {
    // Within a cgroup namespace of its own a mount changes no option of the hierarchy.
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP)
        .with_context(|| format!("make a mount namespace: {REMEDY}"))?;
    let none = None::<&str>;
    // Nothing goes out, and what the machine unmounts meanwhile, such as a pod's volume, goes here too:
    // a copy that stayed would keep it busy.
    let slave = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    mount(none, "/", none, slave, none)
        .with_context(|| format!("keep mounts to itself: {REMEDY}"))?;
    let room = PLACES
        .into_iter()
        .map(PathBuf::from)
        .find(|place| place.is_dir())
        .with_context(|| format!("there is none of the directories {}", PLACES.join(", ")))?;
    make("tmpfs", &room)?;
    for dir in [CGROUP, PINS] {
        let dir = room.join(dir);
        fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
    }
    make("cgroup2", &room.join(CGROUP))?;
    Ok(room)
}

/// What the processes of the room see beside it: their own processes, their own pins.
pub(super) fn furnish(room: &Path) -> Result<()> {
    make("proc", Path::new("/proc"))?;
    make("bpf", &room.join(PINS))
}

fn make(kind: &str, at: &Path) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("lb-selftest"), at, Some(kind), flags, None::<&str>)
        .with_context(|| format!("mount {kind} on {}: {REMEDY}", at.display()))
}

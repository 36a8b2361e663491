//! The network namespaces of this machine: found by their files, and entered by the calling thread.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

/// Where container runtimes keep a file for each pod's namespace: containerd, CRI-O and `ip netns`,
/// and Docker.
const DIRS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// The calling thread's own.
const OWN: &str = "/proc/thread-self/ns/net";

/// May this process enter network namespaces? Tried with its own; CAP_SYS_ADMIN.
pub(crate) fn permitted() -> io::Result<()> {
    setns(File::open(OWN)?, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

/// Device and inode, the same for every file of one namespace.
pub(crate) type Identity = (u64, u64);

/// Calls `look` with the identity and the cookie of each namespace, the calling thread inside, until
/// it returns true: its own first, then those with a name, then those of processes that it may look at (of
/// other users' only with CAP_SYS_PTRACE). Leaves the thread wherever it came. Fails if others may
/// not be entered at all.
pub(crate) fn visit(mut look: impl FnMut(Identity, u64) -> bool) -> io::Result<()> {
    let mut seen = BTreeSet::new();
    let own = identity(Path::new(OWN)).unwrap_or_default();
    seen.insert(own);
    if look(own, cookie()?) {
        return Ok(());
    }
    for path in named().chain(of_processes()) {
        // What is gone by now, or hidden from us, is passed over.
        let Some(id) = identity(&path) else { continue };
        if !seen.insert(id) {
            continue;
        }
        let Ok(file) = File::open(&path) else {
            continue;
        };
        match setns(file, CloneFlags::CLONE_NEWNET) {
            Ok(()) => {}
            Err(Errno::EPERM) => return Err(Errno::EPERM.into()),
            // A file of another kind.
            Err(_) => continue,
        }
        match cookie() {
            Ok(cookie) if look(id, cookie) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, path = %path.display(), "cannot read this network namespace's cookie");
            }
        }
    }
    Ok(())
}

fn cookie() -> io::Result<u64> {
    lb_sys::netns_cookie().map_err(io::Error::other)
}

/// Of the namespace that this file stands for.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    let meta = fs::metadata(path).ok()?;
    // Namespaces look like files; to open a pipe would mean to wait.
    meta.is_file().then(|| (meta.dev(), meta.ino()))
}

fn named() -> impl Iterator<Item = PathBuf> {
    DIRS.iter().flat_map(|dir| entries(Path::new(dir)))
}

fn of_processes() -> impl Iterator<Item = PathBuf> {
    let numbers = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()))
    };
    entries(Path::new("/proc"))
        .filter(numbers)
        .map(|process| process.join("ns/net"))
}

/// Nothing where there is no such directory.
fn entries(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(Result::ok).map(|entry| entry.path())
}

//! The network namespaces of this machine: found by their files, and entered by the calling thread.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, ErrorKind},
    ops::ControlFlow,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sched::{CloneFlags, setns},
};

mod processes;

pub(crate) use processes::Processes;

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

/// A namespace that is there and was not entered, by any of its files.
#[derive(Debug)]
pub(crate) struct Closed {
    /// The last of its files that was tried.
    pub(crate) path: PathBuf,
    /// Why.
    pub(crate) error: io::Error,
}

/// Calls `look` with the identity of each namespace, the calling thread inside, and its cookie, until
/// it breaks off: its own first, then those with a name, then those of processes that it may look at
/// (of other users' only with CAP_SYS_PTRACE); those that it cannot enter last. Leaves the thread
/// wherever it came. `processes` is what was found out by earlier walks. Fails, at its end, if some
/// namespaces could not be listed.
pub(crate) fn visit(
    processes: &mut Processes,
    look: impl FnMut(Identity, Result<u64, Closed>) -> ControlFlow<()>,
) -> io::Result<()> {
    visit_in(&DIRS.map(Path::new), processes, look)
}

fn visit_in(
    dirs: &[&Path],
    processes: &mut Processes,
    look: impl FnMut(Identity, Result<u64, Closed>) -> ControlFlow<()>,
) -> io::Result<()> {
    let mut walk = Walk {
        entered: BTreeSet::new(),
        closed: Vec::new(),
        look,
    };
    let own = identity(Path::new(OWN)).unwrap_or_default();
    walk.entered.insert(own);
    if (walk.look)(own, Ok(cookie()?)).is_break() {
        return Ok(());
    }
    let mut unlisted = Ok(());
    for dir in dirs {
        match walk.named(dir) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return Ok(()),
            Err(error) => unlisted = Err(error),
        }
    }
    match processes.by_namespace() {
        Ok(all) => {
            for (id, pids) in all {
                let mut paths = pids.into_iter().map(processes::file);
                if walk.through(id, &mut paths).is_break() {
                    return Ok(());
                }
            }
        }
        Err(error) => unlisted = Err(error),
    }
    walk.tell_closed();
    unlisted
}

struct Walk<L> {
    entered: BTreeSet<Identity>,
    closed: Vec<(Identity, Closed)>,
    look: L,
}

impl<L: FnMut(Identity, Result<u64, Closed>) -> ControlFlow<()>> Walk<L> {
    /// Enters those that have a file in this directory.
    fn named(&mut self, dir: &Path) -> io::Result<ControlFlow<()>> {
        for entry in entries(dir)? {
            let path = entry?.path();
            // What is gone by now, or hidden from us, is passed over.
            if let Some(id) = identity(&path)
                && self.through(id, &mut std::iter::once(path)).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Enters the namespace `id` by the first file that leads there.
    fn through(
        &mut self,
        id: Identity,
        files: &mut dyn Iterator<Item = PathBuf>,
    ) -> ControlFlow<()> {
        let mut failed = None;
        while !self.entered.contains(&id) {
            let Some(path) = files.next() else { break };
            match enter(&path) {
                // A process may have gone elsewhere since it was asked.
                Ok(found) if !self.entered.contains(&found) => match cookie() {
                    Ok(cookie) => {
                        self.entered.insert(found);
                        (self.look)(found, Ok(cookie))?;
                    }
                    Err(error) => failed = Some(Closed { path, error }),
                },
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => failed = Some(Closed { path, error }),
            }
        }
        self.closed.extend(failed.map(|closed| (id, closed)));
        ControlFlow::Continue(())
    }

    fn tell_closed(mut self) {
        for (id, closed) in std::mem::take(&mut self.closed) {
            // Another file may have led there.
            if self.entered.insert(id) && (self.look)(id, Err(closed)).is_break() {
                return;
            }
        }
    }
}

/// Moves the calling thread there.
fn enter(path: &Path) -> io::Result<Identity> {
    let file = File::open(path)?;
    let meta = file.metadata()?;
    setns(file, CloneFlags::CLONE_NEWNET)?;
    Ok((meta.dev(), meta.ino()))
}

/// Is there no such file, process or namespace (any more), or is it a file of another kind?
fn is_gone(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(errno, Some(Errno::ENOENT | Errno::ESRCH | Errno::EINVAL))
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

/// Nothing where there is no such directory.
fn entries(dir: &Path) -> io::Result<impl Iterator<Item = io::Result<fs::DirEntry>>> {
    let found = match fs::read_dir(dir) {
        Ok(found) => Some(found),
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => None,
        Err(e) => return Err(e),
    };
    Ok(found.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_that_cannot_be_listed_hides_no_process() {
        let dir = tempfile::tempdir().unwrap();
        let (looped, ns) = (dir.path().join("loop"), dir.path().join("7/ns"));
        symlink(&looped, &looped).unwrap();
        fs::create_dir_all(&ns).unwrap();
        // Of the caller's own namespace: none is entered.
        symlink(OWN, ns.join("net")).unwrap();
        let mut processes = Processes::below(dir.path());
        let mut seen = 0;
        let unlisted = visit_in(&[&looped], &mut processes, |_, _| {
            seen += 1;
            ControlFlow::Continue(())
        });
        let error = unlisted.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ELOOP as i32));
        assert_eq!(seen, 1);
        assert_eq!(processes.namespace(7), identity(Path::new(OWN)));
    }

    #[test]
    fn what_cannot_be_entered_is_told_and_ends_no_walk() {
        let dir = tempfile::tempdir().unwrap();
        let (looped, gone) = (dir.path().join("loop"), dir.path().join("gone"));
        symlink(&looped, &looped).unwrap();
        let mut told = Vec::new();
        let mut walk = Walk {
            entered: BTreeSet::from([(0, 9)]),
            closed: Vec::new(),
            look: |id, entered: Result<u64, Closed>| {
                told.push((id, entered.map_err(|closed| closed.path)));
                ControlFlow::Continue(())
            },
        };
        for (id, files) in [
            ((0, 1), vec![gone.clone(), looped.clone(), gone.clone()]),
            ((0, 2), vec![gone]),
            ((0, 3), vec![looped.clone()]),
            // By another file, this one was entered.
            ((0, 9), vec![looped.clone()]),
        ] {
            assert!(walk.through(id, &mut files.into_iter()).is_continue());
        }
        walk.tell_closed();
        let refused = |id| (id, Err(looped.clone()));
        assert_eq!(told, [refused((0, 1)), refused((0, 3))]);
    }
}

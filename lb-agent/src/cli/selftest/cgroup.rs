//! The cgroups of the test: below this process's own, removed by whoever outlives it.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    path::{Path, PathBuf},
    process, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

/// The names of all of them begin with this.
const PREFIX: &str = "lb-selftest-";
/// Other runs may have taken a name: process ids are those of a container.
const NAMES: u32 = 100;
/// What other runs left has so long to go: a killed process leaves its cgroup at once, on a machine
/// that is not busy.
const SWEEPING: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// One that lives; the lock on it ends with the process that has it.
pub(super) struct Cgroup {
    path: PathBuf,
    _lock: File,
}

impl Cgroup {
    /// A new one below `parent`.
    pub(super) fn new(parent: &Path) -> Result<Self> {
        for n in 0..NAMES {
            let path = parent.join(format!("{PREFIX}{}-{n}", process::id()));
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made.with_context(|| {
                    format!(
                        "create the cgroup {}: a writable cgroup v2 is needed",
                        path.display()
                    )
                })?,
            }
            // Another run may have swept it away before it was locked.
            if let Ok(lock) = File::open(&path)
                && lock.lock().is_ok()
                && path.exists()
            {
                return Ok(Self { path, _lock: lock });
            }
        }
        bail!("every name for a cgroup is taken")
    }

    /// Its folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Ends every process in it.
    pub(super) fn kill(&self) {
        kill(&self.path);
    }

    /// Removes it, with every process in it.
    pub(super) fn remove(self, deadline: Instant) -> io::Result<()> {
        remove(&self.path, deadline)
    }
}

/// Moves this process there.
pub(super) fn enter(path: &Path) -> Result<()> {
    let procs = path.join("cgroup.procs");
    fs::write(&procs, "0").with_context(|| format!("enter cgroup by {}", procs.display()))
}

/// Removes what a run left whose last process was killed; what lives is locked. What is still there,
/// and why.
pub(super) fn sweep(parent: &Path) -> Result<Vec<(PathBuf, io::Error)>> {
    let deadline = Instant::now() + SWEEPING;
    let mut left = Vec::new();
    let entries = fs::read_dir(parent).with_context(|| format!("list {}", parent.display()))?;
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if is_ours
            && let Ok(folder) = File::open(entry.path())
            && folder.try_lock().is_ok()
            && let Err(error) = remove(&entry.path(), deadline)
        {
            left.push((entry.path(), error));
        }
    }
    Ok(left)
}

/// `cgroup.kill`, Linux 5.14.
fn kill(path: &Path) {
    // It fails where nothing is left to be killed.
    let file = File::options().write(true).open(path.join("cgroup.kill"));
    let _ = file.and_then(|mut file| file.write_all(b"1"));
}

fn remove(path: &Path, deadline: Instant) -> io::Result<()> {
    loop {
        kill(path);
        match remove_tree(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(PAUSE),
            Ok(()) => return Ok(()),
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lives_is_not_swept() {
        let parent = tempfile::tempdir().unwrap();
        let living = Cgroup::new(parent.path()).unwrap();
        let dead = parent.path().join("lb-selftest-1-0");
        let foreign = parent.path().join("other");
        for dir in [&dead.join("node/pod"), &foreign] {
            fs::create_dir_all(dir).unwrap();
        }
        assert!(sweep(parent.path()).unwrap().is_empty());
        assert!(living.path().exists() && foreign.exists() && !dead.exists());
        let path = living.path().to_owned();
        living.remove(Instant::now()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_cannot_be_removed_is_named_and_the_rest_goes() {
        let parent = tempfile::tempdir().unwrap();
        let [stuck, dead] = ["lb-selftest-1-0", "lb-selftest-2-0"].map(|n| parent.path().join(n));
        for dir in [&stuck, &dead] {
            fs::create_dir_all(dir).unwrap();
        }
        // No cgroup has such a file, and a folder with one cannot be removed.
        fs::write(stuck.join("busy"), "").unwrap();
        let left = sweep(parent.path()).unwrap();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(left[0].0, stuck);
        assert!(!dead.exists());
    }
}

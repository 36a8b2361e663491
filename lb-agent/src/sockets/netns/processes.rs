//! In which network namespace each process is. To ask costs more than all the rest of a look where
//! nothing is new, and an old process hardly ever changes it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::DirEntry,
    io,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Identity, entries, identity};

/// A young process is asked at each look: it is still being put where it belongs.
const YOUNG: Duration = Duration::from_mins(1);
/// An older one is asked this often.
const AGAIN: Duration = Duration::from_secs(15);

/// What was found out so far.
#[derive(Debug)]
pub(crate) struct Processes {
    /// `/proc`.
    dir: PathBuf,
    known: HashMap<u32, Process>,
}

#[derive(Clone, Copy, Debug)]
struct Process {
    /// Of its directory: another process of the same number has another one.
    inode: u64,
    first: Instant,
    asked: Instant,
    /// `None`: we may not know.
    namespace: Option<Identity>,
}

impl Default for Processes {
    fn default() -> Self {
        Self::below(Path::new("/proc"))
    }
}

impl Processes {
    /// With a directory for each in `dir`.
    pub(super) fn below(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            known: HashMap::new(),
        }
    }

    /// Where this one is; of those that the last walk has seen, as it was then. `None`: we may not know.
    pub(in crate::sockets) fn namespace(&self, pid: u32) -> Option<Identity> {
        let known = self.known.get(&pid);
        known.map_or_else(|| identity(&in_dir(&self.dir, pid)), |p| p.namespace)
    }

    /// The processes of each namespace.
    pub(super) fn by_namespace(&mut self) -> io::Result<BTreeMap<Identity, Vec<u32>>> {
        self.refresh(Instant::now())?;
        let mut all: BTreeMap<Identity, Vec<u32>> = BTreeMap::new();
        for (pid, process) in &self.known {
            if let Some(id) = process.namespace {
                all.entry(id).or_default().push(*pid);
            }
        }
        Ok(all)
    }

    fn refresh(&mut self, now: Instant) -> io::Result<()> {
        let mut found = HashMap::with_capacity(self.known.len());
        for entry in entries(&self.dir)? {
            let entry = entry?;
            let Some(pid) = pid(&entry) else { continue };
            let inode = entry.ino();
            let before = self.known.get(&pid).filter(|p| p.inode == inode);
            let process = match before {
                Some(process) if process.is_settled(now) => *process,
                before => Process {
                    inode,
                    first: before.map_or(now, |process| process.first),
                    asked: now,
                    namespace: identity(&in_dir(&self.dir, pid)),
                },
            };
            found.insert(pid, process);
        }
        self.known = found;
        Ok(())
    }
}

impl Process {
    fn is_settled(&self, now: Instant) -> bool {
        now.duration_since(self.first) > YOUNG && now.duration_since(self.asked) < AGAIN
    }
}

/// The file of a process's network namespace.
pub(super) fn file(pid: u32) -> PathBuf {
    in_dir(Path::new("/proc"), pid)
}

fn in_dir(dir: &Path, pid: u32) -> PathBuf {
    dir.join(format!("{pid}/ns/net"))
}

fn pid(entry: &DirEntry) -> Option<u32> {
    entry.file_name().to_str()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    fn put(dir: &Path, process: &str) {
        let ns = dir.join(process).join("ns");
        fs::create_dir_all(&ns).unwrap();
        fs::write(ns.join("net"), "").unwrap();
    }

    #[test]
    fn an_old_process_is_asked_seldom_and_another_of_its_number_at_once() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "7");
        put(dir.path(), "self");
        let mut processes = Processes::below(dir.path());
        let moved = || {
            let file = in_dir(dir.path(), 7);
            fs::rename(&file, file.with_extension("old")).unwrap();
            fs::write(&file, "").unwrap();
            identity(&file)
        };
        let start = Instant::now();
        processes.refresh(start).unwrap();
        assert_eq!(processes.known.len(), 1);
        // Young: wherever it goes is seen at the next look.
        let second = moved();
        processes.refresh(start + STEP).unwrap();
        assert_eq!(processes.namespace(7), second);
        // Old: some time later.
        let old = start + YOUNG + STEP;
        processes.refresh(old).unwrap();
        let third = moved();
        processes.refresh(old + STEP).unwrap();
        assert_eq!(processes.namespace(7), second);
        processes.refresh(old + AGAIN).unwrap();
        assert_eq!(processes.namespace(7), third);
        // Another process has its number now.
        fs::rename(dir.path().join("7"), dir.path().join("gone")).unwrap();
        put(dir.path(), "7");
        processes.refresh(old + AGAIN + STEP).unwrap();
        assert_eq!(processes.namespace(7), identity(&in_dir(dir.path(), 7)));
        fs::remove_dir_all(dir.path().join("7")).unwrap();
        processes.refresh(old + AGAIN + 2 * STEP).unwrap();
        assert!(processes.known.is_empty());
    }
}

//! The files of names, `<state-dir>/names/XX.json`: Services are spread over them by a hash of their
//! names, so that a change rewrites little. Each is replaced as a whole, and carries the version of
//! its format.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result};
use serde::{Deserialize, Serialize};

use super::record::{Draft, NamedService};
use crate::{kept, model::ObjectKey};

/// Goes up when a reader of the former format would read something else.
const VERSION: u32 = 1;

/// Where an agent keeps its names.
#[derive(Clone, Debug)]
pub struct NameFiles {
    folder: PathBuf,
    bpf_dir: PathBuf,
}

/// What has changed since the files were written.
#[derive(Clone, Debug)]
pub enum Changes {
    /// These are all; files hold nothing else.
    All(BTreeMap<ObjectKey, Draft>),
    /// These are new or different, or gone.
    Some(BTreeMap<ObjectKey, Option<Draft>>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    version: u32,
    /// Of the agent that wrote it: several agents may share a state directory by mistake.
    bpf_dir: PathBuf,
    services: Vec<NamedService>,
}

/// What is read of a file of any version.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    version: u32,
    bpf_dir: PathBuf,
}

impl NameFiles {
    /// The files in `state_dir` of the agent that works in `bpf_dir`.
    #[must_use]
    pub fn of(state_dir: &Path, bpf_dir: &Path) -> Self {
        Self {
            folder: state_dir.join("names"),
            bpf_dir: bpf_dir.to_owned(),
        }
    }

    /// Their folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Everything that the agent of these pins wrote last; nothing if it never did, or if it is of
    /// a version with another format. A file that cannot be read is told, and the others count.
    pub fn load(&self, mut skipped: impl FnMut(Error)) -> Result<Vec<NamedService>> {
        let mut all = Vec::new();
        for path in self.shards()? {
            match self.read(&path) {
                Ok(services) => all.extend(services),
                Err(error) => skipped(error),
            }
        }
        Ok(all)
    }

    /// Brings the files up to date.
    pub fn store(&self, changes: &Changes) -> Result<()> {
        let mut shards: BTreeMap<u8, Vec<(String, Option<&Draft>)>> = BTreeMap::new();
        let mut add = |key: &ObjectKey, draft| {
            let key = key.to_string();
            let of = shards.entry(shard(&key)).or_default();
            of.push((key, draft));
        };
        match changes {
            Changes::All(all) => {
                for (key, draft) in all {
                    add(key, Some(draft));
                }
            }
            Changes::Some(some) => {
                for (key, draft) in some {
                    add(key, draft.as_ref());
                }
            }
        }
        let whole = matches!(changes, Changes::All(_));
        if whole {
            let used: BTreeSet<PathBuf> = shards.keys().map(|n| self.shard(*n)).collect();
            for path in self.shards()?.difference(&used) {
                kept::remove(path)?;
            }
        }
        for (number, changed) in shards {
            let path = self.shard(number);
            let known = if whole {
                Vec::new()
            } else {
                // What cannot be read is of no use to anybody.
                self.read(&path).unwrap_or_default()
            };
            let mut now: BTreeMap<String, NamedService> =
                known.into_iter().map(|s| (s.key(), s)).collect();
            for (key, draft) in changed {
                match draft.map(Draft::record).filter(|r| !r.ports.is_empty()) {
                    Some(record) => now.insert(key, record),
                    None => now.remove(&key),
                };
            }
            self.write(&path, now.into_values().collect())?;
        }
        Ok(())
    }

    /// Removes the files.
    pub fn remove(&self) -> Result<()> {
        for path in self.shards()? {
            kept::remove(&path)?;
        }
        match fs::remove_dir(&self.folder) {
            Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
                Err(e).with_context(|| format!("remove {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn shard(&self, shard: u8) -> PathBuf {
        self.folder.join(format!("{shard:02x}.json"))
    }

    /// The files that there are, and what an interrupted write has left.
    fn shards(&self) -> Result<BTreeSet<PathBuf>> {
        let failed = || format!("list {}", self.folder.display());
        let entries = match fs::read_dir(&self.folder) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            entries => entries.with_context(failed)?,
        };
        let mut all = BTreeSet::new();
        for entry in entries {
            let path = entry.with_context(failed)?.path();
            let of_ours = |end: &std::ffi::OsStr| end == "json" || end == "new";
            if path.extension().is_some_and(of_ours) {
                all.insert(path);
            }
        }
        Ok(all)
    }

    fn read(&self, path: &Path) -> Result<Vec<NamedService>> {
        if path.extension().is_some_and(|end| end == "new") {
            return Ok(Vec::new());
        }
        let Some(text) = kept::read(path)? else {
            return Ok(Vec::new());
        };
        let Head { version, bpf_dir } = kept::parse(path, &text)?;
        if version != VERSION || bpf_dir != self.bpf_dir {
            return Ok(Vec::new());
        }
        let Kept { services, .. } = kept::parse(path, &text)?;
        Ok(services)
    }

    /// A reader sees the old file or the new one. One without Services is removed; one that is as
    /// it should be is left alone.
    fn write(&self, path: &Path, services: Vec<NamedService>) -> Result<()> {
        if services.is_empty() {
            return kept::remove(path);
        }
        let kept = Kept {
            version: VERSION,
            bpf_dir: self.bpf_dir.clone(),
            services,
        };
        let text =
            serde_json::to_vec(&kept).with_context(|| format!("encode {}", path.display()))?;
        if fs::read(path).is_ok_and(|now| now == text) {
            return Ok(());
        }
        kept::replace(path, &text)
    }
}

/// The file of a Service: the same in every version.
pub(super) fn shard(key: &str) -> u8 {
    key.bytes()
        .fold(0, |hash: u8, byte| hash.wrapping_mul(31).wrapping_add(byte))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::draft, *};

    /// None of them is broken.
    fn load(files: &NameFiles) -> Vec<NamedService> {
        files.load(|error| panic!("{error:#}")).unwrap()
    }

    fn all(names: &[&str]) -> Changes {
        Changes::All(names.iter().map(|name| draft(name)).collect())
    }

    #[test]
    fn records_come_and_go_and_are_those_of_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let files = NameFiles::of(dir.path(), Path::new("/sys/fs/bpf/lb"));
        assert_eq!(load(&files), []);
        files.store(&all(&["web", "db", "old"])).unwrap();
        assert_eq!(load(&files).len(), 3);
        // Everything replaces what is not named again, a change only what it names.
        files.store(&all(&["web", "db"])).unwrap();
        let gone = BTreeMap::from([(ObjectKey::new("shop", "db"), None)]);
        files.store(&Changes::Some(gone)).unwrap();
        let [web] = &load(&files)[..] else { panic!() };
        assert_eq!(web.key(), "shop/web");
        assert_eq!(web.ports[0].frontends, ["10.96.0.1:80"]);
        assert_eq!(web.endpoints[0].pod.as_deref(), Some("web-1"));
        let other = NameFiles::of(dir.path(), Path::new("/sys/fs/bpf/other"));
        assert_eq!(load(&other), []);
        files.remove().unwrap();
        files.remove().unwrap();
        assert!(!dir.path().join("names").exists());
    }

    #[test]
    fn a_file_of_another_version_has_no_names_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let files = NameFiles::of(dir.path(), Path::new("/sys/fs/bpf/lb"));
        files.store(&all(&["web"])).unwrap();
        let path = files.shard(shard("shop/web"));
        let text = fs::read_to_string(&path).unwrap();
        let newer = text.replace("\"version\":1", "\"version\":2");
        assert_ne!(text, newer);
        fs::write(&path, newer.replace("ports", "doors")).unwrap();
        assert_eq!(load(&files), []);
        fs::write(&path, "{").unwrap();
        // The other files count.
        let other = ["db", "old", "api"]
            .into_iter()
            .find(|name| shard(&format!("shop/{name}")) != shard("shop/web"))
            .unwrap();
        let (key, new) = draft(other);
        let more = BTreeMap::from([(key.clone(), Some(new))]);
        files.store(&Changes::Some(more)).unwrap();
        let mut skipped = Vec::new();
        let [found] = &files.load(|error| skipped.push(error)).unwrap()[..] else {
            panic!()
        };
        assert_eq!(found.key(), key.to_string());
        let error = format!("{:#}", skipped.remove(0));
        assert!(error.contains("remove it") && skipped.is_empty(), "{error}");
        // The next change replaces it.
        files.store(&all(&["web"])).unwrap();
        assert_eq!(load(&files).len(), 1);
    }

    #[test]
    fn what_is_as_it_should_be_is_not_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = NameFiles::of(dir.path(), Path::new("/sys/fs/bpf/lb"));
        files.store(&all(&["web"])).unwrap();
        let path = files.shard(shard("shop/web"));
        let written = || fs::metadata(&path).unwrap().modified().unwrap();
        let before = written();
        files.store(&all(&["web"])).unwrap();
        assert_eq!(written(), before);
    }
}

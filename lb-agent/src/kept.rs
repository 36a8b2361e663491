//! Files that outlive the agent. Each is replaced as a whole: a reader sees the old one or the new
//! one, also after a kill or a power cut. Knows nothing of what is in them.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write as _},
    marker::PhantomData,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// What one file holds.
pub trait Content: Serialize + DeserializeOwned + Default {
    /// The file, in the state directory.
    const NAME: &'static str;
}

/// A file of the agent that works in one bpf-dir, read as nothing by those of others: several agents
/// may share a state directory by mistake.
#[derive(Clone, Debug)]
pub struct KeptFile<T> {
    path: PathBuf,
    bpf_dir: PathBuf,
    content: PhantomData<fn(T) -> T>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept<T> {
    /// Of the agent that wrote it.
    bpf_dir: PathBuf,
    #[serde(flatten)]
    content: T,
}

impl<T: Content> KeptFile<T> {
    /// The file in `state_dir`, of the agent that works in `bpf_dir`.
    #[must_use]
    pub fn of(state_dir: &Path, bpf_dir: &Path) -> Self {
        Self {
            path: state_dir.join(T::NAME),
            bpf_dir: bpf_dir.to_owned(),
            content: PhantomData,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the agent of these pins wrote last; the default if it never did.
    pub fn load(&self) -> Result<T> {
        let Some(text) = read(&self.path)? else {
            return Ok(T::default());
        };
        let Kept { bpf_dir, content } = parse(&self.path, &text)?;
        Ok(if bpf_dir == self.bpf_dir {
            content
        } else {
            T::default()
        })
    }

    /// Replaces it.
    pub fn store(&self, content: T) -> Result<()> {
        let kept = Kept {
            bpf_dir: self.bpf_dir.clone(),
            content,
        };
        let text = serde_json::to_vec_pretty(&kept)
            .with_context(|| format!("encode {}", self.path.display()))?;
        replace(&self.path, &text)
    }
}

/// The content of a file, if it is there.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        read => read
            .map(Some)
            .with_context(|| format!("read {}", path.display())),
    }
}

/// Reads JSON that the agent wrote.
pub(crate) fn parse<T: DeserializeOwned>(path: &Path, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text)
        .with_context(|| format!("{}: not what the agent wrote; remove it", path.display()))
}

/// Replaces a file, in a folder that is made if need be. What is written is on the disk before it
/// takes the old one's place.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    }
    let new = unfinished(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("write {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("put {} in its place", path.display()))
}

/// Removes a file, if it is there, with what an interrupted write of it has left.
pub(crate) fn remove(path: &Path) -> Result<()> {
    for path in [path, &unfinished(path)] {
        match fs::remove_file(path) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("remove {}", path.display()));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What stands beside a file until it is whole.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
    struct Words {
        words: Vec<String>,
    }

    impl Content for Words {
        const NAME: &'static str = "words.json";
    }

    fn words() -> Words {
        Words {
            words: vec!["one".to_owned()],
        }
    }

    #[test]
    fn a_file_is_read_for_the_pins_of_the_agent_that_wrote_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("made");
        let path = state.join("words.json");
        let file = KeptFile::<Words>::of(&state, Path::new("/sys/fs/bpf/lb"));
        assert_eq!(file.load().unwrap(), Words::default());
        file.store(words()).unwrap();
        assert_eq!(file.load().unwrap(), words());
        let text = fs::read_to_string(&path).unwrap();
        let expected = "{\n  \"bpfDir\": \"/sys/fs/bpf/lb\",\n  \"words\": [\n    \"one\"\n  ]\n}";
        assert_eq!(text, expected);
        let other = KeptFile::<Words>::of(&state, Path::new("/sys/fs/bpf/other"));
        assert_eq!(other.load().unwrap(), Words::default());
        fs::write(&path, "").unwrap();
        assert!(format!("{:#}", file.load().unwrap_err()).contains("remove it"));
    }

    #[test]
    fn what_an_interrupted_write_left_is_overwritten_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("words.json");
        let left = || fs::read_dir(dir.path()).unwrap().count();
        fs::write(unfinished(&path), "a text that is longer than the next").unwrap();
        replace(&path, b"{}").unwrap();
        assert_eq!(read(&path).unwrap().unwrap(), b"{}");
        assert_eq!(left(), 1);
        fs::write(unfinished(&path), "{").unwrap();
        remove(&path).unwrap();
        assert_eq!(left(), 0);
        assert_eq!(read(&path).unwrap(), None);
        remove(&path).unwrap();
    }
}

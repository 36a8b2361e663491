//! The archive that a kernel unpacks as its first filesystem: cpio, format `newc`, not compressed.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
};

use anyhow::{Context as _, Result};

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
/// The name that ends an archive.
const END: &str = "TRAILER!!!";

/// Everything in it belongs to root.
pub(super) struct Archive {
    out: BufWriter<File>,
    /// The number of the last entry, and where the next one begins.
    entries: u32,
    at: usize,
    there: BTreeSet<String>,
}

impl Archive {
    /// An empty one.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self {
            out: BufWriter::new(file),
            entries: 0,
            at: 0,
            there: BTreeSet::new(),
        })
    }

    /// A folder, and those above it; `at` is absolute, as in the guest.
    pub(super) fn folder(&mut self, at: &str) -> Result<()> {
        let mut path = String::new();
        for part in at.split('/').filter(|part| !part.is_empty()) {
            path = format!("{path}/{part}");
            self.entry(&path, FOLDER, &[])?;
        }
        Ok(())
    }

    /// A file that may be run; the first one at a path stays.
    pub(super) fn file(&mut self, at: &str, content: &[u8]) -> Result<()> {
        self.parents(at)?;
        self.entry(at, PROGRAM, content)
    }

    /// A copy of a file of this machine, or of what the link there leads to.
    pub(super) fn copy(&mut self, at: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        self.file(at, &content)
    }

    /// A symbolic link.
    pub(super) fn link(&mut self, at: &str, to: &str) -> Result<()> {
        self.parents(at)?;
        self.entry(at, LINK, to.as_bytes())
    }

    /// Whether there is such an entry.
    pub(super) fn holds(&self, at: &str) -> bool {
        self.there.contains(at.trim_start_matches('/'))
    }

    /// Writes the end.
    pub(super) fn finish(mut self) -> Result<()> {
        self.entry(END, 0, &[])?;
        self.out.flush().context("write an archive")
    }

    fn parents(&mut self, at: &str) -> Result<()> {
        let (above, _) = at.rsplit_once('/').unwrap_or_default();
        self.folder(above)
    }

    fn entry(&mut self, at: &str, mode: u32, content: &[u8]) -> Result<()> {
        let name = at.trim_start_matches('/');
        if !self.there.insert(name.to_owned()) {
            return Ok(());
        }
        self.entries += 1;
        let head = header(self.entries, mode, content.len(), name);
        self.put(head.as_bytes())?;
        self.align()?;
        self.put(content)?;
        self.align()
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.at += bytes.len();
        self.out.write_all(bytes).context("write an archive")
    }

    fn align(&mut self) -> Result<()> {
        let rest = self.at.next_multiple_of(4) - self.at;
        self.put(&[0; 4][..rest])
    }
}

/// Thirteen numbers of eight digits, and the name with a zero byte.
/// Documentation/driver-api/early-userspace/buffer-format.rst
fn header(number: u32, mode: u32, size: usize, name: &str) -> String {
    let length = name.len() + 1;
    let links = 1;
    format!(
        "070701{number:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{size:08x}{:08x}{:08x}{:08x}{:08x}{length:08x}{:08x}{name}\0",
        0, 0, 0, 0, 0, 0, 0, 0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_come_first_and_everything_is_aligned() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.cpio");
        let mut archive = Archive::create(&path).unwrap();
        archive.file("/a/b/c", b"hello").unwrap();
        archive.file("/a/b/c", b"not this").unwrap();
        archive.link("/a/d", "b/c").unwrap();
        assert!(archive.holds("/a/b") && !archive.holds("/a/e"));
        archive.finish().unwrap();
        let bytes = fs::read(&path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("no {what}"));
        assert!(at("a/b\0") < at("a/b/c\0") && at("hello") < at("a/d\0"));
        assert!(at("TRAILER!!!") > at("a/d\0") && !text.contains("not this"));
        assert_eq!((text.matches("070701").count(), bytes.len() % 4), (5, 0));
    }
}

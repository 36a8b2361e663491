//! Files and their tar archive: sorted, owned by root, all of one time.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
};

use anyhow::{Context as _, Result};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// Files by their path, which is relative.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<String, (u32, Vec<u8>)>);

impl Tree {
    /// Adds a file with this mode, such as `0o644`.
    pub fn add(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.0.insert(path.to_owned(), (mode, content.into()));
    }

    /// Each path and its content.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(path, (_, content))| (path.as_str(), content.as_slice()))
    }

    /// The sum of all sizes, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.0.values().map(|(_, content)| content.len()).sum()
    }

    /// The archive, with `prefix` before each path; `time` in seconds since 1970 is everybody's.
    pub fn tar(&self, prefix: &str, time: u64) -> Result<Vec<u8>> {
        let mut archive = Builder::new(Vec::new());
        let mut folders = BTreeSet::new();
        for (path, (mode, content)) in &self.0 {
            for (end, _) in path.match_indices('/') {
                if folders.insert(&path[..end]) {
                    let name = format!("{prefix}{}/", &path[..end]);
                    append(
                        &mut archive,
                        &name,
                        EntryType::Directory,
                        (0o755, time),
                        &[],
                    )?;
                }
            }
            let name = format!("{prefix}{path}");
            append(
                &mut archive,
                &name,
                EntryType::Regular,
                (*mode, time),
                content,
            )?;
        }
        archive.into_inner().context("end the archive")
    }
}

fn append(
    archive: &mut Builder<Vec<u8>>,
    path: &str,
    kind: EntryType,
    (mode, time): (u32, u64),
    content: &[u8],
) -> Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(time);
    header.set_size(content.len() as u64);
    // Not by `set_path`, which drops the `./` that Debian's archives begin with.
    let name = &mut header.as_old_mut().name;
    anyhow::ensure!(path.len() < name.len(), "{path}: too long for a tar header");
    name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_cksum();
    archive
        .append(&header, content)
        .with_context(|| format!("append {path}"))
}

/// Compressed, without a time or a name in the header.
pub fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes).context("compress")?;
    encoder.finish().context("compress")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(order: [&str; 2]) -> Tree {
        let mut tree = Tree::default();
        for path in order {
            tree.add(path, 0o644, path);
        }
        tree
    }

    #[test]
    fn the_order_of_adding_changes_nothing() {
        let one = tree(["a/b", "a/c/d"]).tar("./", 7).unwrap();
        assert_eq!(one, tree(["a/c/d", "a/b"]).tar("./", 7).unwrap());
        assert_ne!(one, tree(["a/c/d", "a/b"]).tar("./", 8).unwrap());
        assert_eq!(gzip(&one).unwrap(), gzip(&one).unwrap());
    }

    #[test]
    fn folders_stand_before_what_is_in_them() {
        let bytes = tree(["a/b", "a/c/d"]).tar("./", 7).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| String::from_utf8_lossy(&entry.unwrap().path_bytes()).into_owned())
            .collect();
        assert_eq!(paths, ["./a/", "./a/b", "./a/c/", "./a/c/d"]);
    }
}

//! A folder of manifests read once, by verbs: the same parsers as the agent's.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::folder::{Folder, is_manifest};
use crate::model::Event;

/// What a folder holds.
#[derive(Debug)]
pub struct Read {
    /// Everything, as the source of objects would send it.
    pub lists: [Event; 4],
    /// Files that were read.
    pub files: usize,
    /// What cannot be read.
    pub problems: Vec<FileProblem>,
    /// What the agent would warn of.
    pub warnings: Vec<String>,
}

/// A document that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FileProblem {
    /// The file.
    pub path: PathBuf,
    /// From 1; of the whole file.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// `file:line: reason`
impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path.display(), self.line, self.reason)
    }
}

/// Reads a folder, or a single file, once; `node` is the name of this node.
pub fn read(dir: &Path, node: &str) -> Result<Read> {
    let mut paths = Vec::new();
    if dir.is_file() {
        paths.push(dir.to_owned());
    } else {
        let list = fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))?;
        for entry in list {
            let path = entry
                .with_context(|| format!("list {}", dir.display()))?
                .path();
            if is_manifest(&path) && !path.is_dir() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    ensure!(
        !paths.is_empty(),
        "{} holds no file whose name ends in .yaml, .yml or .json",
        dir.display()
    );
    let mut folder = Folder::new(dir.to_owned());
    let mut problems = Vec::new();
    for path in &paths {
        match fs::read_to_string(path) {
            Ok(text) => {
                folder.take(path, text);
            }
            Err(error) => problems.push(FileProblem {
                path: path.clone(),
                line: 1,
                reason: error.to_string(),
            }),
        }
    }
    problems.extend(folder.problems().map(|(path, p)| FileProblem {
        path: path.to_owned(),
        line: p.line,
        reason: p.reason.clone(),
    }));
    problems.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    let lists = folder.lists(node);
    Ok(Read {
        warnings: folder.warnings(&lists).into_iter().collect(),
        lists,
        files: paths.len(),
        problems,
    })
}

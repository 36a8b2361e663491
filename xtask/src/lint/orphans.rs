//! Files that no module declares: the compiler does not read them, so a test in one passes for ever.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use syn::visit::{self, Visit};

/// Folders of a package whose files Cargo takes for targets of their own.
const TARGETS: [&str; 4] = ["src/bin", "tests", "benches", "examples"];
/// Files that are no submodule of a folder.
const ROOTS: [&str; 4] = ["main.rs", "lib.rs", "mod.rs", "build.rs"];

/// Finds them in every crate of the workspace, and in the one that it leaves out.
pub(super) fn check(root: &Path) -> Result<()> {
    let manifest = root.join("Cargo.toml");
    let text =
        fs::read_to_string(&manifest).with_context(|| format!("read {}", manifest.display()))?;
    let Manifest { workspace } = toml::from_str(&text).context("read the workspace's manifest")?;
    let mut orphans = BTreeSet::new();
    for package in workspace.members.iter().chain(&workspace.exclude) {
        let package = root.join(package);
        of_folder(&package, &package, &mut orphans)?;
    }
    if orphans.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = orphans
        .iter()
        .map(|path| {
            path.strip_prefix(root)
                .unwrap_or(path)
                .display()
                .to_string()
        })
        .collect();
    bail!(
        "no module declares these files, so nothing of them is compiled (add `mod NAME;`, or remove them): {}",
        names.join(", ")
    )
}

#[derive(Deserialize)]
struct Manifest {
    workspace: Workspace,
}

#[derive(Deserialize)]
struct Workspace {
    members: Vec<String>,
    #[serde(default)]
    exclude: Vec<String>,
}

fn of_folder(package: &Path, dir: &Path, orphans: &mut BTreeSet<PathBuf>) -> Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            if !path.ends_with("target") {
                of_folder(package, &path, orphans)?;
            }
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    let declared = declared(dir)?;
    let is_target = TARGETS.iter().any(|targets| dir == package.join(targets));
    for file in files {
        let name = file.file_name().unwrap_or_default();
        let stem = file.file_stem().unwrap_or_default().to_string_lossy();
        if ROOTS.iter().all(|root| name != *root) && !declared.contains(&*stem) && !is_target {
            orphans.insert(file);
        }
    }
    Ok(())
}

/// The modules that files of a folder declare, and the file that has the folder's name.
fn declared(dir: &Path) -> Result<BTreeSet<String>> {
    let mut modules = Modules::default();
    let beside = ROOTS.iter().map(|name| dir.join(name));
    for file in beside.chain([dir.with_extension("rs")]) {
        if file.is_file() {
            let text =
                fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            let parsed =
                syn::parse_file(&text).with_context(|| format!("parse {}", file.display()))?;
            modules.visit_file(&parsed);
        }
    }
    Ok(modules.0)
}

#[derive(Default)]
struct Modules(BTreeSet<String>);

impl<'a> Visit<'a> for Modules {
    fn visit_item_mod(&mut self, item: &'a syn::ItemMod) {
        if item.content.is_none() {
            self.0.insert(item.ident.to_string());
        }
        visit::visit_item_mod(self, item);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package with one module, and whatever else.
    fn package(files: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let always = [
            ("Cargo.toml", "[workspace]\nmembers = ['p']\n"),
            ("p/src/main.rs", "mod known;\nfn main() {}"),
        ];
        for (name, text) in always.iter().chain(files) {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        dir
    }

    fn said(files: &[(&str, &str)]) -> Option<String> {
        let dir = package(files);
        check(dir.path()).err().map(|error| error.to_string())
    }

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        let known = ("p/src/known.rs", "#[cfg(test)] mod tests;");
        let below = ("p/src/known/tests.rs", "");
        let target = ("p/src/bin/other.rs", "fn main() {}");
        let cargo = ("p/tests/whole.rs", "");
        assert_eq!(said(&[known, below, target, cargo]), None);
        let never = "#[test] fn never() { panic!() }";
        let planted = ("p/src/known/lost.rs", never);
        let among_tests = ("p/src/known/tests/lost.rs", never);
        let said = said(&[known, below, planted, among_tests]).unwrap();
        assert!(
            said.contains("p/src/known/lost.rs")
                && said.contains("p/src/known/tests/lost.rs")
                && !said.contains("tests.rs"),
            "{said}"
        );
    }
}

//! Which module of a crate names which other one, read from the source: `use` items and every path
//! that begins with `crate`, `super`, `self`, or another crate of this workspace. Code under
//! `#[cfg(test)]` and files named `tests.rs` do not count.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};

/// One module names another: the arrow `from → to`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    /// The module that holds the line: `lb-agent::sync::engine`.
    pub(super) from: String,
    /// What it names, as a full path: `lb-agent::maps::Table`.
    pub(super) to: String,
    /// Where, relative to the workspace.
    pub(super) file: PathBuf,
    /// Counted from one.
    pub(super) line: usize,
}

/// Every import below `<root>/<package>/src`; `packages` are the crates whose names start a path of
/// interest.
pub(super) fn of_package(root: &Path, package: &str, packages: &[String]) -> Result<Vec<Import>> {
    let src = root.join(package).join("src");
    let mut imports = Vec::new();
    for file in sources(&src)? {
        let inside = file.strip_prefix(&src).unwrap_or(&file);
        let mut module = vec![package.to_owned()];
        module.extend(module_of(inside));
        let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let parsed = syn::parse_file(&text).with_context(|| format!("parse {}", file.display()))?;
        let mut reader = Reader {
            file: file.strip_prefix(root).unwrap_or(&file).to_owned(),
            module,
            packages,
            imports: &mut imports,
        };
        reader.visit_file(&parsed);
    }
    imports.sort();
    imports.dedup();
    Ok(imports)
}

/// The files of a folder and of those below it, tests left out.
fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("list {}", dir.display()))? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        if stem == "tests" || stem.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// `sync/mirror/mod.rs` is `[sync, mirror]`; `lib.rs` and `main.rs` are the crate itself.
fn module_of(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts
}

struct Reader<'a> {
    file: PathBuf,
    module: Vec<String>,
    packages: &'a [String],
    imports: &'a mut Vec<Import>,
}

impl Reader<'_> {
    fn record(&mut self, segments: &[String], line: usize) {
        if let Some(to) = self.resolve(segments) {
            self.imports.push(Import {
                from: self.module.join("::"),
                to: to.join("::"),
                file: self.file.clone(),
                line,
            });
        }
    }

    /// The full path, or `None` where it does not begin in a crate of ours.
    fn resolve(&self, segments: &[String]) -> Option<Vec<String>> {
        let (first, rest) = segments.split_first()?;
        let (mut full, rest) = match first.as_str() {
            "crate" => (self.module[..1].to_vec(), rest),
            "self" => (self.module.clone(), rest),
            "super" => {
                let up = segments.iter().take_while(|part| *part == "super").count();
                let depth = self.module.len().checked_sub(up)?.max(1);
                (self.module[..depth].to_vec(), &segments[up..])
            }
            name => {
                let package = name.replace('_', "-");
                let known = self.packages.contains(&package) && !rest.is_empty();
                (known.then(|| vec![package])?, rest)
            }
        };
        full.extend(rest.iter().cloned());
        Some(full)
    }

    /// What a macro is given has no syntax yet: every `a::b::c` among the tokens counts as a path.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.record_path(&mut path, line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                other => {
                    self.record_path(&mut path, line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.record_path(&mut path, line);
    }

    /// Records what has more than one segment, and empties it.
    fn record_path(&mut self, path: &mut Vec<String>, line: usize) {
        if path.len() > 1 {
            self.record(path, line);
        }
        path.clear();
    }

    fn tree(&mut self, before: &[String], tree: &syn::UseTree) {
        let with = |ident: &syn::Ident| [before, &[ident.to_string()]].concat();
        match tree {
            syn::UseTree::Path(path) => self.tree(&with(&path.ident), &path.tree),
            syn::UseTree::Name(name) => {
                let segments = with(&name.ident);
                self.record(&segments, name.ident.span().start().line);
            }
            syn::UseTree::Rename(rename) => {
                let segments = with(&rename.ident);
                self.record(&segments, rename.ident.span().start().line);
            }
            syn::UseTree::Glob(glob) => {
                self.record(before, glob.star_token.spans[0].start().line);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(before, tree);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        if !attributes(item).iter().any(is_cfg_test) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        self.module.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&[], &item.tree);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        if segments.len() > 1 {
            let line = path.segments[0].ident.span().start().line;
            self.record(&segments, line);
        }
        visit::visit_path(self, path);
    }
}

fn attributes(item: &syn::Item) -> &[syn::Attribute] {
    match item {
        syn::Item::Const(item) => &item.attrs,
        syn::Item::Enum(item) => &item.attrs,
        syn::Item::Fn(item) => &item.attrs,
        syn::Item::Impl(item) => &item.attrs,
        syn::Item::Mod(item) => &item.attrs,
        syn::Item::Static(item) => &item.attrs,
        syn::Item::Struct(item) => &item.attrs,
        syn::Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, and what holds `test` among other conditions that allow it.
fn is_cfg_test(attribute: &syn::Attribute) -> bool {
    let syn::Meta::List(list) = &attribute.meta else {
        return false;
    };
    let condition = list.tokens.to_string();
    attribute.path().is_ident("cfg")
        && (condition == "test"
            || condition.starts_with("any (test")
            || condition.starts_with("any(test"))
}

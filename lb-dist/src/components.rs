//! The crates that a program is made of, from what cargo says.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// One crate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An SPDX expression; empty if the crate names none.
    pub licence: String,
    /// SHA-256 of the archive that the registry has; empty for crates of this project.
    pub checksum: String,
    /// Where its sources are.
    pub dir: PathBuf,
}

/// What the package `root` and its normal dependencies are, sorted; `metadata` is the output of
/// `cargo metadata --filter-platform`, `lock` the text of Cargo.lock.
pub fn of(metadata: &Value, lock: &str, root: &str) -> Result<Vec<Component>> {
    let checksums = checksums(lock)?;
    let packages = by_id(&metadata["packages"], "id");
    let nodes = by_id(&metadata["resolve"]["nodes"], "id");
    let start = packages
        .iter()
        .find(|(_, package)| package["name"] == root && package["source"].is_null())
        .with_context(|| format!("no package {root}"))?;
    let (mut todo, mut seen) = (vec![*start.0], BTreeMap::new());
    while let Some(id) = todo.pop() {
        let package = packages
            .get(id)
            .with_context(|| format!("no package {id}"))?;
        if seen.insert(id, component(package, &checksums)?).is_some() {
            continue;
        }
        let deps = nodes.get(id).and_then(|node| node["deps"].as_array());
        for dep in deps.into_iter().flatten() {
            let kinds = dep["dep_kinds"].as_array();
            // What only build scripts and tests use is not in the program.
            if kinds
                .into_iter()
                .flatten()
                .any(|kind| kind["kind"].is_null())
            {
                let next = dep["pkg"].as_str().context("a dependency without an id")?;
                if !seen.contains_key(next) {
                    todo.push(next);
                }
            }
        }
    }
    let mut all: Vec<Component> = seen.into_values().collect();
    all.sort();
    Ok(all)
}

fn by_id<'a>(list: &'a Value, key: &str) -> BTreeMap<&'a str, &'a Value> {
    let items = list.as_array().into_iter().flatten();
    items
        .filter_map(|item| Some((item[key].as_str()?, item)))
        .collect()
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Result<Component> {
    let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    let manifest = PathBuf::from(text("manifest_path"));
    let dir = manifest
        .parent()
        .context("a manifest without a folder")?
        .to_owned();
    let checksum = checksums.get(&(name.clone(), version.clone())).cloned();
    Ok(Component {
        name,
        version,
        // Old crates write MIT/Apache-2.0.
        licence: text("license").replace('/', " OR "),
        checksum: checksum.unwrap_or_default(),
        dir,
    })
}

fn checksums(lock: &str) -> Result<BTreeMap<(String, String), String>> {
    let lock: toml::Table = lock.parse().context("read Cargo.lock")?;
    let packages = lock.get("package").and_then(toml::Value::as_array);
    let entry = |package: &toml::Value| {
        let text = |key: &str| Some(package.get(key)?.as_str()?.to_owned());
        Some(((text("name")?, text("version")?), text("checksum")?))
    };
    Ok(packages.into_iter().flatten().filter_map(entry).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// A program `app` that uses `lib`, and `tool` only to be built.
    pub(crate) fn metadata() -> Value {
        let package = |name: &str, licence: &str| {
            let source = (name != "app").then_some("registry");
            json!({"id": name, "name": name, "version": "1.0.0", "license": licence, "source": source,
                "manifest_path": format!("/src/{name}/Cargo.toml")})
        };
        let dep = |name: &str, kind: Value| json!({"pkg": name, "dep_kinds": [{"kind": kind}]});
        json!({"packages": [package("app", "MIT"), package("lib", "MIT/Apache-2.0"), package("tool", "MIT")],
            "resolve": {"nodes": [{"id": "app", "deps": [dep("lib", Value::Null), dep("tool", json!("build"))]},
                {"id": "lib", "deps": []}, {"id": "tool", "deps": []}]}})
    }

    pub(crate) const LOCK: &str =
        "[[package]]\nname = \"lib\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";

    #[test]
    fn what_is_linked_is_listed_and_what_only_builds_is_not() {
        let all = of(&metadata(), LOCK, "app").unwrap();
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["app", "lib"]);
        assert_eq!(
            (&*all[1].licence, &*all[1].checksum),
            ("MIT OR Apache-2.0", "abc")
        );
        assert!(of(&metadata(), LOCK, "other").is_err());
    }
}

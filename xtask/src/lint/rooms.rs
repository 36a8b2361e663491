//! Holds the house to its floors: the arrows of `xtask/rooms.toml` must not exist, and no rooms
//! import each other in a circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::imports::{Import, of_package};

/// The list, embedded so that a test and the lint read the same.
const LIST: &str = include_str!("../../rooms.toml");

/// What `rooms.toml` says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rooms {
    /// Crates that are read, by folder.
    packages: Vec<String>,
    never: Vec<Never>,
}

/// One arrow that must not exist.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Never {
    /// A module; those below it count.
    from: String,
    /// Modules that it must not name; those below them count.
    to: Vec<String>,
    /// Why; part of the message when the rule is broken.
    why: String,
}

/// Reads the workspace and fails with every violation in one message.
pub(super) fn check(root: &Path) -> Result<()> {
    let found = violations(root, LIST)?;
    if found.is_empty() {
        Ok(())
    } else {
        bail!("the rooms of the house:\n  {}", found.join("\n  "))
    }
}

fn violations(root: &Path, list: &str) -> Result<Vec<String>> {
    let Rooms { packages, never } = toml::from_str(list).context("read rooms.toml")?;
    let mut imports = Vec::new();
    for package in &packages {
        imports.extend(of_package(root, package, &packages)?);
    }
    let mut found: Vec<String> = stale(root, &never);
    for import in &imports {
        found.extend(never.iter().filter_map(|rule| rule.broken_by(import)));
    }
    for package in &packages {
        found.extend(circles(package, &imports));
    }
    Ok(found)
}

impl Never {
    fn broken_by(&self, import: &Import) -> Option<String> {
        let to = self.to.iter().find(|to| below(&import.to, to))?;
        below(&import.from, &self.from).then(|| {
            format!(
                "{}:{}: {} must not name {to}: {}",
                import.file.display(),
                import.line,
                self.from,
                self.why
            )
        })
    }
}

/// Whether `module` is `room` or inside of it.
fn below(module: &str, room: &str) -> bool {
    module
        .strip_prefix(room)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A rule about a module that is gone would hold for ever and say nothing.
fn stale(root: &Path, never: &[Never]) -> Vec<String> {
    let mut found = Vec::new();
    for name in never
        .iter()
        .flat_map(|rule| rule.to.iter().chain([&rule.from]))
    {
        let path = name.replacen("::", "/src/", 1).replace("::", "/");
        let exists = [path.clone(), format!("{path}.rs")]
            .iter()
            .any(|path| root.join(path).exists());
        if !exists {
            found.push(format!("rooms.toml names {name}, which does not exist"));
        }
    }
    found
}

/// The rooms of one crate that import each other in a circle; a room is a module right below the
/// crate.
fn circles(package: &str, imports: &[Import]) -> Vec<String> {
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for import in imports {
        if let (Some(from), Some(to)) = (room(package, &import.from), room(package, &import.to))
            && from != to
        {
            arrows.entry(from).or_default().insert(to);
        }
    }
    let mut found = Vec::new();
    let mut reported = BTreeSet::new();
    for start in arrows.keys() {
        if let Some(circle) = way_back(&arrows, start) {
            let members: BTreeSet<_> = circle.iter().cloned().collect();
            if reported.insert(members) {
                found.push(format!("a circle in {package}: {}", circle.join(" → ")));
            }
        }
    }
    found
}

fn room(package: &str, module: &str) -> Option<String> {
    let rest = module.strip_prefix(package)?.strip_prefix("::")?;
    let name = rest.split("::").next()?;
    // Items of the crate itself are no room.
    name.starts_with(char::is_lowercase)
        .then(|| name.to_owned())
}

/// The shortest way from a room back to itself.
fn way_back(arrows: &BTreeMap<String, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut ways = vec![vec![start.to_owned()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in arrows.get(way.last()?).into_iter().flatten() {
                let further = [&way[..], std::slice::from_ref(next)].concat();
                if next == start {
                    return Some(further);
                }
                if seen.insert(next.clone()) {
                    longer.push(further);
                }
            }
        }
        ways = longer;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cargo::root;

    const RULES: &str = r#"
        packages = ["agent"]
        [[never]]
        from = "agent::model"
        to = ["agent::watch"]
        why = "facts know no source"
    "#;

    /// A crate of these files, and what is found in it.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = root.path().join("agent/src").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        violations(root.path(), RULES).unwrap()
    }

    #[test]
    fn a_planted_violation_is_found_with_its_line_and_reason() {
        for planted in [
            "\nuse crate::watch::Source;",
            "\nuse crate::{watch::{self, Source}};",
            "\nfn f() -> crate::watch::Source { unreachable!() }",
            "\nuse super::watch;",
            "\nfn f() { assert!(1 == { crate::watch::ONE }, \"{}\", 2) }",
        ] {
            let found = found(&[
                ("model/mod.rs", planted),
                ("watch.rs", "pub struct Source;"),
            ]);
            assert!(
                found[0].starts_with(
                    "agent/src/model/mod.rs:2: agent::model must not name agent::watch: facts"
                ),
                "{planted}: {found:?}"
            );
        }
    }

    #[test]
    fn the_other_direction_tests_and_like_names_are_fine() {
        let found = found(&[
            ("watch.rs", "use crate::model::Fact;"),
            (
                "model/mod.rs",
                "mod tests;\n#[cfg(test)]\nmod inner { use crate::watch::Source; }",
            ),
            ("model/tests.rs", "use crate::watch::Source;"),
            ("model/more.rs", "use crate::watchdog::Dog;"),
            ("watchdog.rs", ""),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_circle_of_rooms_is_found_once_and_a_circle_inside_a_room_is_its_own_affair() {
        let found = found(&[
            ("watch.rs", "use crate::plan::A;"),
            ("plan.rs", "use crate::sync::B;"),
            (
                "sync/mod.rs",
                "use crate::watch::C; use crate::sync::inner::D;",
            ),
            ("sync/inner.rs", "use super::E;"),
            ("model.rs", ""),
        ]);
        assert_eq!(found, ["a circle in agent: plan → sync → watch → plan"]);
    }

    #[test]
    fn a_rule_about_a_module_that_is_gone_is_found() {
        let found = found(&[("model.rs", "")]);
        assert_eq!(
            found,
            ["rooms.toml names agent::watch, which does not exist"]
        );
    }

    #[test]
    fn this_workspace_keeps_its_rules() {
        check(&root().unwrap()).unwrap();
    }
}

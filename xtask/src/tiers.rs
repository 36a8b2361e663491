//! Which program belongs to which tier, and how each tier is run. The target's name says it: `t3`
//! in any package is tier 3.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{cargo::Executable, setup::Needs};

/// A kind of test, by what it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tier {
    /// The pure code.
    Unit = 1,
    /// YAML in, dump out.
    Cases = 2,
    /// Network namespaces, sockets, packets.
    Kernel = 3,
    /// A real API server, and what runs beside it.
    Cluster = 4,
}

impl Tier {
    pub(crate) const ALL: [Self; 4] = [Self::Unit, Self::Cases, Self::Kernel, Self::Cluster];

    /// The tiers with these numbers, in order; all of them for none.
    pub(crate) fn chosen(numbers: &[u8]) -> Vec<Self> {
        let wanted = |tier: &Self| numbers.is_empty() || numbers.contains(&(*tier as u8));
        Self::ALL.into_iter().filter(wanted).collect()
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Unit => "units and properties",
            Self::Cases => "case files",
            Self::Kernel => "real kernel",
            Self::Cluster => "real control plane",
        }
    }

    /// What must be on the machine, beyond what compiling takes.
    pub(crate) fn needs(self) -> Needs {
        let real = self >= Self::Kernel;
        Needs {
            ebpf: true,
            clippy: false,
            machine: real,
            control_plane: self == Self::Cluster,
            nodes: false,
            suite: false,
            guests: false,
            browser: self == Self::Kernel,
            previous: self == Self::Kernel,
        }
    }

    /// Tests at once: those that make namespaces and start servers would crowd each other out.
    pub(crate) fn default_threads(self) -> Option<usize> {
        match self {
            Self::Unit | Self::Cases => None,
            Self::Kernel => Some(4),
            Self::Cluster => Some(2),
        }
    }

    /// How long a program of the tier may run without ending another test before it counts as
    /// hanging.
    pub(crate) fn deadline(self) -> Duration {
        let minutes = if self <= Self::Cases { 10 } else { 25 };
        Duration::from_secs(minutes * 60)
    }

    /// How long a program of the tier may run at all; see [`MOST`].
    pub(crate) fn limit(self) -> Duration {
        self.deadline() * MOST
    }

    /// What a test program of the tier is called.
    fn target(self) -> String {
        format!("t{}", self as u8)
    }
}

/// So many times its deadline a program may run altogether. Each test that ends begins the deadline
/// anew, so without this a program whose tests each take nearly as long would run for days. Four
/// deadlines are 40 minutes for the quick tiers and 100 for the others: room for a slow machine,
/// and an end within a night for whatever waits for it.
const MOST: u32 = 4;

/// The tier of a compiled program; `None` for what is no test, or a test for guests.
pub(crate) fn tier_of(program: &Executable) -> Result<Option<Tier>> {
    if !program.is_test {
        return Ok(None);
    }
    match program.kind.as_str() {
        "lib" | "bin" => Ok(Some(Tier::Unit)),
        "test" if program.target == FOR_GUESTS => Ok(None),
        "test" => by_target(&program.target)
            .map(Some)
            .with_context(|| format!("package {}", program.package)),
        other => bail!(
            "{} of package {} ({other}) belongs to no tier",
            program.target,
            program.package
        ),
    }
}

/// Tests that need what most kernels lack: `cargo xtask vm` alone runs them.
pub(crate) const FOR_GUESTS: &str = "t5";

fn by_target(name: &str) -> Result<Tier> {
    Tier::ALL[1..]
        .iter()
        .find(|tier| name == tier.target())
        .copied()
        .with_context(|| {
            format!("the test program {name} belongs to no tier: call it t2, t3, t4 or t5")
        })
}

/// The arguments by which cargo compiles the tests of these tiers and no others.
///
/// Always the whole workspace, or cargo would compile dependencies anew for each choice of tiers.
pub(crate) fn cargo_args(tiers: &[Tier]) -> Vec<String> {
    let mut args: Vec<String> = ["test", "--workspace", "--no-run"].map(String::from).into();
    for tier in tiers {
        match tier {
            Tier::Unit => args.extend(["--lib", "--bins"].map(String::from)),
            _ => args.extend(["--test".into(), tier.target()]),
        }
    }
    args
}

/// An error if a package of the workspace has a test program that no tier would run.
pub(crate) fn no_strays(metadata: &Value) -> Result<()> {
    let packages = metadata["packages"].as_array();
    for package in packages.context("cargo metadata names no packages")? {
        for target in package["targets"].as_array().into_iter().flatten() {
            let name = target["name"].as_str().unwrap_or_default();
            if target["kind"][0] == "test" && name != FOR_GUESTS {
                by_target(name).with_context(|| format!("package {}", package["name"]))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, DirEntry},
        io,
        path::{Path, PathBuf},
    };

    use serde_json::json;

    use super::*;
    use crate::cargo::root;

    fn program(package: &str, kind: &str, target: &str) -> Executable {
        Executable {
            package: package.into(),
            package_dir: "/c".into(),
            target: target.into(),
            kind: kind.into(),
            is_test: true,
            path: "/t".into(),
        }
    }

    #[test]
    fn programs_find_their_tier() {
        let tier = |package, kind, target| tier_of(&program(package, kind, target)).unwrap();
        assert_eq!(tier("lb-agent", "lib", "lb_agent"), Some(Tier::Unit));
        assert_eq!(tier("demo", "bin", "demo"), Some(Tier::Unit));
        assert_eq!(tier("lb-tests", "test", "t3"), Some(Tier::Kernel));
        assert_eq!(tier("demo", "test", "t3"), Some(Tier::Kernel));
        let binary = Executable {
            is_test: false,
            ..program("demo", "bin", "demo")
        };
        assert_eq!(tier_of(&binary).unwrap(), None);
        assert_eq!(tier("lb-tests", "test", "t5"), None);
    }

    #[test]
    fn a_test_without_a_tier_is_an_error_and_not_forgotten() {
        assert!(tier_of(&program("lb-tests", "test", "socket")).is_err());
        assert!(tier_of(&program("lb-agent", "test", "t3_socket")).is_err());
        let of = |name: &str| {
            let target = json!({"kind": ["test"], "name": name});
            let lib = json!({"kind": ["lib"], "name": "whatever"});
            no_strays(&json!({"packages": [{"name": "lb-agent", "targets": [lib, target]}]}))
        };
        assert!(of("t2").is_ok() && of("t5").is_ok());
        let error = format!("{:#}", of("stray").unwrap_err());
        assert!(
            error.contains("lb-agent") && error.contains("stray"),
            "{error}"
        );
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let name = |entry: io::Result<DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = entries.map(name).collect();
        names.sort();
        names
    }

    /// The files below `folder` that are no module of `parent`, the file that speaks for the folder,
    /// nor of the modules below it. What a test reads stands beside it.
    fn strays(parent: &Path, folder: &Path) -> Vec<PathBuf> {
        let text = fs::read_to_string(parent).unwrap();
        let declares = |module: &str| {
            let line = |line: &str| {
                let line = line.trim_start();
                let bare = line.strip_prefix("pub(crate) ").unwrap_or(line);
                let bare = bare.strip_prefix("pub ").unwrap_or(bare);
                bare == format!("mod {module};")
            };
            text.lines().any(line)
        };
        let mut found = vec![];
        for name in names(folder) {
            let path = folder.join(&name);
            if path == parent {
                continue;
            }
            if path.is_dir() {
                // A folder's modules are named in its own mod.rs or in the file beside it.
                let own = path.join("mod.rs");
                let beside = path.with_extension("rs");
                if own.exists() && declares(&name) {
                    found.extend(strays(&own, &path));
                } else if beside.exists() {
                    found.extend(strays(&beside, &path));
                } else if holds_code(&path) {
                    found.push(path);
                }
            } else if let Some(module) = name.strip_suffix(".rs")
                && !declares(module)
            {
                found.push(path);
            }
        }
        found
    }

    fn holds_code(folder: &Path) -> bool {
        names(folder).iter().any(|name| {
            let path = folder.join(name);
            path.is_dir() && holds_code(&path) || name.strip_suffix(".rs").is_some()
        })
    }

    #[test]
    fn every_file_of_a_tier_is_a_module_of_its_program() {
        let folder = root().unwrap().join("tests");
        let all = ["Cargo.toml", "cases", "src", "t2", "t3", "t4", "t5"];
        assert_eq!(names(&folder), all, "a new folder here runs in no tier");
        for tier in &all[3..] {
            let tier = folder.join(tier);
            let found = strays(&tier.join("main.rs"), &tier);
            assert!(found.is_empty(), "no module of its program: {found:?}");
        }
    }

    #[test]
    fn a_file_that_no_module_names_is_found_at_every_depth() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for (path, text) in [
            ("main.rs", "mod a;\nmod b;\n// mod lost;\n"),
            ("a.rs", ""),
            ("input.yaml", ""),
            ("b/mod.rs", "pub(crate) mod c;\nmod d;"),
            ("b/c.rs", ""),
            ("b/lost.rs", ""),
            ("b/d/mod.rs", ""),
            ("b/d/lost.rs", ""),
            ("b/d/snapshots/one.txt", ""),
            ("lost/mod.rs", ""),
        ] {
            fs::create_dir_all(at(path).parent().unwrap()).unwrap();
            fs::write(at(path), text).unwrap();
        }
        assert_eq!(
            strays(&at("main.rs"), folder.path()),
            [at("b/d/lost.rs"), at("b/lost.rs"), at("lost")]
        );
    }

    #[test]
    fn a_program_that_moves_is_stopped_too_in_the_end() {
        for tier in Tier::ALL {
            let (deadline, limit) = (tier.deadline(), tier.limit());
            assert!(
                limit > deadline && limit <= Duration::from_hours(2),
                "{tier:?}"
            );
        }
    }

    #[test]
    fn only_the_programs_of_the_chosen_tiers_are_compiled() {
        let args = |tiers| cargo_args(tiers)[3..].join(" ");
        assert_eq!(args(&[Tier::Unit]), "--lib --bins");
        assert_eq!(args(&[Tier::Cases, Tier::Cluster]), "--test t2 --test t4");
    }

    #[test]
    fn no_number_means_every_tier() {
        assert_eq!(Tier::chosen(&[]), Tier::ALL);
        assert_eq!(Tier::chosen(&[3, 1]), [Tier::Unit, Tier::Kernel]);
    }
}

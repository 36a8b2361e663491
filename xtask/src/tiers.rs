//! Owns the order of the tests: which program belongs to which tier, and how each tier is run.
//! Runs nothing.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::cargo::Executable;
use crate::setup::Needs;

/// The package with the tests of tiers 2 to 4.
const PACKAGE: &str = "lb-tests";

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
            guests: false,
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

    /// How long one program of the tier may take before it counts as hanging.
    pub(crate) fn deadline(self) -> Duration {
        let minutes = if self <= Self::Cases { 10 } else { 25 };
        Duration::from_secs(minutes * 60)
    }

    fn prefix(self) -> String {
        format!("t{}_", self as u8)
    }
}

/// The tier of a compiled program; `None` for what is no test.
pub(crate) fn tier_of(program: &Executable) -> Result<Option<Tier>> {
    if !program.is_test {
        return Ok(None);
    }
    match program.kind.as_str() {
        "lib" | "bin" => Ok(Some(Tier::Unit)),
        "test" if is_for_guests(&program.target) => Ok(None),
        "test" if program.package == PACKAGE => by_file_name(&program.target).map(Some),
        other => bail!(
            "{} of package {} ({other}) belongs to no tier: tests that are not beside the code go to {PACKAGE}",
            program.target,
            program.package
        ),
    }
}

/// Tests that need what a kernel may lack, and those of the guests have: `cargo xtask vm` alone runs them.
fn is_for_guests(name: &str) -> bool {
    name.starts_with("t5_")
}

fn by_file_name(name: &str) -> Result<Tier> {
    Tier::ALL[1..]
        .iter()
        .find(|tier| name.starts_with(&tier.prefix()))
        .copied()
        .with_context(|| {
            format!("tests/tests/{name}.rs belongs to no tier: call it t2_…, t3_…, t4_… or t5_…")
        })
}

/// The arguments by which cargo compiles the tests of these tiers and no others.
///
/// Always the whole workspace, or cargo would compile dependencies anew for each choice of tiers.
pub(crate) fn cargo_args(tiers: &[Tier], root: &Path) -> Result<Vec<String>> {
    let mut args: Vec<String> = ["test", "--workspace", "--no-run"].map(String::from).into();
    if tiers.contains(&Tier::Unit) {
        args.extend(["--lib", "--bins"].map(String::from));
    }
    for name in test_files(&root.join("tests/tests"))? {
        if !is_for_guests(&name) && tiers.contains(&by_file_name(&name)?) {
            args.extend(["--test".into(), name]);
        }
    }
    Ok(args)
}

/// Whether the arguments select anything: cargo takes a lack of selection for all.
pub(crate) fn selects_nothing(args: &[String]) -> bool {
    args.len() == 3
}

fn test_files(dir: &Path) -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    for entry in entries {
        let path = entry
            .with_context(|| format!("list {}", dir.display()))?
            .path();
        let is_test =
            path.extension().is_some_and(|ext| ext == "rs") || path.join("main.rs").exists();
        if let (true, Some(name)) = (is_test, path.file_stem()) {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(tier("lb-tests", "bin", "demo"), Some(Tier::Unit));
        assert_eq!(tier("lb-tests", "test", "t3_socket"), Some(Tier::Kernel));
        let binary = Executable {
            is_test: false,
            ..program("lb-tests", "bin", "demo")
        };
        assert_eq!(tier_of(&binary).unwrap(), None);
        assert_eq!(tier("lb-tests", "test", "t5_sctp"), None);
    }

    #[test]
    fn a_test_without_a_tier_is_an_error_and_not_forgotten() {
        assert!(tier_of(&program("lb-tests", "test", "socket")).is_err());
        assert!(tier_of(&program("lb-agent", "test", "t3_socket")).is_err());
    }

    #[test]
    fn only_the_files_of_the_chosen_tiers_are_compiled() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("tests/tests");
        fs::create_dir_all(dir.join("t4_chart")).unwrap();
        fs::create_dir_all(dir.join("data")).unwrap();
        for file in [
            "t2_cases.rs",
            "t3_socket.rs",
            "t4_chart/main.rs",
            "t5_sctp.rs",
            "notes.md",
        ] {
            fs::write(dir.join(file), "").unwrap();
        }
        let args = |tiers| cargo_args(tiers, root.path()).unwrap()[3..].join(" ");
        assert_eq!(args(&[Tier::Unit]), "--lib --bins");
        assert_eq!(
            args(&[Tier::Cases, Tier::Cluster]),
            "--test t2_cases --test t4_chart"
        );
        fs::write(dir.join("stray.rs"), "").unwrap();
        assert!(cargo_args(&[Tier::Unit], root.path()).is_err());
    }

    #[test]
    fn no_number_means_every_tier() {
        assert_eq!(Tier::chosen(&[]), Tier::ALL);
        assert_eq!(Tier::chosen(&[3, 1]), [Tier::Unit, Tier::Kernel]);
    }
}

//! Owns `cargo xtask lint`: every check that reads the code without running it.
//! Changes nothing.

mod architecture;
mod imports;
mod links;
mod orphans;
mod rooms;

use std::process::Command;

use anyhow::{Result, bail};
use lb_build::{Choice, cargo_clippy, cargo_for_ebpf, choose, probe, program_on_path};

use crate::{
    cargo::{cargo, root, target_dir},
    setup::{self, Needs},
};

/// Runs all checks, also after one has failed, and names those that did.
pub(crate) fn run() -> Result<()> {
    setup::ensure(Needs {
        ebpf: true,
        clippy: true,
        ..Needs::default()
    })?;
    let mut failed = Vec::new();
    let root = root()?;
    for (name, outcome) in [
        ("rooms", rooms::check(&root)),
        ("files without a module", orphans::check(&root)),
        ("paths in docs/architecture.md", architecture::check(&root)),
        ("links between pages", links::check(&root)),
    ] {
        println!("lint: {name}");
        if let Err(broken) = outcome {
            println!("{broken:#}");
            failed.push(name);
        }
    }
    for (name, mut command) in checks()? {
        println!("lint: {name}");
        if !command.status().is_ok_and(|status| status.success()) {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        bail!("these checks failed: {}", failed.join(", "))
    }
}

fn checks() -> Result<Vec<(&'static str, Command)>> {
    let mut format = cargo()?;
    format.args(["fmt", "--all", "--check"]);
    let mut format_ebpf = cargo()?;
    format_ebpf.args(["fmt", "--manifest-path", "lb-ebpf/Cargo.toml", "--check"]);
    let mut clippy = cargo()?;
    clippy.args([
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]);

    let mut checks = vec![
        ("format", format),
        ("format of lb-ebpf", format_ebpf),
        ("clippy", clippy),
        ebpf()?,
    ];
    if program_on_path("cargo-deny").is_some() {
        let mut deny = cargo()?;
        deny.args(["deny", "check", "bans", "licenses", "sources"]);
        checks.push(("licences and sources", deny));
    } else {
        println!("lint: cargo-deny is not installed, so licences and sources go unchecked");
    }
    Ok(checks)
}

/// The kernel's side, with the clippy of the compiler that builds it.
fn ebpf() -> Result<(&'static str, Command)> {
    let choice = choose(&probe()?)?;
    let clippy = Choice {
        cargo: cargo_clippy(&choice),
        ..choice.clone()
    };
    let source = root()?.join("lb-ebpf");
    let target = target_dir()?.join("lb-ebpf-clippy");
    let mut command = cargo_for_ebpf(&clippy, "clippy", &source, &target);
    command
        .env("CARGO", &choice.cargo)
        .args(["--release", "--", "--deny", "warnings"]);
    Ok(("clippy for lb-ebpf", command))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use toml::Table;

    use super::*;

    fn manifest(path: &str) -> Table {
        fs::read_to_string(root().unwrap().join(path))
            .unwrap()
            .parse()
            .unwrap()
    }

    fn members() -> Vec<String> {
        manifest("Cargo.toml")["workspace"]["members"]
            .as_array()
            .unwrap()
            .iter()
            .map(|member| member.as_str().unwrap().to_owned())
            .collect()
    }

    #[test]
    fn every_crate_opts_in_to_the_workspace_lints() {
        let members = members();
        assert!(members.len() >= 6, "{members:?}");
        for member in members {
            let opted = manifest(&format!("{member}/Cargo.toml"))
                .get("lints")
                .and_then(|lints| lints.get("workspace")?.as_bool());
            assert_eq!(
                opted,
                Some(true),
                "{member}/Cargo.toml lacks `[lints] workspace = true`"
            );
        }
    }
}

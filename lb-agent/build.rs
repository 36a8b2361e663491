//! Owns the compilation of `lb-ebpf` into `$OUT_DIR/lb-ebpf.o`, which the agent embeds.
//! Knows nothing of what is in it.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<()> {
    let variable = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .with_context(|| format!("{name} is not set"))
    };
    let out_dir = variable("OUT_DIR")?;
    let package = variable("CARGO_MANIFEST_DIR")?;
    let workspace = package
        .parent()
        .context("the package stands in no workspace")?;

    for source in [
        "lb-ebpf/src",
        "lb-ebpf/Cargo.toml",
        "lb-ebpf/Cargo.lock",
        "lb-common/src",
        "lb-common/Cargo.toml",
    ] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(source).display()
        );
    }

    let object = lb_build::build_ebpf(
        &workspace.join("lb-ebpf"),
        &lb_build::target_dir_of(&out_dir),
    )?;
    let embedded = out_dir.join("lb-ebpf.o");
    fs::copy(&object, &embedded)
        .with_context(|| format!("copy {} to {}", object.display(), embedded.display()))?;
    Ok(())
}

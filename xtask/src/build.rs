//! `cargo xtask build`: the agent's binary with the eBPF object inside.

use std::{ffi::OsString, os::unix::process::CommandExt as _, path::PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo::{Executable, binary, cargo, compile, target_dir},
    setup::{self, Needs},
    step::Step,
};

/// Of the whole workspace, or cargo would compile dependencies anew for each choice of programs.
const BUILD: [&str; 4] = ["build", "--workspace", "--bin", "lb-agent"];

/// Compiles with cargo's own output on the screen, and says where the result is.
pub(crate) fn run(debug: bool) -> Result<()> {
    setup::ensure(Needs {
        ebpf: true,
        ..Needs::default()
    })?;
    let mut command = cargo()?;
    command.args(BUILD);
    if !debug {
        command.arg("--release");
    }
    let status = command.status()?;
    if !status.success() {
        bail!("lb-agent does not compile ({status})");
    }
    let profile = if debug { "debug" } else { "release" };
    println!("{}", target_dir()?.join(profile).join("lb-agent").display());
    Ok(())
}

/// The optimised agent as it is shipped; needs `Needs::ebpf` fulfilled.
pub(crate) fn agent() -> Result<PathBuf> {
    binary(&release(&[])?, "lb-agent")
}

/// The optimised agent, and a program of the tests' package that runs it.
pub(crate) fn agent_and(program: &str) -> Result<(PathBuf, PathBuf)> {
    let built = release(&["--bin", program])?;
    Ok((binary(&built, "lb-agent")?, binary(&built, program)?))
}

/// Sets up what a program beside the real control plane needs, builds it optimised like the agent
/// that it judges or measures, and becomes it; `more` is what it needs besides.
pub(crate) fn become_program(program: &str, more: Needs, args: &[OsString]) -> Result<()> {
    let ready = setup::ensure(Needs {
        ebpf: true,
        machine: true,
        control_plane: true,
        ..more
    })?;
    let (agent, path) = agent_and(program)?;
    let mut command = ready.as_root(&path, &ready.environment(Some(&agent)));
    Err(command.args(args).exec()).with_context(|| format!("start {}", path.display()))
}

fn release(more: &[&str]) -> Result<Vec<Executable>> {
    let step = Step::new("build-agent", "building lb-agent")?;
    compile(&step, &[&BUILD[..], more, &["--release"]].concat())
}

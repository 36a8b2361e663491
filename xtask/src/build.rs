//! Owns `cargo xtask build`: the agent's binary with the eBPF object inside.
//! Knows nothing of where the eBPF toolchain comes from.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cargo::{cargo, compile_binary, target_dir};
use crate::setup::{self, Needs};
use crate::step::Step;

/// Compiles with cargo's own output on the screen, and says where the result is.
pub(crate) fn run(debug: bool) -> Result<()> {
    setup::ensure(Needs {
        ebpf: true,
        ..Needs::default()
    })?;
    let status = cargo()?.args(agent_args(debug)).status()?;
    if !status.success() {
        bail!("lb-agent does not compile ({status})");
    }
    let profile = if debug { "debug" } else { "release" };
    println!("{}", target_dir()?.join(profile).join("lb-agent").display());
    Ok(())
}

/// The optimised agent, as tests, demo and benchmark run it; needs `Needs::ebpf` fulfilled.
pub(crate) fn release_agent() -> Result<PathBuf> {
    let step = Step::new("build-agent", "building lb-agent")?;
    compile_binary(&step, agent_args(false), "lb-agent")
}

fn agent_args(debug: bool) -> &'static [&'static str] {
    const RELEASE: [&str; 6] = [
        "build",
        "--package",
        "lb-agent",
        "--bin",
        "lb-agent",
        "--release",
    ];
    if debug { &RELEASE[..5] } else { &RELEASE }
}

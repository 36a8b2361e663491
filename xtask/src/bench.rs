//! Owns `cargo xtask bench`: everything before the benchmark's own program starts.
//! Knows nothing of what it measures.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::build::release_agent;
use crate::cargo::compile_binary;
use crate::setup::{self, Needs};
use crate::step::Step;

/// Becomes the benchmark, compiled optimised like what it measures.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let ready = setup::ensure(Needs {
        ebpf: true,
        clippy: false,
        machine: true,
        control_plane: false,
    })?;
    let agent = release_agent()?;
    let step = Step::new("build-bench", "building the benchmark")?;
    let build = [
        "build",
        "--release",
        "--package",
        "lb-tests",
        "--bin",
        "bench",
    ];
    let bench = compile_binary(&step, &build, "bench")?;
    let mut command = ready.as_root(&bench, &ready.environment(Some(&agent)));
    Err(command.args(args).exec()).with_context(|| format!("start {}", bench.display()))
}

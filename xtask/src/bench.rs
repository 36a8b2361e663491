//! Owns `cargo xtask bench`: everything before the benchmark's own program starts.
//! Knows nothing of what it measures.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::build::agent_and;
use crate::setup::{self, Needs};

/// Becomes the benchmark, compiled optimised like what it measures.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let ready = setup::ensure(Needs {
        ebpf: true,
        clippy: false,
        machine: true,
        control_plane: true,
        guests: false,
    })?;
    let (agent, bench) = agent_and("bench")?;
    let mut command = ready.as_root(&bench, &ready.environment(Some(&agent)));
    Err(command.args(args).exec()).with_context(|| format!("start {}", bench.display()))
}

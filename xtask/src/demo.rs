//! Owns `cargo xtask demo`: everything before the demo's own program starts.
//! Knows nothing of what it shows.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::build::release_agent;
use crate::cargo::compile_binary;
use crate::setup::{self, Needs};
use crate::step::Step;

/// Becomes the demo, so that Ctrl-C and the exit code are the demo's own.
pub(crate) fn run(cluster: bool, keep: bool) -> Result<()> {
    let ready = setup::ensure(Needs {
        ebpf: true,
        clippy: false,
        machine: true,
        control_plane: cluster,
    })?;
    let agent = release_agent()?;
    let step = Step::new("build-demo", "building the demo")?;
    let demo = compile_binary(
        &step,
        &["build", "--package", "lb-tests", "--bin", "demo"],
        "demo",
    )?;
    let mut command = ready.as_root(&demo, &ready.environment(Some(&agent)));
    for (wanted, flag) in [(cluster, "--cluster"), (keep, "--keep")] {
        if wanted {
            command.arg(flag);
        }
    }
    Err(command.exec()).with_context(|| format!("start {}", demo.display()))
}

//! `cargo xtask demo`: everything before the demo's own program starts.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::{
    build::agent_and,
    setup::{self, Needs},
};

/// Becomes the demo, so that Ctrl-C and the exit code are the demo's own.
pub(crate) fn run(cluster: bool, keep: bool) -> Result<()> {
    let ready = setup::ensure(Needs {
        ebpf: true,
        clippy: false,
        machine: true,
        control_plane: cluster,
        nodes: false,
        suite: false,
        guests: false,
        browser: false,
        previous: false,
    })?;
    let (agent, demo) = agent_and("demo")?;
    let mut command = ready.as_root(&demo, &ready.environment(Some(&agent)));
    for (wanted, flag) in [(cluster, "--cluster"), (keep, "--keep")] {
        if wanted {
            command.arg(flag);
        }
    }
    Err(command.exec()).with_context(|| format!("start {}", demo.display()))
}

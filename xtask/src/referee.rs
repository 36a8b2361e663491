//! `cargo xtask referee`: everything before the referee of clusters in company starts.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};

use crate::{
    build::agent_and,
    setup::{self, Needs},
};

/// Becomes the referee, optimised like what it judges.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    let ready = setup::ensure(Needs {
        ebpf: true,
        clippy: false,
        machine: true,
        control_plane: true,
        guests: false,
        previous: false,
    })?;
    let (agent, referee) = agent_and("referee")?;
    let mut command = ready.as_root(&referee, &ready.environment(Some(&agent)));
    Err(command.args(args).exec()).with_context(|| format!("start {}", referee.display()))
}

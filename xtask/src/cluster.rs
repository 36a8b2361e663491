//! `cargo xtask cluster`: everything before the cluster's own program starts.

use std::{ffi::OsString, os::unix::process::CommandExt as _};

use anyhow::{Context as _, Result};
use clap::Subcommand;

use crate::{
    build::agent_and,
    setup::{self, Needs},
};

/// What is to be done with it.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Make it, and leave it running: `--nodes 3`, `--proxy kube-proxy`
    Up {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Make one, ask its DNS, a cluster IP and a node port, run the chart's own test, and remove it
    Check {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Remove it, after a crash too
    Down,
    /// A shell with kubectl, helm and KUBECONFIG on a machine beside the nodes, or one command
    /// after `--`; `--node node-1` for one on a node
    Shell {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

/// Becomes the cluster's program.
pub(crate) fn run(what: What) -> Result<()> {
    let (verb, args) = match what {
        What::Up { args } => ("up", args),
        What::Check { args } => ("check", args),
        What::Down => ("down", Vec::new()),
        What::Shell { args } => ("shell", args),
    };
    let ready = setup::ensure(Needs {
        ebpf: true,
        machine: true,
        control_plane: true,
        nodes: true,
        ..Needs::default()
    })?;
    let (agent, program) = agent_and("lb-cluster")?;
    let mut command = ready.as_root(&program, &ready.environment(Some(&agent)));
    Err(command.arg(verb).args(args).exec()).with_context(|| format!("start {}", program.display()))
}

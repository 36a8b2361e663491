//! The way into a cluster that runs: a shell, or one command, beside the API server or on a node.

use std::{
    env, ffi::OsString, fmt::Write as _, os::unix::process::CommandExt as _, path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};
use testbed::cluster::tool;

use crate::state::{self, State};

/// Programs that the shell finds, whatever `PATH` says.
const PROGRAMS: [&str; 3] = ["kubectl", "helm", "ctr"];

/// What can be done with a cluster that is ready.
pub(crate) fn usage(state: &State, dir: &Path) -> String {
    let mut text = String::from("\nIt is up.\n");
    for node in &state.nodes {
        let addresses: Vec<String> = node.addresses.iter().map(ToString::to_string).collect();
        // Writing to a String does not fail.
        let _ = writeln!(text, "  {}: {}", node.name, addresses.join(", "));
    }
    let _ = write!(
        text,
        "  cargo xtask cluster shell                     # kubectl, helm, curl, from a machine beside the nodes\n\
         \x20 cargo xtask cluster shell -- kubectl get pods -A\n\
         \x20 cargo xtask cluster shell --node node-1       # on a node\n\
         \x20 cargo xtask cluster down\n\
         Logs: {} {}",
        dir.display(),
        state.control_plane.display()
    );
    text
}

/// Becomes a shell or that command; `node` is the name of one.
pub fn become_it(node: Option<&str>, words: &[OsString]) -> Result<()> {
    let found = state::find()?;
    let found = found.iter().find(|found| found.lives);
    let state = found
        .context("no cluster is up: `cargo xtask cluster up`")?
        .state()?;
    let mut command = Command::new("nsenter");
    match node {
        None => {
            let mut word = OsString::from("--net=");
            word.push(&state.netns);
            command.arg(word);
        }
        Some(name) => {
            let known = state.nodes.iter().find(|node| node.name == name);
            let node = known.with_context(|| format!("there is no node {name}"))?;
            node.check()?;
            command.args(["--net", "--mount", "--uts", "--target"]);
            command.arg(node.pid.to_string());
        }
    }
    command
        .arg("--")
        .env("KUBECONFIG", &state.kubeconfig)
        .env("PATH", path()?)
        // helm and kubectl keep what they learn with the cluster.
        .env("HELM_CACHE_HOME", state.control_plane.join("helm"))
        .env("KUBECACHEDIR", state.control_plane.join("kubectl"));
    if words.is_empty() {
        let shell = env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
        command.arg(shell);
    } else {
        command.args(words);
    }
    Err(command.exec()).context("start nsenter (package util-linux)")
}

fn path() -> Result<OsString> {
    let mut dirs = Vec::new();
    for name in PROGRAMS {
        let program = tool(name)?;
        dirs.extend(program.parent().map(Path::to_owned));
    }
    let own = env::var_os("PATH").unwrap_or_default();
    dirs.extend(env::split_paths(&own));
    env::join_paths(dirs).context("put kubectl on PATH")
}

//! What must be on the machine before a verb can work: looks, decides, acts, in this order. Nothing
//! long starts before all that is missing and cannot be provided has been named.

mod act;
mod control_plane;
mod monitoring;
mod mounts;
mod packages;
mod plan;
mod previous;
mod rights;

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
pub(crate) use mounts::{cgroup1_roots, cgroup2_root};
use rights::Rights;

/// Which parts of the set-up a verb asks for.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is one part, asked for or not"
)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Needs {
    /// A compiler and a linker for eBPF.
    pub(crate) ebpf: bool,
    /// The lints that go with that compiler.
    pub(crate) clippy: bool,
    /// Root, bpffs, cgroup2, and the programs that tests and demo call.
    pub(crate) machine: bool,
    /// etcd, the API server and what runs beside it, Prometheus too.
    pub(crate) control_plane: bool,
    /// What runs pods: containerd, kubelets and a scheduler.
    pub(crate) nodes: bool,
    /// Kubernetes' own test suite, and what its pods run.
    pub(crate) suite: bool,
    /// QEMU, and what guests are made with.
    pub(crate) guests: bool,
    /// A browser without a window, which the page is tested in.
    pub(crate) browser: bool,
    /// The older agent that upgrades are tested from.
    pub(crate) previous: bool,
}

/// The names of the programs that tests call.
pub(crate) fn programs() -> Vec<&'static str> {
    packages::names()
}

/// A machine on which everything needed was found.
pub(crate) struct Ready {
    rights: Rights,
}

impl Ready {
    /// A command for a program that must be root, with these variables.
    pub(crate) fn as_root(&self, program: &Path, environment: &[(&str, OsString)]) -> Command {
        self.rights.command(program, environment)
    }

    /// What tests, demo and benchmark find the built things by.
    #[expect(clippy::unused_self, reason = "only a machine that is ready has these")]
    pub(crate) fn environment(&self, agent: Option<&Path>) -> Vec<(&'static str, OsString)> {
        let path = env::var_os("PATH").unwrap_or_default();
        let roots_own = ["/usr/sbin".into(), "/sbin".into()];
        let path = env::join_paths(env::split_paths(&path).chain(roots_own)).unwrap_or(path);
        let folders = control_plane::folders()
            .into_iter()
            .chain(monitoring::folder());
        let tools = env::join_paths(folders).unwrap_or_default();
        let mut variables = vec![("PATH", path), ("LB_TOOLS", tools)];
        if let Ok(previous) = previous::path() {
            variables.push(("LB_PREVIOUS_AGENT_BIN", previous.into()));
        }
        if let Some(agent) = agent {
            variables.push(("LB_AGENT_BIN", agent.into()));
        }
        variables
    }
}

/// Where a program of the control plane's tools is, if it is anywhere.
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let located = control_plane::located().into_iter();
    located
        .filter(|(tool, _)| *tool == name)
        .map(|(_, path)| path)
        .next()
}

/// Provides what is needed, quietly when it is all there already.
pub(crate) fn ensure(needs: Needs) -> Result<Ready> {
    let facts = plan::look(needs)?;
    let rights = facts.rights;
    let todo = plan::plan(needs, &facts)?;
    if !todo.is_empty() {
        act::carry_out(&todo, rights)?;
        let left = plan::plan(needs, &plan::look(needs)?)?;
        if !left.is_empty() {
            bail!("set-up ended without an error, yet this is still missing: {left:?}");
        }
    }
    Ok(Ready { rights })
}

/// `cargo xtask setup`: everything, and what was taken from where.
pub(crate) fn run() -> Result<()> {
    ensure(Needs {
        ebpf: true,
        clippy: true,
        machine: true,
        control_plane: true,
        nodes: true,
        suite: true,
        guests: true,
        browser: true,
        previous: true,
    })?;
    println!("eBPF toolchain: {}", lb_build::choose(&lb_build::probe()?)?);
    for (name, path) in control_plane::located() {
        println!("{name}: {}", path.display());
    }
    if let Some(folder) = monitoring::folder() {
        println!("prometheus, promtool: {}", folder.display());
    }
    println!(
        "lb-agent that upgrades start from: {}",
        previous::path()?.display()
    );
    Ok(())
}

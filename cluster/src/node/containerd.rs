//! The container runtime of a node, and the view of the machine that it and the kubelet share.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use testbed::{
    cluster::{Daemon, tool, words},
    node::Node,
    process,
};

use super::files;

const ROOM: &str = include_str!("room.sh");
const CONFIG: &str = include_str!("containerd.toml");
/// A second on an idle machine.
const START: Duration = Duration::from_mins(1);

/// Where it listens; reached from outside of the node, too.
pub(super) fn socket(node: &Node) -> PathBuf {
    files(node).join("containerd.sock")
}

/// Starts it in mount and host name namespaces of its own.
pub(super) fn start(node: &Node, logs: &Path) -> Result<Daemon> {
    let files = files(node);
    let config = files.join("containerd.toml");
    let text = CONFIG
        .replace("SOCKET", &socket(node).display().to_string())
        .replace("CNI", &files.join("cni").display().to_string());
    fs::write(&config, text).with_context(|| format!("write {}", config.display()))?;
    let program = tool("containerd")?;
    let mut line = words(
        "unshare",
        &[
            "--mount",
            "--uts",
            "--propagation",
            "private",
            "sh",
            "-c",
            ROOM,
            "room",
        ],
    );
    line.extend([
        files.into(),
        node.name().into(),
        node.root_cgroup().path().into(),
        "env".into(),
        path_with(&program)?,
        program.into(),
        "--config".into(),
        config.into(),
    ]);
    let name = format!("containerd-{}", node.name());
    Daemon::start(&name, &line, node.sandbox(), logs)
}

/// It has answered when this returns.
pub(super) fn wait(node: &Node, containerd: &mut Daemon) -> Result<()> {
    let line = ctr(node, &["version".into()])?;
    containerd.until(START, "containerd answers", || {
        let said = process::output(node.sandbox(), &line)?;
        Ok(said.status.success().then_some(()))
    })
}

/// Gives it the image of an archive.
pub(super) fn import(node: &Node, archive: &Path) -> Result<()> {
    let rest = ["images".into(), "import".into(), archive.into()];
    process::run(node.sandbox(), &ctr(node, &rest)?)
        .map(drop)
        .with_context(|| format!("import {}", archive.display()))
}

fn ctr(node: &Node, rest: &[OsString]) -> Result<Vec<OsString>> {
    let mut line = words(tool("ctr")?, &["--namespace", "k8s.io", "--address"]);
    line.push(socket(node).into());
    line.extend_from_slice(rest);
    Ok(line)
}

/// `PATH` with the shim, which stands beside containerd.
fn path_with(program: &Path) -> Result<OsString> {
    let own = program.parent().context("a program in no folder")?;
    let path = env::var_os("PATH").unwrap_or_default();
    let dirs = [own.to_owned()].into_iter().chain(env::split_paths(&path));
    let mut word = OsString::from("PATH=");
    word.push(env::join_paths(dirs).context("put containerd on PATH")?);
    Ok(word)
}

//! The end of `--keep`: everything stays, with scripts that lead into it and words on how to use
//! and remove it.

use std::{fmt::Write as _, fs, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::{Context as _, Result};
use testbed::{agent, host::Host, program::HELPER};

use crate::{
    show,
    stage::{NODE_PORT, Source, Stage, WEB_VIP},
};

/// Writes a script for each machine, says how to use them, and lets everything stand.
pub(crate) fn leave(stage: Stage) -> Result<()> {
    let dir = stage.files();
    let binary = agent::binary()?;
    let tools = dir.join("bin");
    fs::create_dir_all(&tools).context("make a folder for the agent's own command")?;
    // With the pins of this node, so that `lb-agent get services` is all there is to type.
    let words = format!(
        "exec {} \"$@\" --bpf-dir {}",
        binary.display(),
        stage.node.bpf_dir().display()
    );
    script(&tools.join("lb-agent"), &words)?;
    let path = format!("PATH={}:$PATH", tools.display());
    for (name, host) in [
        ("node", &stage.node as &Host),
        ("client", stage.client()?),
        ("outside", &stage.outside),
    ] {
        script(&dir.join(name), &enter(host, name, &path)?)?;
    }
    show::title("It stays up: play with it");
    let dir = dir.display();
    let follow = match stage.source {
        Source::Manifests(_) => format!(
            "  $EDITOR {}/web.yaml     # the agent follows\n",
            stage.node.manifests().display()
        ),
        Source::Cluster(_) => String::new(),
    };
    show::say(&format!(
        "  {dir}/client nslookup web\n  {dir}/client wget -qO- http://{vip}/\n  {dir}/outside wget -qO- http://{node}:{NODE_PORT}/\n  \
         {dir}/node lb-agent get services\n  {dir}/node bpftool map dump pinned {pins}/maps/lb_pools\n  \
         {dir}/client              # a shell in the pod\n{follow}  tail -f {dir}/agent.log\n\n\
         To remove it all:\n  cargo xtask clean --keep-target",
        vip = WEB_VIP.v4,
        node = stage.node.addr().v4,
        pins = stage.node.bpf_dir().display(),
    ));
    // Nothing of it is dropped, so all of it goes on.
    std::mem::forget(stage);
    Ok(())
}

/// The line that leads into the machine.
fn enter(host: &Host, name: &str, path: &str) -> Result<String> {
    let me = std::env::current_exe().context("find this program's file")?;
    let mut line = format!(
        "[ $# -gt 0 ] || set -- env \"PS1={name} $ \" sh\n{path} exec {} {HELPER} exec",
        me.display()
    );
    for word in host.sandbox().to_args() {
        // Writing to a String cannot fail.
        let _ = write!(line, " {}", word.display());
    }
    line.push_str(" -- \"$@\"");
    Ok(line)
}

fn script(path: &Path, words: &str) -> Result<()> {
    fs::write(path, format!("#!/bin/sh\n{words}\n"))
        .with_context(|| format!("write {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).context("make it a program")
}

//! `cargo xtask gen`: man pages and shell completions, as the agent itself writes them.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, bail};

use crate::{
    build,
    cargo::target_dir,
    setup::{self, Needs},
};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Writes them to target/gen.
pub(crate) fn run() -> Result<()> {
    setup::ensure(Needs {
        ebpf: true,
        ..Needs::default()
    })?;
    let agent = build::agent()?;
    let folder = target_dir()?.join("gen");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    for shell in SHELLS {
        let output = Command::new(&agent)
            .args(["completion", shell])
            .output()
            .context("run the agent")?;
        if !output.status.success() {
            bail!(
                "lb-agent completion {shell}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let file = folder.join(format!("lb-agent.{shell}"));
        fs::write(&file, output.stdout).with_context(|| format!("write {}", file.display()))?;
    }
    let man = Command::new(&agent)
        .arg("man")
        .arg(&folder)
        .status()
        .context("run the agent")?;
    if !man.success() {
        bail!("lb-agent man {}: {man}", folder.display());
    }
    println!("{}", folder.display());
    Ok(())
}

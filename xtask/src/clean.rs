//! `cargo xtask clean`: removes what broken-off runs left on the machine, and what builds left in
//! the clone. Touches nothing whose name is not ours, nor what a running test or demo still holds.

use std::fs;

use anyhow::{Context as _, Result, bail};
use lb_build::cache_dir;

use crate::{cargo::target_dir, leftovers};

/// Removes everything it can, then says what it could not.
pub(crate) fn run(keep_target: bool, cache: bool) -> Result<()> {
    let mut failed = Vec::new();
    for leftover in leftovers::find() {
        match leftovers::remove(&leftover) {
            Ok(()) => println!("removed {leftover}"),
            Err(error) => failed.push(format!("{error:#}")),
        }
    }
    let mut folders = Vec::new();
    if !keep_target {
        folders.push(target_dir()?);
    }
    if cache {
        folders.push(cache_dir()?);
    }
    for folder in folders.iter().filter(|folder| folder.exists()) {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
        println!("removed {}", folder.display());
    }
    if failed.is_empty() {
        return Ok(());
    }
    let remedy = if nix::unistd::geteuid().is_root() {
        ""
    } else {
        "; try again as root"
    };
    bail!("not removed{remedy}:\n- {}", failed.join("\n- "))
}

//! Removes everything that an agent left in the kernel: programs, pins, and the folder of pins.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result};

use super::clsact;
use crate::{
    load::programs::{self, Spec},
    maps::{
        dir::{BpfDir, names, unpin},
        lock::DirLock,
    },
};

/// Removes what an agent with this bpf-dir left in the kernel: links first (writers before
/// readers), then maps, then the folder. Fails if an agent is running, or if something cannot be
/// removed.
pub fn run(dir: &BpfDir) -> Result<()> {
    run_after(dir, || Ok(()))
}

/// [`run`], after `first`: what must be removed before, while no agent is running.
pub fn run_after(dir: &BpfDir, first: impl FnOnce() -> Result<()>) -> Result<()> {
    if !dir.root().exists() {
        return first();
    }
    let lock = DirLock::take(dir)?;
    first()?;
    let links = names(&dir.links())?;
    let of = |spec: &Spec, name: &str| {
        name.strip_prefix(spec.name)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    for spec in programs::ALL.iter().rev() {
        for name in links.iter().filter(|name| of(spec, name)) {
            let pin = dir.links().join(name);
            detach(&pin)?;
            unpin(&pin)?;
        }
    }
    clsact::prune(dir, &BTreeSet::new())?;
    for folder in [dir.links(), dir.clsact(), dir.trace(), dir.maps()] {
        for name in names(&folder)? {
            unpin(&folder.join(name))?;
        }
        remove_folder(&folder)?;
    }
    remove_folder(&dir.committing())?;
    unpin(&dir.sockets())?;
    dir.unlink_state()?;
    drop(lock);
    remove_folder(dir.root())
}

/// Detaches a link before its pin is removed. Removing the pin alone detaches it too, but only some
/// time later.
fn detach(pin: &Path) -> Result<()> {
    let detached = lb_sys::open_pin(pin).and_then(lb_sys::detach);
    match detached {
        // Its device or cgroup is gone, or the kernel detaches it only with its last reference.
        Err(e) if !matches!(e.errno(), Some(nix::libc::ENOLINK | nix::libc::EOPNOTSUPP)) => {
            Err(e).with_context(|| format!("cannot detach {}", pin.display()))
        }
        _ => Ok(()),
    }
}

fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("cannot remove the folder {}", folder.display()))
        }
        _ => Ok(()),
    }
}

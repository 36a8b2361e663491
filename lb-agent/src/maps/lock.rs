//! Locks on folders of pins: one agent per bpf-dir, and one process that traces. The kernel releases
//! them when the process ends.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};

use super::dir::BpfDir;

/// Held as long as this value lives.
#[derive(Debug)]
pub struct DirLock {
    _held: Flock<File>,
    path: PathBuf,
}

impl DirLock {
    /// Takes the agent's lock; fails at once if another process has it.
    pub fn take(dir: &BpfDir) -> Result<Self> {
        let path = dir.root();
        Self::on(path, || {
            format!(
                "another lb-agent runs with --bpf-dir {}: stop it first, or give this one a folder of its own",
                path.display()
            )
        })
    }

    /// Takes the lock of a process that traces, likewise.
    pub fn take_trace(dir: &BpfDir) -> Result<Self> {
        Self::on(&dir.trace(), || {
            "another `lb-agent trace` looks on at this node: the kernel keeps the filter of one at a time, so end that one first".to_owned()
        })
    }

    fn on(path: &Path, taken: impl FnOnce() -> String) -> Result<Self> {
        let path = path.to_owned();
        let file = File::open(&path)
            .with_context(|| format!("cannot open the folder {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self { _held: held, path }),
            Err((_, Errno::EWOULDBLOCK)) => Err(anyhow!(taken())),
            Err((_, e)) => {
                Err(e).with_context(|| format!("cannot lock the folder {}", path.display()))
            }
        }
    }

    /// The folder that is locked.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

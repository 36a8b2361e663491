//! The lock that allows one agent per bpf-dir. The kernel releases it when the process ends.

use std::{fs::File, path::PathBuf};

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
    /// Takes the lock; fails at once if another process has it.
    pub fn take(dir: &BpfDir) -> Result<Self> {
        let path = dir.root().to_owned();
        let file = File::open(&path)
            .with_context(|| format!("cannot open the folder {}", path.display()))?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => Ok(Self { _held: held, path }),
            Err((_, Errno::EWOULDBLOCK)) => Err(anyhow!(
                "another lb-agent runs with --bpf-dir {}: stop it first, or give this one a folder of its own",
                path.display()
            )),
            Err((_, e)) => {
                Err(e).with_context(|| format!("cannot lock the folder {}", path.display()))
            }
        }
    }

    /// The folder that is locked.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

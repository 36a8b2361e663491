//! A directory of bpffs, removed with everything pinned below it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::name;

/// Where bpffs is mounted.
pub const BPFFS: &str = "/sys/fs/bpf";

/// A node's `--bpf-dir`.
#[derive(Debug)]
pub struct PinDir {
    path: PathBuf,
}

impl PinDir {
    /// A new, empty one.
    pub fn new(role: &str) -> Result<Self> {
        let path = Path::new(BPFFS).join(name::unique(role));
        fs::create_dir(&path).with_context(|| {
            format!(
                "create {} (is it mounted? mount -t bpf bpf {BPFFS})",
                path.display()
            )
        })?;
        Ok(Self { path })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        // `lb-agent cleanup` may have removed it already.
        if self.path.exists()
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("remove {}: {error}", self.path.display());
        }
    }
}

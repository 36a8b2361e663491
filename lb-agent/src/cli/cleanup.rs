//! `lb-agent cleanup`: nothing of the agent stays on the machine.

use std::{fs, io::ErrorKind, path::Path};

use anyhow::{Context as _, Result};

use crate::{
    bootstrap::StateFile,
    datapath::{cleanup, dir::BpfDir},
};

/// Removes programs, links, maps and what is kept on disk. Fails while an agent runs.
pub fn run(bpf_dir: &Path, state_dir: &Path) -> Result<()> {
    cleanup::run(&BpfDir::at(bpf_dir))?;
    StateFile::in_dir(state_dir).remove()?;
    match fs::remove_dir(state_dir) {
        // Somebody else's files may be there too.
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(e).with_context(|| format!("remove {}", state_dir.display()))
        }
        _ => Ok(()),
    }
}

//! `lb-agent cleanup`: nothing of the agent stays on the machine.

use std::{fs, io::ErrorKind};

use anyhow::{Context as _, Result};

use crate::{
    bootstrap::StateFile,
    datapath::{cleanup, dir::BpfDir},
    problems::ProblemFile,
};

use super::args::Cleanup;

/// Removes programs, links, maps and what is kept on disk. Fails while an agent runs.
pub fn run(args: &Cleanup) -> Result<()> {
    cleanup::run(&BpfDir::at(&args.pins.bpf_dir))?;
    let state_dir = &args.state.state_dir;
    StateFile::in_dir(state_dir).remove()?;
    ProblemFile::of(state_dir, &args.pins.bpf_dir).remove()?;
    match fs::remove_dir(state_dir) {
        // Somebody else's files may be there too.
        Err(e) if !matches!(e.kind(), ErrorKind::NotFound | ErrorKind::DirectoryNotEmpty) => {
            Err(e).with_context(|| format!("remove {}", state_dir.display()))
        }
        _ => Ok(()),
    }
}

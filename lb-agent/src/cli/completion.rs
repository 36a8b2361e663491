//! Completions and man pages, made from the definition of the command line.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{args::Cli, output::print};

/// Prints the completions of a shell.
pub fn run(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lb-agent", &mut text);
    print(&String::from_utf8(text).context("completions are no UTF-8")?)
}

/// Writes `lb-agent.1` and a page for each verb.
pub fn man(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("make {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir)
        .with_context(|| format!("write man pages to {}", dir.display()))
}

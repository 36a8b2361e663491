//! Standard output, written so that a reader who leaves early (`| head`) ends the command quietly.

use std::io::{self, ErrorKind, Write as _};

use anyhow::{Context as _, Result};

/// Writes the text.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("write to standard output"),
    }
}

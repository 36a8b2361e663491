//! Standard output, written so that a reader who leaves early (`| head`) ends the command quietly.

use std::io::{self, ErrorKind, Write as _};

use anyhow::{Context as _, Result};

/// Whether anybody reads what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reader {
    Listens,
    HasLeft,
}

/// Writes the text.
pub(super) fn print(text: &str) -> Result<()> {
    write(text).map(|_| ())
}

/// Writes the text; says whether to go on.
pub(super) fn write(text: &str) -> Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(Reader::HasLeft),
        other => other
            .map(|()| Reader::Listens)
            .context("write to standard output"),
    }
}

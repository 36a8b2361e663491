//! Standard output, written so that a reader who leaves early (`| head`) ends the command quietly.

use std::io::{self, ErrorKind, Write as _};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::get::API_VERSION;

/// Whether anybody reads what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reader {
    Listens,
    HasLeft,
}

/// What `-o json` writes: items of one kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct List<T> {
    api_version: &'static str,
    kind: &'static str,
    items: T,
}

impl<T: Serialize> List<T> {
    pub(super) const fn new(kind: &'static str, items: T) -> Self {
        Self {
            api_version: API_VERSION,
            kind,
            items,
        }
    }

    /// With line breaks.
    pub(super) fn pretty(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self).context("encode JSON")? + "\n")
    }

    /// In one line.
    pub(super) fn line(&self) -> Result<String> {
        Ok(serde_json::to_string(self).context("encode JSON")? + "\n")
    }
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

//! Owns the place outside the clone where built tools are kept, one folder a tool and version.
//! Knows nothing of how they get there.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result};

/// The bpf-linker that matches the LLVM (22) of Debian's rustc-web.
pub const BPF_LINKER_VERSION: &str = "0.13.0";

/// `$XDG_CACHE_HOME/lb-agent`, else `~/.cache/lb-agent`.
///
/// A tool is at `<cache>/<name>-<version>/bin/<binary>`; whatever stands there is whole.
pub fn cache_dir() -> Result<PathBuf> {
    let base = match env::var_os("XDG_CACHE_HOME").filter(|dir| !dir.is_empty()) {
        Some(dir) => PathBuf::from(dir),
        None => env::home_dir()
            .context("no home directory for the cache of built tools: set HOME or XDG_CACHE_HOME")?
            .join(".cache"),
    };
    Ok(base.join("lb-agent"))
}

/// What `cargo install --root` is given for bpf-linker; the binary is in its `bin`.
pub fn bpf_linker_root() -> Result<PathBuf> {
    Ok(cache_dir()?.join(format!("bpf-linker-{BPF_LINKER_VERSION}")))
}

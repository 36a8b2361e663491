//! The search for the commands of the control plane.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

/// Where the command is: in `LB_TOOLS`, `KUBEBUILDER_ASSETS` or `PATH`, else in the cache of the
/// build.
pub fn find(name: &str) -> Result<PathBuf> {
    let mut dirs = Vec::new();
    for variable in ["LB_TOOLS", "KUBEBUILDER_ASSETS", "PATH"] {
        if let Some(value) = env::var_os(variable) {
            dirs.extend(env::split_paths(&value));
        }
    }
    dirs.extend(cached()?);
    match dirs
        .iter()
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
    {
        Some(path) => Ok(path),
        None => bail!(
            "{name} is neither in LB_TOOLS, KUBEBUILDER_ASSETS, PATH nor the cache: `cargo xtask test` builds it"
        ),
    }
}

/// The `bin` directories of the cache, the newest version of a tool first.
fn cached() -> Result<Vec<PathBuf>> {
    let base = match (env::var_os("XDG_CACHE_HOME"), env::var_os("HOME")) {
        (Some(cache), _) => PathBuf::from(cache),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => return Ok(Vec::new()),
    };
    let base = base.join("lb-agent");
    if !base.is_dir() {
        return Ok(Vec::new());
    }
    let mut dirs = Vec::new();
    for entry in fs::read_dir(&base).with_context(|| format!("list {}", base.display()))? {
        dirs.push(entry?.path().join("bin"));
    }
    dirs.sort();
    dirs.reverse();
    Ok(dirs)
}

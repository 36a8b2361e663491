//! The end of a run that was told to stop in the middle: everything of this process's names goes at
//! once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{cgroup, name, netns, pins};

/// Removes all that this process has made. Its owner threads may still be making things: asked
/// until nothing is found.
pub fn own() -> Result<()> {
    let places = [
        cgroup::root()?,
        pins::BPFFS.into(),
        netns::DIR.into(),
        std::env::temp_dir(),
    ];
    loop {
        let mut found = false;
        // Processes die with their cgroups, links with their pins, devices with their namespaces.
        for (index, place) in places.iter().enumerate() {
            for path in own_in(place)? {
                found = true;
                match index {
                    0 => cgroup::remove(&path)?,
                    2 => netns::remove(&path),
                    _ if path.exists() => {
                        fs::remove_dir_all(&path)
                            .with_context(|| format!("remove {}", path.display()))?;
                    }
                    _ => {}
                }
            }
        }
        if !found {
            return Ok(());
        }
    }
}

fn own_in(place: &Path) -> Result<Vec<PathBuf>> {
    if !place.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(place).with_context(|| format!("list {}", place.display()))? {
        let entry = entry?;
        if name::maker(&entry.file_name().to_string_lossy()) == Some(std::process::id()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

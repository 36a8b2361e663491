//! New maps in the places of those that they replace. Until a commit has begun, no link runs on the
//! new maps; once it has begun they are filled, and they are what the next agent must find.

use std::{fs, io};

use anyhow::{Context as _, Result};
use lb_common::maps::{self, MapSpec};

use crate::maps::dir::{BpfDir, NEW, names, unpin};

/// What is left to do once the new maps are filled, before the first link runs on them.
#[derive(Debug)]
#[must_use = "pins of replaced maps stay in place until the commit"]
pub struct Commit {
    dir: BpfDir,
}

impl Commit {
    pub(super) fn new(dir: BpfDir) -> Self {
        Self { dir }
    }

    /// Puts the pins of new maps in the place of those that they replace, renames the pins of state
    /// maps under former names, and removes the pins of other versions. Programs that still run on
    /// the old maps hold them. If an agent ends in the middle of this, the next one does the
    /// rest.
    pub fn run(self) -> Result<()> {
        let mark = self.dir.committing();
        match fs::create_dir(&mark) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                return Err(e).with_context(|| format!("cannot make {}", mark.display()));
            }
            _ => rename_all(&self.dir)?,
        }
        fs::remove_dir(&mark).with_context(|| format!("cannot remove {}", mark.display()))
    }
}

fn rename_all(dir: &BpfDir) -> Result<()> {
    for name in names(&dir.maps())? {
        let path = dir.maps().join(&name);
        let rename = |target: &str| {
            fs::rename(&path, dir.maps().join(target))
                .with_context(|| format!("cannot rename the pin {}", path.display()))
        };
        if let Some(target) = name.strip_suffix(NEW) {
            rename(target)?;
        } else if let Some(spec) = under_former_name(dir, &name) {
            // A config map has no successor here only if an agent that did not know its new name
            // ended in the middle of a commit: the next load makes one.
            if spec.is_state() {
                tracing::info!(from = name, to = spec.name, "pin renamed");
                rename(&spec.pin_name())?;
            }
        } else if maps::ALL.iter().all(|spec| spec.pin_name() != name) {
            tracing::info!(pin = name, "removed: another version's map");
            unpin(&path)?;
        }
    }
    Ok(())
}

/// The map that is pinned under this former name alone.
fn under_former_name(dir: &BpfDir, name: &str) -> Option<&'static MapSpec> {
    MapSpec::formerly(name).filter(|spec| dir.is_former(spec))
}

/// Finishes or undoes what a previous agent left if it ended between load and the end of its
/// commit.
pub(super) fn recover(dir: &BpfDir) -> Result<()> {
    if dir.committing().exists() {
        return Commit::new(dir.clone()).run();
    }
    for name in names(&dir.maps())? {
        if name.ends_with(NEW) {
            unpin(&dir.maps().join(name))?;
        }
    }
    Ok(())
}

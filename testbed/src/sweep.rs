//! The end of a run that was told to stop in the middle, or that died: everything of a process's
//! names goes at once.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{cgroup, cgroup_v1, name, netns, pins};

/// Where names of ours are, in the order of removal: processes die with their cgroups, links with
/// their pins, devices with their namespaces.
#[derive(Clone, Copy)]
enum Place {
    Cgroup2,
    CgroupV1,
    Pins,
    Namespaces,
    Files,
}

/// Removes all that this process has made. Its owner threads may still be making things: asked
/// until nothing is found.
pub fn own() -> Result<()> {
    of(std::process::id())
}

/// The same of another process, which must have ended.
pub fn of(maker: u32) -> Result<()> {
    loop {
        let found = made(maker)?;
        if found.is_empty() {
            return Ok(());
        }
        // What one thing is in the way of, others may take away.
        let (removed, failed): (Vec<_>, Vec<_>) = found
            .into_iter()
            .map(|(place, path)| remove(place, &path))
            .partition(Result::is_ok);
        if removed.is_empty() {
            return failed.into_iter().collect();
        }
    }
}

/// What this process has made and not removed.
pub fn left() -> Result<Vec<PathBuf>> {
    left_by(std::process::id())
}

/// The same of another process.
pub fn left_by(maker: u32) -> Result<Vec<PathBuf>> {
    let found = made(maker)?;
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn made(maker: u32) -> Result<Vec<(Place, PathBuf)>> {
    let mut places = vec![(Place::Cgroup2, cgroup::root()?)];
    places.extend(
        cgroup_v1::roots()?
            .into_iter()
            .map(|root| (Place::CgroupV1, root)),
    );
    places.extend([
        (Place::Pins, pins::BPFFS.into()),
        (Place::Namespaces, netns::DIR.into()),
        (Place::Files, std::env::temp_dir()),
    ]);
    let mut found = Vec::new();
    for (place, dir) in places {
        let paths = made_by(maker, &dir)?.into_iter();
        found.extend(paths.map(|path| (place, path)));
    }
    Ok(found)
}

/// Whether a process runs; one that has ended and that nobody asked for (`Z` in proc(5)) does not.
#[must_use]
pub fn is_running(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

fn remove(place: Place, path: &Path) -> Result<()> {
    match place {
        Place::Cgroup2 => cgroup::remove(path)?,
        Place::CgroupV1 => cgroup_v1::remove(path)?,
        Place::Namespaces => netns::remove(path),
        Place::Pins | Place::Files if path.exists() => {
            fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))?;
        }
        Place::Pins | Place::Files => {}
    }
    Ok(())
}

fn made_by(maker: u32, place: &Path) -> Result<Vec<PathBuf>> {
    if !place.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(place).with_context(|| format!("list {}", place.display()))? {
        let entry = entry?;
        if name::maker(&entry.file_name().to_string_lossy()) == Some(maker) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

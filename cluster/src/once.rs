//! A cluster that is made for one purpose, and removed without a trace.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use testbed::{name, sweep};

use crate::{Asked, Up, images::Images};

/// Where containerd, kubelets and the controllers' manager write on a machine unless they are told
/// not to.
const ELSEWHERE: [&str; 8] = [
    "/opt/containerd",
    "/usr/libexec/kubernetes",
    "/var/lib/kubelet",
    "/var/lib/containerd",
    "/var/lib/cni",
    "/etc/cni/net.d",
    "/run/containerd",
    "/var/log/pods",
];

/// Makes it, does that, and removes it; an error too if a part of it died, or if it leaves anything
/// behind. The work gets a folder for its files, with the cluster's logs.
pub(crate) fn with<T, S: FnMut(&str)>(
    asked: Asked,
    images: Images,
    role: &str,
    say: &mut S,
    work: impl FnOnce(&Up, &Path, &mut S) -> Result<T>,
) -> Result<T> {
    let before = elsewhere();
    let dir = tempfile::Builder::new()
        .prefix(&name::unique(role))
        .tempdir()
        .context("make a folder")?;
    let mut up = Up::raise(asked, images, dir.path(), |what| {
        say(what);
        Ok(())
    })?;
    let done = work(&up, dir.path(), say)?;
    up.check()?;
    drop(up);
    dir.close().context("remove a folder")?;
    let left = sweep::left()?;
    ensure!(left.is_empty(), "left behind: {left:?}");
    let after = elsewhere();
    ensure!(
        after == before,
        "there is more on the machine than before: {after:?}"
    );
    say("everything is removed");
    Ok(done)
}

/// Those of the places that are there.
fn elsewhere() -> Vec<&'static str> {
    let places = ELSEWHERE.into_iter();
    places.filter(|place| Path::new(place).exists()).collect()
}

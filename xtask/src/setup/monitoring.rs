//! Prometheus, which the alerts and the dashboard are tested with: taken out of Debian's package
//! into the cache. The package itself is not installed, since it would start a server.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use lb_build::{cache_dir, program_on_path};

use crate::step::Step;

const PROGRAMS: [&str; 2] = ["prometheus", "promtool"];
const PACKAGE: &str = "prometheus";

/// Whether one of them is neither on PATH nor in the cache.
pub(super) fn is_missing() -> bool {
    folder().is_none()
}

/// The folder that holds both.
pub(super) fn folder() -> Option<PathBuf> {
    let [server, tool] = PROGRAMS.map(program_on_path);
    if let (Some(server), Some(_)) = (server, tool) {
        return server.parent().map(Path::to_owned);
    }
    let mut cached: Vec<_> = fs::read_dir(cache_dir().ok()?)
        .ok()?
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("prometheus-")
        })
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| PROGRAMS.iter().all(|name| bin.join(name).is_file()))
        .collect();
    cached.sort();
    cached.pop()
}

/// Fetches the package and takes the programs out; they appear in the cache whole or not at all.
pub(super) fn fetch() -> Result<()> {
    let cache = cache_dir()?;
    let unfinished = cache.join(".prometheus.unfinished");
    let _ = fs::remove_dir_all(&unfinished);
    let bin = unfinished.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    let mut download = Command::new("apt-get");
    download
        .current_dir(&unfinished)
        .args(["-q", "download", PACKAGE]);
    Step::new("fetch-prometheus", "fetching Prometheus")?
        .run(&mut download)
        .context("by hand: put prometheus and promtool on PATH")?;
    let package = fs::read_dir(&unfinished)
        .with_context(|| format!("list {}", unfinished.display()))?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt-get downloaded no package")?;
    let tree = unfinished.join("tree");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("--extract").arg(&package).arg(&tree);
    Step::new("unpack-prometheus", "unpacking Prometheus")?.run(&mut unpack)?;
    for name in PROGRAMS {
        let from = tree.join("usr/bin").join(name);
        let to = bin.join(name);
        fs::rename(&from, &to).with_context(|| format!("take {} out", from.display()))?;
    }
    let target = cache.join(version(&package)?);
    for rest in [&tree, &package] {
        let removed = if rest.is_dir() {
            fs::remove_dir_all(rest)
        } else {
            fs::remove_file(rest)
        };
        removed.with_context(|| format!("remove {}", rest.display()))?;
    }
    fs::rename(&unfinished, &target).with_context(|| format!("put {} in place", target.display()))
}

/// `prometheus_2.42.0+ds-5_amd64.deb` gives `prometheus-2.42.0+ds-5`.
fn version(package: &Path) -> Result<String> {
    let name = package.file_name().unwrap_or_default().to_string_lossy();
    match name.split('_').collect::<Vec<_>>()[..] {
        [package, version, _] => Ok(format!("{package}-{version}")),
        _ => bail!("{name} is not named as a package of Debian"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_keyed_by_the_version_of_the_package() {
        let version = |name| version(Path::new(name));
        assert_eq!(
            version("/c/prometheus_2.42.0+ds-5_amd64.deb").unwrap(),
            "prometheus-2.42.0+ds-5"
        );
        assert!(version("/c/prometheus.deb").is_err());
    }
}

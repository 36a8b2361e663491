//! An older lb-agent, built once into the cache from this repository's own history: what upgrades
//! are tested from.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use lb_build::cache_dir;

use crate::{
    cargo::{cargo, root},
    step::Step,
};

/// The last commit whose maps have the names that they had before the first release.
const COMMIT: &str = "f876b4373c187e3d89fa9d7279a6e560216f5528";

/// Where the binary is, built or not.
pub(super) fn path() -> Result<PathBuf> {
    Ok(folder()?.join("bin/lb-agent"))
}

/// Whether it has yet to be built.
pub(super) fn is_missing() -> bool {
    path().is_ok_and(|path| !path.is_file())
}

fn folder() -> Result<PathBuf> {
    Ok(cache_dir()?.join(format!("lb-agent-{}", &COMMIT[..7])))
}

/// Builds it into the cache; it appears there whole or not at all.
pub(super) fn build() -> Result<()> {
    let folder = folder()?;
    let source = folder.join("source");
    // What a broken-off build left is of no use: its tree may be half unpacked.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&source).with_context(|| format!("create {}", source.display()))?;
    unpack(&source)?;

    let target = folder.join("target");
    let mut command = cargo()?;
    command
        .current_dir(&source)
        .env("CARGO_TARGET_DIR", &target)
        // Neither line numbers nor optimised code are of use for this one.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .args([
            "build",
            "--locked",
            "--package",
            "lb-agent",
            "--bin",
            "lb-agent",
        ]);
    Step::new(
        "build-previous",
        "building the lb-agent that upgrades start from",
    )?
    .run(&mut command)?;

    let binary = path()?;
    let bin = folder.join("bin");
    fs::create_dir_all(&bin).with_context(|| format!("create {}", bin.display()))?;
    fs::rename(target.join("debug/lb-agent"), &binary)
        .with_context(|| format!("put {} in place", binary.display()))?;
    for rest in [source, target] {
        fs::remove_dir_all(&rest).with_context(|| format!("remove {}", rest.display()))?;
    }
    Ok(())
}

/// `git archive | tar -x`: the tree of that commit without touching the clone's own.
fn unpack(into: &Path) -> Result<()> {
    let archive = into.with_extension("tar");
    let file = File::create(&archive).with_context(|| format!("create {}", archive.display()))?;
    let output = Command::new("git")
        .current_dir(root()?)
        .args(["archive", "--format=tar", COMMIT])
        .stdout(file)
        .stderr(Stdio::piped())
        .output()
        .context("run git")?;
    if !output.status.success() {
        bail!(
            "this clone lacks commit {COMMIT}, which upgrades are tested from (`git fetch --unshallow` brings it): {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let status = Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(into)
        .status()
        .context("run tar")?;
    if !status.success() {
        bail!("tar cannot unpack {} ({status})", archive.display());
    }
    fs::remove_file(&archive).with_context(|| format!("remove {}", archive.display()))
}

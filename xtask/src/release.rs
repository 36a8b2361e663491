//! `cargo xtask release --dry-run`: every artefact of a release, in target/release-VERSION.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use lb_dist::{package, sha256, tree::gzip};

use crate::{
    cargo::{root, target_dir},
    image::{self, ImageArgs},
    setup,
};

/// `cargo xtask release`
#[derive(Args)]
pub(crate) struct ReleaseArgs {
    /// Make everything and publish nothing; publishing is the work of .github/workflows/release.yml
    #[arg(long)]
    dry_run: bool,
    /// How the image is made.
    #[command(flatten)]
    image: ImageArgs,
}

/// Makes the artefacts, their checksums, and the notes.
pub(crate) fn run(args: &ReleaseArgs) -> Result<()> {
    if !args.dry_run {
        bail!(
            "a release is published by a tag (.github/workflows/release.yml); --dry-run makes its artefacts here"
        );
    }
    let (version, notes) = notes(&fs::read_to_string(root()?.join("CHANGELOG.md"))?)?;
    let dir = target_dir()?.join(format!("release-{version}"));
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    }
    let made = image::make(&args.image, &dir.join("image"))?;
    let root = root()?;
    let sources = package::Sources {
        root: &root,
        binary: &made.program,
        licences: &made.licences,
    };
    let mut files = made.files;
    let deb = sources.deb(&version, "amd64", made.time)?.bytes()?;
    files.push(write(&dir, &format!("lb-agent_{version}_amd64.deb"), deb)?);
    let prefix = format!("lb-agent-{version}/");
    let archive = gzip(&sources.tree()?.tar(&prefix, made.time)?)?;
    files.push(write(
        &dir,
        &format!("lb-agent-{version}-linux-amd64.tar.gz"),
        archive,
    )?);
    files.push(chart(&dir, &root, &version)?);
    files.push(write(&dir, "RELEASE-NOTES.md", notes)?);
    let mut sums = String::new();
    for file in &files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let sum = sha256(&fs::read(file).with_context(|| format!("read {}", file.display()))?);
        writeln!(sums, "{sum}  {name}").context("write a sum")?;
    }
    write(&dir, "SHA256SUMS", sums.clone())?;
    print!("{sums}");
    println!("{}", dir.display());
    Ok(())
}

/// The chart as helm packs it, for `helm push`.
fn chart(dir: &Path, root: &Path, version: &str) -> Result<PathBuf> {
    let helm =
        setup::tool("helm").context("no helm: `cargo xtask setup` builds it, or put it on PATH")?;
    let done = Command::new(&helm)
        .args([
            "package",
            "helm",
            "--version",
            version,
            "--app-version",
            version,
            "--destination",
        ])
        .arg(dir)
        .current_dir(root)
        .output()
        .with_context(|| format!("start {}", helm.display()))?;
    ensure!(
        done.status.success(),
        "helm package: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(dir.join(format!("lb-agent-{version}.tgz")))
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
    let file = dir.join(name);
    fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// The version, and the newest section of the changelog: the released one of this version, else
/// what is not released yet.
fn notes(changelog: &str) -> Result<(String, String)> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let mut sections = changelog.split("\n## ").skip(1);
    let section = sections
        .find(|it| it.starts_with(&format!("[{version}]")) || it.starts_with("Unreleased"))
        .context("CHANGELOG.md has neither this version nor what is unreleased")?;
    let (_, text) = section.split_once('\n').context("an empty section")?;
    Ok((version, text.trim().to_owned() + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_are_the_newest_section() {
        let (version, text) =
            notes("# Changelog\n\n## Unreleased\n\n- new\n\n## [0.0.1]\n\n- old\n").unwrap();
        assert_eq!(
            (version.as_str(), text.as_str()),
            (env!("CARGO_PKG_VERSION"), "- new\n")
        );
        assert!(notes("# Changelog\n").is_err());
    }
}

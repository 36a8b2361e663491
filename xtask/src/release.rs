//! `cargo xtask release --dry-run`: every artefact of a release, in target/release-VERSION.

use std::{
    env,
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

/// The manifest of kubectl's plugin.
const KREW: &str = "packaging/krew/lb.yaml";

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
    // Beside the others: they are published in one folder, and the checksums name them as they are there.
    let mut files = made
        .files
        .iter()
        .map(|file| lift(file, &dir))
        .collect::<Result<Vec<_>>>()?;
    let deb = sources.deb(&version, "amd64", made.time)?.bytes()?;
    files.push(write(&dir, &format!("lb-agent_{version}_amd64.deb"), deb)?);
    let prefix = format!("lb-agent-{version}/");
    let archive = gzip(&sources.tree()?.tar(&prefix, made.time)?)?;
    let plugin = fs::read_to_string(root.join(KREW)).with_context(|| format!("read {KREW}"))?;
    let repository = env::var("GITHUB_REPOSITORY").unwrap_or_else(|_| "OWNER/lb-agent".to_owned());
    let plugin = krew(&plugin, &version, &sha256(&archive), &repository);
    files.push(write(&dir, "lb.yaml", plugin)?);
    files.push(write(
        &dir,
        &format!("lb-agent-{version}-linux-amd64.tar.gz"),
        archive,
    )?);
    files.push(chart(&dir, &root, &version)?);
    // The text of the release, not a file of it.
    write(&dir, "RELEASE-NOTES.md", notes)?;
    let sums = sums(&files)?;
    write(&dir, "SHA256SUMS", &sums)?;
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

/// The manifest for an archive with this checksum.
fn krew(template: &str, version: &str, sum: &str, repository: &str) -> String {
    let (_, text) = template.split_once('\n').unwrap_or(("", template));
    text.replace("{VERSION}", version)
        .replace("{SHA256}", sum)
        .replace("{REPOSITORY}", repository)
}

/// Moves a file into a folder of the same file system.
fn lift(file: &Path, into: &Path) -> Result<PathBuf> {
    let to = into.join(file.file_name().context("no file")?);
    fs::rename(file, &to).with_context(|| format!("move {}", file.display()))?;
    Ok(to)
}

/// As `sha256sum` writes them, and reads them in the folder of the files.
fn sums(files: &[PathBuf]) -> Result<String> {
    let mut sums = String::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let sum = sha256(&fs::read(file).with_context(|| format!("read {}", file.display()))?);
        writeln!(sums, "{sum}  {name}").context("write a sum")?;
    }
    Ok(sums)
}

fn write(dir: &Path, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
    let file = dir.join(name);
    fs::write(&file, content).with_context(|| format!("write {}", file.display()))?;
    Ok(file)
}

/// The version, and its section of the changelog; without one, what is not released yet.
fn notes(changelog: &str) -> Result<(String, String)> {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let section_of = |name: &str| {
        let mut sections = changelog.split("\n## ").skip(1);
        sections.find(|it| it.starts_with(name))
    };
    let section = section_of(&format!("[{version}]"))
        .or_else(|| section_of("Unreleased"))
        .context("CHANGELOG.md has neither this version nor what is unreleased")?;
    let (_, text) = section.split_once('\n').context("an empty section")?;
    Ok((version, text.trim().to_owned() + "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_notes_are_those_of_the_version_and_without_them_what_is_unreleased() {
        let version = env!("CARGO_PKG_VERSION");
        let head = "# Changelog\n\n## Unreleased\n\n- next\n";
        let old = "\n## [0.0.0]\n\n- old\n";
        let of = |text: &str| notes(text).unwrap();
        assert_eq!(
            of(&format!("{head}{old}")),
            (version.to_owned(), "- next\n".to_owned())
        );
        let this = format!("\n## [{version}] - 2027-01-01\n\n- this\n");
        assert_eq!(of(&format!("{head}{this}{old}")).1, "- this\n");
        assert_eq!(of(&format!("# Changelog\n{this}{old}")).1, "- this\n");
        assert!(notes("# Changelog\n").is_err());
    }

    #[test]
    fn sha256sum_finds_every_file_beside_the_sums() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("image");
        fs::create_dir(&made).unwrap();
        let image = write(&made, "lb-agent-amd64.tar", "image").unwrap();
        let files = [
            lift(&image, dir.path()).unwrap(),
            write(dir.path(), "lb-agent_1_amd64.deb", "package").unwrap(),
        ];
        write(dir.path(), "SHA256SUMS", sums(&files).unwrap()).unwrap();
        let checked = Command::new("sha256sum")
            .args(["--check", "--strict", "SHA256SUMS"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8(checked.stdout).unwrap();
        assert_eq!(said, "lb-agent-amd64.tar: OK\nlb-agent_1_amd64.deb: OK\n");
    }

    #[test]
    fn the_plugin_is_that_of_the_archive() {
        let template = fs::read_to_string(root().unwrap().join(KREW)).unwrap();
        let text = krew(&template, "1.2.3", "abc", "someone/lb");
        let end = "someone/lb/releases/download/v1.2.3/lb-agent-1.2.3-linux-amd64.tar.gz\n      sha256: \"abc\"";
        assert!(text.contains(end), "{text}");
        assert!(
            text.starts_with("apiVersion:") && !text.contains('{'),
            "{text}"
        );
    }

    #[test]
    fn what_has_a_checksum_is_published() {
        let workflow = root().unwrap().join(".github/workflows/release.yml");
        let text = fs::read_to_string(workflow).unwrap();
        for pattern in [
            "./*.tar ",
            "./*.cdx.json ",
            "./*.debug ",
            "./*.deb ",
            "./*.tar.gz ",
            "./*.tgz ",
            "./lb.yaml ",
        ] {
            assert!(text.contains(pattern), "{pattern}");
        }
    }
}

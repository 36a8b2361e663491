//! The kernels of guests: fetched once as Debian packages them into the cache outside the clone,
//! nothing installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use lb_build::cache_dir;

use super::modules;
use crate::step::Step;

/// A line of kernels that Debian keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Line {
    /// The oldest that lb-agent runs on
    #[value(name = "6.1")]
    Floor,
    /// With tcx
    #[value(name = "6.12")]
    Newer,
}

impl Line {
    /// As in `uname -r`, without what follows.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Floor => "6.1",
            Self::Newer => "6.12",
        }
    }
}

/// A kernel that a guest can be started with.
#[derive(Debug)]
pub(crate) struct Kernel {
    pub(crate) line: Line,
    folder: PathBuf,
}

impl Kernel {
    /// From the cache; else from the archive.
    pub(crate) fn of(line: Line) -> Result<Self> {
        let cached = cached(line)?;
        let folder = cached.map_or_else(|| fetch(line), Ok)?;
        Ok(Self { line, folder })
    }

    /// What QEMU loads.
    pub(super) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// What is `/lib/modules` in the guest: already no more than a guest needs.
    pub(super) fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }
}

fn prefix(line: Line) -> String {
    format!("linux-{}.", line.name())
}

/// The one fetched last.
fn cached(line: Line) -> Result<Option<PathBuf>> {
    let dir = cache_dir()?;
    let Ok(entries) = fs::read_dir(&dir) else {
        return Ok(None);
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("list {}", dir.display()))?;
        if entry
            .file_name()
            .to_string_lossy()
            .starts_with(&prefix(line))
        {
            found.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    Ok(found.into_iter().max().map(|(_, path)| path))
}

/// It appears in the cache whole or not at all.
fn fetch(line: Line) -> Result<PathBuf> {
    let (package, version) = package(line)?;
    let target = cache_dir()?.join(format!("linux-{version}"));
    let scratch = tempfile::Builder::new()
        .prefix(&format!(".linux-{}", line.name()))
        .tempdir_in(fs::create_dir_all(cache_dir()?).map(|()| cache_dir())??)
        .context("make a folder in the cache")?;
    let at = scratch.path();
    let step = |verb: &str, title: &str| {
        let name = line.name();
        Step::new(
            &format!("kernel-{name}-{verb}"),
            format!("kernel {name}: {title}"),
        )
    };
    let mut download = Command::new("apt-get");
    download.current_dir(at).args(["-q", "download", &package]);
    step("download", "fetching Debian's package")?.run(&mut download)?;
    let file = only(at, ".deb")?;
    let tree = at.join("tree");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").args([&file, &tree]);
    step("unpack", "unpacking it")?.run(&mut unpack)?;

    let boot = tree.join("boot");
    let image = only(&boot, "vmlinuz-")?;
    let release = image
        .file_name()
        .and_then(|name| name.to_str()?.strip_prefix("vmlinuz-"))
        .context("a kernel without a release in its name")?;
    let whole = at.join("whole");
    fs::create_dir(&whole).context("make a folder")?;
    fs::rename(&image, whole.join("vmlinuz")).context("move the kernel")?;
    let mut depmod = Command::new("depmod");
    depmod.arg("-b").args([&tree, Path::new(release)]);
    step("depmod", "sorting its modules")?.run(&mut depmod)?;
    let from = tree.join("lib/modules").join(release);
    take_modules(&from, &whole.join("modules").join(release))?;
    match fs::rename(&whole, &target) {
        // Another clone was faster.
        Err(_) if target.join("vmlinuz").is_file() => {}
        moved => moved.with_context(|| format!("put {} in place", target.display()))?,
    }
    Ok(target)
}

/// The package with the kernel itself, and its version: what one of these names leads to.
fn package(line: Line) -> Result<(String, String)> {
    let names = [
        format!("linux-image-{}-amd64", line.name()),
        "linux-image-amd64".to_owned(),
    ];
    for update in [false, true] {
        if update {
            // Without root the lists stay as they are.
            let mut apt = Command::new("apt-get");
            apt.args(["-q", "update"]);
            if Step::new("apt-update", "fetching package lists")?
                .run(&mut apt)
                .is_err()
            {
                break;
            }
        }
        for name in &names {
            let said = Command::new("apt-cache")
                .args(["show", name])
                .output()
                .context("run apt-cache: kernels for guests come as Debian's packages")?;
            let text = String::from_utf8_lossy(&said.stdout);
            if let Some(found) = leads_to(&text, line) {
                return Ok(found);
            }
        }
    }
    bail!(
        "no package of a Linux {} among {}: add Debian bookworm, and its backports, to apt's sources",
        line.name(),
        names.join(", ")
    )
}

/// From the first `Depends: linux-image-6.1.0-1-amd64 (= 6.1.1-1)` of this line.
fn leads_to(show: &str, line: Line) -> Option<(String, String)> {
    let image = format!("linux-image-{}.", line.name());
    show.lines()
        .filter_map(|line| line.strip_prefix("Depends: "))
        .filter_map(|needs| needs.split_once(" (= "))
        .find(|(package, _)| package.starts_with(&image))
        .and_then(|(package, rest)| Some((package.to_owned(), rest.split_once(')')?.0.to_owned())))
}

/// Those that a guest may need, not compressed.
fn take_modules(from: &Path, to: &Path) -> Result<()> {
    let list = fs::read_to_string(from.join("modules.dep")).context("read modules.dep")?;
    let mut packed = Vec::new();
    for module in modules::chosen(&list) {
        move_to(from, to, module)?;
        if Path::new(module).extension() == Some("xz".as_ref()) {
            packed.push(to.join(module));
        }
    }
    if !packed.is_empty() {
        let mut unpack = Command::new("xz");
        unpack.arg("-d").args(packed);
        Step::new("kernel-modules", "unpacking its modules")?.run(&mut unpack)?;
    }
    fs::write(to.join("modules.dep"), list.replace(".ko.xz", ".ko"))
        .context("write modules.dep")?;
    for name in ["modules.alias", "modules.symbols", "modules.builtin"] {
        move_to(from, to, name)?;
    }
    Ok(())
}

fn move_to(from: &Path, to: &Path, name: &str) -> Result<()> {
    let target = to.join(name);
    let folder = target.parent().context("a file has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    fs::rename(from.join(name), &target).with_context(|| format!("move {name}"))
}

/// The one file in the folder whose name has these letters.
fn only(folder: &Path, letters: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.to_string_lossy().contains(letters) && path.is_file())
        .with_context(|| format!("no {letters} in {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_package_of_its_line_alone() {
        let show = "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n\n\
                    Package: linux-image-amd64\nDepends: linux-image-6.1.0-50-amd64 (= 6.1.176-1)\n";
        let found = ("linux-image-6.1.0-56-amd64".into(), "6.1.192-2".into());
        assert_eq!(leads_to(show, Line::Floor), Some(found));
        assert_eq!(leads_to(show, Line::Newer), None);
    }
}

//! `cargo xtask image`: the image, without a daemon: static agent, its debug information beside it,
//! the list of its components and their licences.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use lb_dist::{image::Image, sha256, tree::Tree};

use crate::{
    cargo::{cargo, root, target_dir},
    dist::Sources,
    setup::{self, Needs},
    step::Step,
};

/// `cargo xtask image`
#[derive(Args)]
pub(crate) struct ImageArgs {
    /// For this machine: x86_64-unknown-linux-gnu or aarch64-unknown-linux-gnu
    #[arg(
        long,
        value_name = "TRIPLE",
        default_value = "x86_64-unknown-linux-gnu"
    )]
    target: String,
    /// Take this program instead of compiling one
    #[arg(long, value_name = "FILE", conflicts_with = "verify")]
    binary: Option<PathBuf>,
    /// Compile it twice, in two folders, and compare
    #[arg(long)]
    verify: bool,
}

/// What was made, for the release.
pub(crate) struct Made {
    /// The stripped program.
    pub(crate) program: PathBuf,
    /// Files to publish.
    pub(crate) files: Vec<PathBuf>,
    /// The licences of all components.
    pub(crate) licences: String,
    /// Seconds since 1970.
    pub(crate) time: u64,
}

/// Writes everything to target/image, and says where.
pub(crate) fn run(args: &ImageArgs) -> Result<()> {
    make(args, &target_dir()?.join("image")).map(drop)
}

pub(crate) fn make(args: &ImageArgs, dir: &Path) -> Result<Made> {
    let ImageArgs {
        target,
        binary,
        verify,
    } = args;
    let arch = match target.split('-').next() {
        Some("x86_64") => "amd64",
        Some("aarch64") => "arm64",
        _ => bail!("--target {target}: images are made for x86_64 and aarch64"),
    };
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let built = match binary {
        Some(binary) => binary.clone(),
        None => compile(target, &target_dir()?)?,
    };
    let program = dir.join(format!("lb-agent-{arch}"));
    let debug = split(&built, &program, target)?;
    if *verify {
        let again = compile(target, &target_dir()?.join("verify"))?;
        // Of the same name: the link to the debug information holds it.
        let other = tempfile::tempdir().context("make a folder")?;
        let second = other.path().join(program.file_name().unwrap_or_default());
        split(&again, &second, target)?;
        let same = fs::read(&second)? == fs::read(&program)?;
        ensure!(
            same,
            "two builds differ: {} and {}",
            built.display(),
            again.display()
        );
        println!("two builds are the same");
    }
    let sources = Sources::read(target)?;
    let bom = serde_json::to_string_pretty(&sources.bom()?)?;
    let licences = lb_dist::licences::text(&sources.components)?;
    let mut files = Tree::default();
    files.add("lb-agent", 0o755, fs::read(&program)?);
    files.add("licenses/THIRD-PARTY", 0o644, licences.as_str());
    for name in ["LICENSE-MIT", "LICENSE-APACHE"] {
        files.add(
            &format!("licenses/{name}"),
            0o644,
            fs::read(root()?.join(name))?,
        );
    }
    files.add("sbom.cdx.json", 0o644, bom.as_str());
    let image = Image {
        files,
        entrypoint: "/lb-agent".into(),
        arch: arch.into(),
        reference: format!("localhost/lb-agent:{}", sources.version),
        labels: sources.labels(),
        time: sources.time,
    };
    let layout = image.layout()?;
    let oci = dir.join(format!("oci-{arch}"));
    if oci.exists() {
        fs::remove_dir_all(&oci).with_context(|| format!("remove {}", oci.display()))?;
    }
    layout.write(&oci)?;
    let archive = layout.archive()?;
    let (tar, sbom) = (
        dir.join(format!("lb-agent-{arch}.tar")),
        dir.join(format!("lb-agent-{arch}.cdx.json")),
    );
    fs::write(&tar, &archive).with_context(|| format!("write {}", tar.display()))?;
    fs::write(&sbom, bom).with_context(|| format!("write {}", sbom.display()))?;
    println!(
        "{}: {} bytes, {}",
        tar.display(),
        archive.len(),
        layout.digest
    );
    println!("layout: {}", oci.display());
    println!(
        "program: {} bytes, sha256:{}",
        fs::metadata(&program)?.len(),
        sha256(&fs::read(&program)?)
    );
    println!("debug information: {}", debug.display());
    println!(
        "components: {} in {}",
        sources.components.len(),
        sbom.display()
    );
    Ok(Made {
        program,
        files: vec![tar, sbom, debug],
        licences,
        time: sources.time,
    })
}

/// A static agent in that target folder. No path of this machine is in it.
fn compile(target: &str, target_dir: &Path) -> Result<PathBuf> {
    setup::ensure(Needs {
        ebpf: true,
        ..Needs::default()
    })?;
    let root = root()?;
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(std::env::home_dir()?.join(".cargo")));
    let registry = home
        .context("neither CARGO_HOME nor HOME is set")?
        .join("registry/src");
    let flags = format!(
        "-C target-feature=+crt-static --remap-path-prefix={}=/lb-agent --remap-path-prefix={}=/registry",
        root.display(),
        registry.display()
    );
    let mut command = cargo()?;
    command
        .args([
            "build",
            "--locked",
            "--profile",
            "dist",
            "-p",
            "lb-agent",
            "--target",
            target,
        ])
        .env("RUSTFLAGS", flags)
        .env("CARGO_TARGET_DIR", target_dir)
        .env("CARGO_INCREMENTAL", "0");
    if target.starts_with("aarch64") {
        // ring has parts in C and assembler.
        for name in [
            "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER",
            "CC_aarch64_unknown_linux_gnu",
        ] {
            if std::env::var_os(name).is_none() {
                command.env(name, "aarch64-linux-gnu-gcc");
            }
        }
    }
    Step::new("build-image", format!("building a static lb-agent for {target}"))?
        .run(&mut command)
        .with_context(|| {
            format!("for another machine: `rustup target add {target}`, and gcc-aarch64-linux-gnu with its libc for arm64")
        })?;
    Ok(target_dir.join(target).join("dist/lb-agent"))
}

/// The program without symbols, and its debug information in a file beside it.
fn split(built: &Path, program: &Path, target: &str) -> Result<PathBuf> {
    let objcopy = if target.starts_with("aarch64") {
        "aarch64-linux-gnu-objcopy"
    } else {
        "objcopy"
    };
    let debug = program.with_extension("debug");
    // The link holds the name alone, and a checksum of the file.
    let link = format!("--add-gnu-debuglink={}", debug.display());
    for (flag, from, to) in [
        ("--only-keep-debug", built, &*debug),
        ("--strip-all", built, program),
        (link.as_str(), program, program),
    ] {
        let done = Command::new(objcopy)
            .arg(flag)
            .args([from, to])
            .output()
            .with_context(|| format!("start {objcopy} (package binutils)"))?;
        ensure!(
            done.status.success(),
            "{objcopy} {flag}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(debug)
}

//! The changes that set-up makes: packages, bpf-linker, bpffs, the control plane. Decides nothing:
//! it carries out a plan.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use lb_build::{BPF_LINKER_VERSION, bpf_linker_root, cache_dir};

use super::{control_plane, monitoring, plan::Plan, previous, rights::Rights};
use crate::{cargo::cargo, step::Step};

const LLVM: &str = "/usr/lib/llvm-22";

/// Does everything in the plan, one after the other; what another run has done meanwhile stays.
pub(super) fn carry_out(plan: &Plan, rights: Rights) -> Result<()> {
    let Plan {
        packages,
        linker,
        bpffs,
        tools,
        previous,
        prometheus,
    } = plan;
    let _only_one = lock()?;
    if !packages.is_empty() {
        install(packages, rights)?;
    }
    if *linker && !bpf_linker_root()?.exists() {
        build_linker()?;
    }
    if *bpffs {
        mount_bpffs(rights)?;
    }
    for tool in tools {
        // Another set-up may have built it meanwhile.
        if control_plane::is_missing(tool) {
            control_plane::build(tool)?;
        }
    }
    if *prometheus && monitoring::is_missing() {
        monitoring::fetch()?;
    }
    if *previous && previous::is_missing() {
        previous::build()?;
    }
    Ok(())
}

/// Held while anything is installed, so that two clones do not build the same at once.
fn lock() -> Result<File> {
    let dir = cache_dir()?;
    fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    let path = dir.join(".lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another set-up to end ({})", path.display());
        file.lock()
            .with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

/// Tries the package lists that are there, then fresh ones.
fn install(packages: &[&str], rights: Rights) -> Result<()> {
    eprintln!("installing {}", packages.join(" "));
    let environment = [("DEBIAN_FRONTEND", OsString::from("noninteractive"))];
    let apt = |args: &[&str]| {
        let mut command = rights.command(Path::new("apt-get"), &environment);
        command
            .args(["-o", "DPkg::Lock::Timeout=120", "-q", "-y"])
            .args(args);
        command
    };
    let install = || {
        let mut command = apt(&["install", "--no-install-recommends"]);
        command.args(packages);
        Step::new("apt-install", "installing packages")?.run(&mut command)
    };
    if install().is_ok() {
        return Ok(());
    }
    Step::new("apt-update", "fetching package lists")?.run(&mut apt(&["update"]))?;
    install().with_context(|| {
        match lb_build::probe().and_then(|machine| lb_build::choose(&machine)) {
            Ok(_) => format!("by hand: apt-get install {}", packages.join(" ")),
            Err(either) => format!("{either}"),
        }
    })
}

/// Compiles bpf-linker against the LLVM of Debian's rustc.
fn build_linker() -> Result<()> {
    let root = bpf_linker_root()?;
    let unfinished = root.with_file_name(".bpf-linker.unfinished");
    let own_path = env::var_os("PATH").unwrap_or_default();
    let path = [PathBuf::from(LLVM).join("bin")]
        .into_iter()
        .chain(env::split_paths(&own_path));
    let mut command = cargo()?;
    command
        .env("LLVM_PREFIX", LLVM)
        .env("PATH", env::join_paths(path).context("put LLVM on PATH")?)
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            BPF_LINKER_VERSION,
        ])
        .args(["--no-default-features", "--features", "llvm-22", "--root"])
        .arg(&unfinished);
    Step::new("build-bpf-linker", "building bpf-linker")?.run(&mut command)?;
    fs::rename(&unfinished, &root).with_context(|| format!("put {} in place", root.display()))
}

fn mount_bpffs(rights: Rights) -> Result<()> {
    let mut command = rights.command(Path::new("mount"), &[]);
    command.args(["-t", "bpf", "bpf", "/sys/fs/bpf"]);
    let output = command.output().context("run mount")?;
    if !output.status.success() {
        bail!(
            "mount bpffs at /sys/fs/bpf: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

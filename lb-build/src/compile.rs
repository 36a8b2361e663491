//! Owns the run of cargo that turns `lb-ebpf` into an object file.
//! Knows nothing of how the toolchain was found.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    choose, probe,
    toolchain::{Choice, Route},
};

/// Little-endian eBPF: all machines that Kubernetes runs on but s390x.
const TARGET: &str = "bpfel-unknown-none";
/// The binary target of the crate that becomes the object.
const BINARY: &str = "lb-ebpf";

/// Compiles the crate in `src_dir` for the kernel and returns the object's path.
///
/// Cargo's own files go to `target_dir`, which no other toolchain should share.
/// May run inside a build script: what the outer cargo put into the environment is taken out.
pub fn build_ebpf(src_dir: &Path, target_dir: &Path) -> Result<PathBuf> {
    let choice = choose(&probe()?)?;
    let mut cargo = cargo_for_ebpf(&choice, "build", src_dir, target_dir);
    cargo.args([
        "--release",
        "--bin",
        BINARY,
        "--message-format=json-render-diagnostics",
    ]);
    let output = cargo
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("run {}", choice.cargo.display()))?;
    if !output.status.success() {
        bail!(
            "lb-ebpf does not compile with {choice} ({}); the compiler's words stand above",
            output.status
        );
    }
    artifact(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("cargo named no binary {BINARY} for {}", src_dir.display()))
}

/// A cargo command (`build`, `clippy`, …) for the crate in `src_dir` with that toolchain's flags.
#[must_use]
pub fn cargo_for_ebpf(choice: &Choice, verb: &str, src_dir: &Path, target_dir: &Path) -> Command {
    let Choice {
        route,
        cargo,
        rustc,
        linker,
        instead_of: _,
    } = choice;
    let mut command = Command::new(cargo);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_the_outer_cargo) {
            command.env_remove(name);
        }
    }
    command
        .env("RUSTC", rustc)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(linker))
        .current_dir(src_dir)
        .arg(verb)
        .args(["--target", TARGET, "--target-dir"])
        .arg(target_dir);
    match route {
        Route::Nightly => command.args(["-Z", "build-std=core"]),
        // aya-ebpf uses unstable features, which a release compiler opens only so.
        Route::Debian => command.env("RUSTC_BOOTSTRAP", "1"),
    };
    command
}

/// The program behind `cargo clippy` of that toolchain, whether it is there or not.
///
/// Called by its path, for `cargo clippy` would take whichever stands first on `PATH`.
#[must_use]
pub fn cargo_clippy(choice: &Choice) -> PathBuf {
    choice.rustc.with_file_name("cargo-clippy")
}

/// The folder, above a build script's `OUT_DIR`, that is cargo's target folder; else `OUT_DIR`.
///
/// Below it the object's dependencies are compiled once for all profiles and features of the
/// caller.
#[must_use]
pub fn target_dir_of(out_dir: &Path) -> PathBuf {
    // Cargo marks the root of its target folder so that backups leave it out.
    let root = out_dir
        .ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file());
    root.unwrap_or(out_dir).join("lb-ebpf")
}

/// `--btf` gives the maps and programs their types; the line tables are what the verifier's log
/// quotes. CPU v3 has 32-bit registers and atomics that return a value. LLVM 22 crashes when it
/// expands copies of 16-aligned data in order.
fn rustflags(linker: &Path) -> OsString {
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
    let mut flags = OsString::from(format!("--cfg=bpf_target_arch=\"{arch}\""));
    for flag in [
        "-Ctarget-cpu=v3",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "-Clink-arg=--disable-expand-memcpy-in-order",
        "-Clinker=",
    ] {
        flags.push("\x1f");
        flags.push(flag);
    }
    flags.push(linker);
    flags
}

/// Whether a variable is one that cargo or rustup set for their child, and that would steer an
/// inner cargo.
///
/// Stays: `CARGO_HOME`, network and registry settings, and the job server.
fn is_of_the_outer_cargo(name: &str) -> bool {
    const EXACT: [&str; 15] = [
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_PRIMARY_PACKAGE",
        "HOST",
        "LD_LIBRARY_PATH",
        "OUT_DIR",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
        "TARGET",
    ];
    const PREFIX: [&str; 10] = [
        "CARGO_BIN_",
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_CRATE_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "DEP_",
    ];
    EXACT.contains(&name)
        || PREFIX.iter().any(|prefix| name.starts_with(prefix))
        || (name.starts_with("RUSTC_") && name.ends_with("WRAPPER"))
}

/// The executable named in cargo's JSON messages.
fn artifact(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            message["reason"] == "compiler-artifact" && message["target"]["name"] == BINARY
        })
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_is_the_executable_of_the_right_target() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"build-script-build"},"executable":"/t/build"}
not json
{"reason":"compiler-artifact","target":{"name":"lb-ebpf"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"lb-ebpf"},"executable":"/t/lb-ebpf"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(artifact(messages), Some("/t/lb-ebpf".into()));
        assert_eq!(artifact(""), None);
    }

    #[test]
    fn what_the_outer_cargo_set_goes_and_what_the_user_set_stays() {
        for gone in [
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTUP_TOOLCHAIN",
            "CARGO_PKG_NAME",
            "CARGO_TARGET_DIR",
            "CARGO_MANIFEST_DIR",
        ] {
            assert!(is_of_the_outer_cargo(gone), "{gone}");
        }
        for stays in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_MAKEFLAGS",
            "PATH",
            "HOME",
        ] {
            assert!(!is_of_the_outer_cargo(stays), "{stays}");
        }
    }

    #[test]
    fn all_profiles_of_a_target_folder_share_one_place() {
        let target = tempfile::tempdir().unwrap();
        std::fs::write(target.path().join("CACHEDIR.TAG"), "").unwrap();
        let out = target.path().join("debug/build/lb-agent-1/out");
        std::fs::create_dir_all(&out).unwrap();
        assert_eq!(target_dir_of(&out), target.path().join("lb-ebpf"));
    }
}

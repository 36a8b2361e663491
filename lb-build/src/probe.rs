//! Owns the look at this machine: which compilers and linkers stand where, by file existence.
//! Decides nothing: see `toolchain`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Result;

use crate::{
    bpf_linker_root,
    toolchain::{Debian, Machine, Nightly},
};

const LINKER: &str = "bpf-linker";

/// Gathers the facts that `choose` decides on; runs no program, so it costs well under a
/// millisecond.
pub fn probe() -> Result<Machine> {
    let cached = bpf_linker_root()?.join("bin").join(LINKER);
    Ok(Machine {
        nightly: home_of("RUSTUP_HOME", ".rustup").and_then(|home| nightly_under(&home)),
        debian: Debian {
            cargo: Path::new("/usr/bin/cargo").is_file(),
            rustc: Path::new("/usr/bin/rustc").is_file(),
            bpf_core: has_bpf_core(Path::new("/usr/lib/rustlib/bpfel-unknown-none/lib")),
        },
        own_linker: program_on_path(LINKER).or_else(|| {
            home_of("CARGO_HOME", ".cargo")
                .map(|home| home.join("bin").join(LINKER))
                .filter(|path| path.is_file())
        }),
        cached_linker: Some(cached).filter(|path| path.is_file()),
    })
}

/// The program's file in the folders of `PATH`, then in the ones where Debian keeps root's tools.
#[must_use]
pub fn program_on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

fn home_of(variable: &str, under_home: &str) -> Option<PathBuf> {
    match env::var_os(variable).filter(|dir| !dir.is_empty()) {
        Some(dir) => Some(dir.into()),
        None => env::home_dir().map(|home| home.join(under_home)),
    }
}

/// The nightly toolchain to use: one with `rust-src` first, then the plain `nightly` (it sorts
/// after dated ones).
fn nightly_under(rustup_home: &Path) -> Option<Nightly> {
    let entries = fs::read_dir(rustup_home.join("toolchains")).ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|root| {
            let name = root
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.starts_with("nightly") && root.join("bin/rustc").is_file()
        })
        .map(|root| {
            let has_rust_src = root.join("lib/rustlib/src/rust/library/core").is_dir();
            (has_rust_src, root)
        })
        .max()
        .map(|(has_rust_src, root)| Nightly { root, has_rust_src })
}

fn has_bpf_core(lib: &Path) -> bool {
    fs::read_dir(lib).is_ok_and(|entries| {
        entries.filter_map(Result::ok).any(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("libcore-")
                && Path::new(&name)
                    .extension()
                    .is_some_and(|ext| ext == "rlib")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(home: &Path, name: &str, rust_src: bool) {
        let root = home.join("toolchains").join(name);
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::write(root.join("bin/rustc"), "").unwrap();
        if rust_src {
            fs::create_dir_all(root.join("lib/rustlib/src/rust/library/core")).unwrap();
        }
    }

    #[test]
    fn a_nightly_with_sources_wins_over_a_plain_one() {
        let home = tempfile::tempdir().unwrap();
        toolchain(home.path(), "stable-x86_64", true);
        toolchain(home.path(), "nightly-x86_64", false);
        toolchain(home.path(), "nightly-2026-01-01-x86_64", true);
        let found = nightly_under(home.path()).unwrap();
        assert!(found.has_rust_src);
        assert!(
            found.root.ends_with("nightly-2026-01-01-x86_64"),
            "{found:?}"
        );
    }

    #[test]
    fn a_stable_toolchain_is_no_nightly() {
        let home = tempfile::tempdir().unwrap();
        toolchain(home.path(), "stable-x86_64", true);
        assert_eq!(nightly_under(home.path()), None);
    }

    #[test]
    fn core_for_bpf_is_told_from_an_empty_folder() {
        let lib = tempfile::tempdir().unwrap();
        assert!(!has_bpf_core(lib.path()));
        fs::write(lib.path().join("libcore-8056.rmeta"), "").unwrap();
        assert!(!has_bpf_core(lib.path()));
        fs::write(lib.path().join("libcore-8056.rlib"), "").unwrap();
        assert!(has_bpf_core(lib.path()));
    }
}

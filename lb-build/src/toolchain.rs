//! Owns the decision which compiler and linker make the eBPF object, from facts alone.
//! Reads no file and no environment: see `probe` for that.

use std::{fmt, path::PathBuf};

use anyhow::{Result, bail};

/// What was found on this machine that bears on eBPF.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The newest-named rustup toolchain called `nightly…`, preferring one with `rust-src`.
    pub nightly: Option<Nightly>,
    /// Debian's own Rust, outside rustup.
    pub debian: Debian,
    /// bpf-linker on `PATH` or in cargo's bin folder: made for whatever the user builds with.
    pub own_linker: Option<PathBuf>,
    /// bpf-linker in our cache, made for Debian's LLVM.
    pub cached_linker: Option<PathBuf>,
}

/// A nightly toolchain of rustup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nightly {
    /// Holds `bin/cargo` and `bin/rustc`.
    pub root: PathBuf,
    /// Whether the component is there that `core` for eBPF is compiled from.
    pub has_rust_src: bool,
}

/// Debian's packages rustc-web, cargo-web and libstd-rust-web-dev-bpf.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Debian {
    /// `/usr/bin/cargo`.
    pub cargo: bool,
    /// `/usr/bin/rustc`.
    pub rustc: bool,
    /// A compiled `core` for `bpfel-unknown-none`.
    pub bpf_core: bool,
}

/// Where the compiler comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// rustup's nightly; `core` is compiled from `rust-src`.
    Nightly,
    /// Debian's rustc-web with its compiled `core`; `RUSTC_BOOTSTRAP` opens the unstable features.
    Debian,
}

/// A complete toolchain, and why it is this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Where it comes from.
    pub route: Route,
    /// The cargo to run.
    pub cargo: PathBuf,
    /// The compiler to run.
    pub rustc: PathBuf,
    /// bpf-linker.
    pub linker: PathBuf,
    /// What the preferred route lacked, if another one was taken.
    pub instead_of: Option<String>,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            route,
            cargo: _,
            rustc,
            linker,
            instead_of,
        } = self;
        let name = match route {
            Route::Nightly => "rustup's nightly with rust-src",
            Route::Debian => "Debian's rustc-web",
        };
        write!(
            f,
            "{name} ({}), linked by {}",
            rustc.display(),
            linker.display()
        )?;
        match instead_of {
            Some(why) => write!(f, "; not rustup's nightly: {why}"),
            None => Ok(()),
        }
    }
}

/// Takes rustup's nightly when it is complete, else Debian's set, else says what to install.
pub fn choose(machine: &Machine) -> Result<Choice> {
    let nightly_lacks = missing_for_nightly(machine);
    if let (Some(nightly), Some(linker), []) = (
        &machine.nightly,
        &machine.own_linker,
        nightly_lacks.as_slice(),
    ) {
        return Ok(Choice {
            route: Route::Nightly,
            cargo: nightly.root.join("bin/cargo"),
            rustc: nightly.root.join("bin/rustc"),
            linker: linker.clone(),
            instead_of: None,
        });
    }
    let debian_lacks = missing_for_debian(machine);
    let linker = machine
        .cached_linker
        .as_ref()
        .or(machine.own_linker.as_ref());
    if let (Some(linker), []) = (linker, debian_lacks.as_slice()) {
        return Ok(Choice {
            route: Route::Debian,
            cargo: "/usr/bin/cargo".into(),
            rustc: "/usr/bin/rustc".into(),
            linker: linker.clone(),
            instead_of: Some(format!("no {}", names(&nightly_lacks))),
        });
    }
    bail!(
        "no toolchain here compiles lb-ebpf. `cargo xtask setup` installs one on Debian and Ubuntu; by hand, either\n  \
         with rustup (missing: {}):\n{}  \
         or with Debian's packages (missing: {}):\n{}",
        names(&nightly_lacks),
        commands(&nightly_lacks),
        names(&debian_lacks),
        commands(&debian_lacks),
    )
}

/// One thing that is not there, and the command that brings it.
struct Lack {
    what: &'static str,
    command: String,
}

fn missing_for_nightly(machine: &Machine) -> Vec<Lack> {
    let mut lacks = Vec::new();
    match &machine.nightly {
        None => lacks.push(Lack {
            what: "nightly toolchain with rust-src",
            command: "rustup toolchain install nightly --component rust-src".into(),
        }),
        Some(nightly) if !nightly.has_rust_src => lacks.push(Lack {
            what: "rust-src in the nightly toolchain",
            command: "rustup component add rust-src --toolchain nightly".into(),
        }),
        Some(_) => {}
    }
    if machine.own_linker.is_none() {
        lacks.push(Lack {
            what: "bpf-linker on PATH",
            command: "cargo install bpf-linker".into(),
        });
    }
    lacks
}

fn missing_for_debian(machine: &Machine) -> Vec<Lack> {
    let Debian {
        cargo,
        rustc,
        bpf_core,
    } = machine.debian;
    let mut lacks = Vec::new();
    for (there, package) in [
        (rustc, "rustc-web"),
        (cargo, "cargo-web"),
        (bpf_core, "libstd-rust-web-dev-bpf"),
    ] {
        if !there {
            lacks.push(Lack {
                what: package,
                command: format!("apt-get install {package}"),
            });
        }
    }
    if machine.cached_linker.is_none() && machine.own_linker.is_none() {
        lacks.push(Lack {
            what: "bpf-linker",
            command: format!(
                "apt-get install llvm-22-dev zlib1g-dev libzstd-dev && LLVM_PREFIX=/usr/lib/llvm-22 \
                 cargo install bpf-linker --version {} --no-default-features --features llvm-22",
                crate::BPF_LINKER_VERSION
            ),
        });
    }
    lacks
}

fn names(lacks: &[Lack]) -> String {
    lacks
        .iter()
        .map(|lack| lack.what)
        .collect::<Vec<_>>()
        .join(", ")
}

fn commands(lacks: &[Lack]) -> String {
    lacks
        .iter()
        .map(|lack| {
            [
                "    ",
                &lack.command,
                "
",
            ]
            .concat()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nightly(has_rust_src: bool) -> Nightly {
        Nightly {
            root: "/r/nightly".into(),
            has_rust_src,
        }
    }

    fn debian() -> Debian {
        Debian {
            cargo: true,
            rustc: true,
            bpf_core: true,
        }
    }

    #[test]
    fn a_complete_nightly_is_preferred() {
        let machine = Machine {
            nightly: Some(nightly(true)),
            debian: debian(),
            own_linker: Some("/home/u/.cargo/bin/bpf-linker".into()),
            cached_linker: Some("/cache/bpf-linker".into()),
        };
        let choice = choose(&machine).unwrap();
        assert_eq!(choice.route, Route::Nightly);
        assert_eq!(
            choice.linker,
            PathBuf::from("/home/u/.cargo/bin/bpf-linker")
        );
        assert_eq!(choice.cargo, PathBuf::from("/r/nightly/bin/cargo"));
        assert_eq!(choice.instead_of, None);
    }

    #[test]
    fn a_nightly_without_its_sources_yields_to_debian_and_says_why() {
        let machine = Machine {
            nightly: Some(nightly(false)),
            debian: debian(),
            own_linker: None,
            cached_linker: Some("/cache/bpf-linker".into()),
        };
        let choice = choose(&machine).unwrap();
        assert_eq!(choice.route, Route::Debian);
        assert_eq!(choice.linker, PathBuf::from("/cache/bpf-linker"));
        let said = choice.to_string();
        assert!(said.contains("not rustup's nightly: no rust-src"), "{said}");
    }

    #[test]
    fn a_nightly_without_linker_does_not_borrow_the_one_made_for_debians_llvm() {
        let machine = Machine {
            nightly: Some(nightly(true)),
            debian: Debian::default(),
            own_linker: None,
            cached_linker: Some("/cache/bpf-linker".into()),
        };
        let error = choose(&machine).unwrap_err().to_string();
        assert!(error.contains("cargo install bpf-linker\n"), "{error}");
    }

    #[test]
    fn a_bare_machine_is_told_every_package_of_both_ways() {
        let error = choose(&Machine::default()).unwrap_err().to_string();
        for needed in [
            "rustup toolchain install nightly --component rust-src",
            "rustc-web",
            "cargo-web",
            "libstd-rust-web-dev-bpf",
            "llvm-22-dev",
            "--version 0.13.0",
        ] {
            assert!(error.contains(needed), "{needed} is not named in: {error}");
        }
    }

    #[test]
    fn only_what_is_missing_is_named() {
        let machine = Machine {
            debian: Debian {
                bpf_core: false,
                ..debian()
            },
            cached_linker: Some("/cache/bpf-linker".into()),
            ..Machine::default()
        };
        let error = choose(&machine).unwrap_err().to_string();
        assert!(
            error.contains("(missing: libstd-rust-web-dev-bpf)"),
            "{error}"
        );
        assert!(!error.contains("cargo-web"), "{error}");
    }
}

//! The `main` of a program that makes machines: demo, benchmark, referee, cluster.

use std::{env, process::ExitCode};

use anyhow::{Result, ensure};

use crate::{probe, process, stop};

/// The first argument by which such a program is the helper inside of a namespace.
pub const HELPER: &str = "in";

/// Runs it, or the helper if the arguments ask for that; an error is told on standard error. After
/// a signal ([`stop::on_signals`]) another thread removes everything and ends the program.
pub fn main(run: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    let mut args = env::args();
    let program = args.next();
    let done = if args.next().as_deref() == Some(HELPER) {
        probe::main(program.into_iter().chain(args)).map(|()| ExitCode::SUCCESS)
    } else {
        let done = process::be_the_helper(&[HELPER]).and_then(|()| run());
        stop::park_if_stopping();
        done
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// An error with the remedy for whoever is not root; `verb` is what was typed.
pub fn need_root(verb: &str) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "namespaces and eBPF need root: run `cargo xtask {verb}`, which takes sudo, or become root"
    );
    Ok(())
}

//! The demo: a node, its pods and clients, and what a person would try with them, in namespaces of
//! their own. Run by `cargo xtask demo`, which builds everything before.
#![expect(clippy::print_stdout, reason = "it shows something to people")]

mod cluster;
mod keep;
mod manifests;
mod servers;
mod show;
mod stage;
mod story;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use testbed::stop;

/// Shows lb-agent at work, and removes everything at its end.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Options {
    /// Take the objects from a real API server, and the DNS from a real CoreDNS.
    #[arg(long)]
    cluster: bool,
    /// Leave it up to play with.
    #[arg(long)]
    keep: bool,
}

/// The first argument by which this program is the helper inside of a namespace.
const HELPER: &str = "in";

fn main() -> ExitCode {
    let mut args = std::env::args();
    if std::env::args().nth(1).as_deref() == Some(HELPER) {
        let program = args.next();
        args.next();
        return outcome(testbed::probe::main(program.into_iter().chain(args)));
    }
    let options = Options::parse();
    let done = demo(&options);
    // After a Ctrl-C the other thread removes everything and ends the program.
    stop::park_if_stopping();
    outcome(done)
}

fn outcome(done: Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo(options: &Options) -> Result<()> {
    let Options { cluster, keep } = options;
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "namespaces and eBPF need root: run `cargo xtask demo`, which takes sudo, or become root"
        );
    }
    testbed::process::be_the_helper(&[HELPER])?;
    stop::on_signals()?;
    let mut stage = stage::Stage::build(*cluster)?;
    story::tell(&mut stage)?;
    if *keep {
        keep::leave(stage)
    } else {
        show::title("That was it");
        stage.agent.quiet();
        drop(stage);
        println!("Everything is removed again. To keep it and play: cargo xtask demo --keep");
        Ok(())
    }
}

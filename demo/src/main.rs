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

use anyhow::Result;
use clap::Parser;
use testbed::{program, stop};

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

fn main() -> ExitCode {
    program::main(|| demo(&Options::parse()).map(|()| ExitCode::SUCCESS))
}

fn demo(options: &Options) -> Result<()> {
    let Options { cluster, keep } = options;
    program::need_root("demo")?;
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

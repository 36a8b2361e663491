//! What `cargo xtask cluster` becomes once everything is built.
#![expect(clippy::print_stdout, reason = "it speaks to people")]

use std::{ffi::OsString, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use lb_cluster::{Asked, check, conformance, detached, shell};
use testbed::{program, stop};

/// A Kubernetes cluster of real parts on this machine, in namespaces of its own.
#[derive(Parser)]
#[command(name = "cargo xtask cluster")]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make it, and leave it running
    Up(Asked),
    /// Remove it, after a crash too
    Down,
    /// Make one, ask its DNS, a cluster IP and a node port, run the chart's own test, and remove it
    Check(Asked),
    /// Make one, run specs of Kubernetes' own suite on it, and remove it
    Conformance(conformance::Options),
    /// A shell with kubectl, helm and KUBECONFIG on a machine beside the nodes, or one command
    Shell {
        /// On this node instead, such as node-1
        #[arg(long)]
        node: Option<String>,
        /// The command
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Hold it: what `up` starts
    #[command(hide = true)]
    Hold(Asked),
}

fn main() -> ExitCode {
    program::main(|| run(Options::parse().verb).map(|()| ExitCode::SUCCESS))
}

fn run(verb: Verb) -> Result<()> {
    program::need_root("cluster")?;
    match verb {
        Verb::Up(asked) => detached::start(&asked.words("hold"), |line| println!("{line}")),
        Verb::Hold(asked) => detached::hold(asked),
        Verb::Check(asked) => {
            stop::on_signals()?;
            check::whole(asked, |line| println!("{line}"))
        }
        Verb::Conformance(options) => {
            stop::on_signals()?;
            conformance::whole(&options, |line| println!("{line}"))
        }
        Verb::Down => {
            let was_there = detached::down()?;
            println!(
                "{}",
                if was_there {
                    "It is gone."
                } else {
                    "No cluster is up. What other broken-off runs left: cargo xtask clean --keep-target"
                }
            );
            Ok(())
        }
        Verb::Shell { node, words } => shell::become_it(node.as_deref(), &words),
    }
}

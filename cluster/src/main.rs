//! What `cargo xtask cluster` becomes once everything is built.
#![expect(clippy::print_stdout, reason = "it speaks to people")]

use std::{ffi::OsString, process::ExitCode};

use anyhow::{Result, ensure};
use clap::{Parser, Subcommand};
use lb_cluster::{Asked, check, conformance, detached, shell};
use testbed::stop;

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

/// The first argument by which this program is the helper inside of a namespace.
const HELPER: &str = "in";

fn main() -> ExitCode {
    let mut args = std::env::args();
    if std::env::args().nth(1).as_deref() == Some(HELPER) {
        let program = args.next();
        args.next();
        return outcome(testbed::probe::main(program.into_iter().chain(args)));
    }
    let done = run(Options::parse().verb);
    // After a signal the other thread removes everything and ends the program.
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

fn run(verb: Verb) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "namespaces and eBPF need root: run `cargo xtask cluster`, which takes sudo, or become root"
    );
    testbed::process::be_the_helper(&[HELPER])?;
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
                    "No cluster is up."
                }
            );
            Ok(())
        }
        Verb::Shell { node, words } => shell::become_it(node.as_deref(), &words),
    }
}

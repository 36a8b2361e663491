//! The one front door: every chore of the project is a verb here, one file each.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool speaks on standard output"
)]

mod bench;
mod build;
mod cargo;
mod clean;
mod cluster;
mod demo;
mod dist;
mod generate;
mod image;
mod leftovers;
mod libtest;
mod lint;
mod referee;
mod release;
mod setup;
mod soak;
mod step;
mod test;
mod tiers;
mod vm;

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use test::{Asked, Size};

/// Builds, tests, shows and cleans lb-agent; each verb installs and builds once what it needs.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install and build all that the other verbs need, and say what was taken
    Setup,
    /// Compile the agent with its eBPF object embedded, to target/release/lb-agent
    Build {
        /// Compile fast and unoptimised instead, to target/debug/lb-agent
        #[arg(long)]
        debug: bool,
    },
    /// Run the tests, all tiers or some; the last line reads "N passed, N failed"
    Test {
        /// Only this tier: 1 units, 2 case files, 3 real kernel, 4 real control plane; may be
        /// repeated
        #[arg(long = "tier", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=4))]
        tiers: Vec<u8>,
        /// Only tests whose names contain one of these
        filter: Vec<String>,
    },
    /// Run the tests of flows with the numbers of a busy node, one after the other, or what else
    /// takes its time
    #[command(args_conflicts_with_subcommands = true)]
    Soak {
        #[command(subcommand)]
        what: Option<soak::What>,
        /// Only tests whose names contain one of these
        filter: Vec<String>,
    },
    /// Run tests on other kernels, emulated by QEMU: tier 5, minutes a kernel
    Vm {
        /// These kernels; all for none
        #[arg(value_enum)]
        kernels: Vec<vm::Line>,
        /// Only tests whose names contain this; may be repeated
        #[arg(long = "only", value_name = "NAME")]
        filter: Vec<String>,
        /// Keep what tests record of a kernel in the tree, instead of comparing
        #[arg(long, conflicts_with = "command")]
        record: bool,
        /// Run this in the guest instead of tests: `cargo xtask vm 6.1 -- lb-agent check`
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Show a small cluster in network namespaces at work
    Demo {
        /// Take the objects from a real API server, and the DNS from a real CoreDNS
        #[arg(long)]
        cluster: bool,
        /// Leave it up to play with
        #[arg(long)]
        keep: bool,
    },
    /// A Kubernetes cluster of real parts in namespaces: control plane, kubelets, containerd, DNS,
    /// and lb-agent by its chart
    Cluster {
        #[command(subcommand)]
        what: cluster::What,
    },
    /// Run specs of Kubernetes' own suite on a cluster of real parts: ten quick ones, or those that
    /// `--focus REGEX` names; `--proxy kube-proxy` for the control
    Conformance {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Check formatting, lints, licences and the workspace's own rules
    Lint,
    /// Measure; arguments go to the benchmark
    Bench {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Play random clusters four side by side on two nodes, with kube-proxy and with the agent;
    /// `--clusters N --seed N`, `--tc` or `--xdp`
    Referee {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Make the image from a static agent, without a daemon, to target/image
    Image(image::ImageArgs),
    /// Make every artefact of a release: image, packages, chart, checksums, notes
    Release(release::ReleaseArgs),
    /// Write man pages and shell completions to target/gen
    Gen,
    /// Remove what broken-off tests and demos left on the machine, and target/
    Clean {
        /// Keep target/
        #[arg(long)]
        keep_target: bool,
        /// Remove the tools built outside the clone, too
        #[arg(long)]
        cache: bool,
    },
}

fn main() -> ExitCode {
    let Options { verb } = Options::parse();
    let done = match verb {
        Verb::Setup => setup::run(),
        Verb::Build { debug } => build::run(debug),
        Verb::Test { tiers, filter } => {
            let asked = Asked {
                filter: &filter,
                size: Size::Suite,
                environment: vec![],
            };
            return test::run(&tiers, &asked).unwrap_or_else(|error| failure(&error));
        }
        Verb::Soak { what, filter } => {
            return soak::run(what.as_ref(), &filter).unwrap_or_else(|error| failure(&error));
        }
        Verb::Vm {
            kernels,
            filter,
            record,
            command,
        } => {
            let asked = vm::Asked { filter, record };
            return vm::run(&kernels, &asked, &command).unwrap_or_else(|error| failure(&error));
        }
        Verb::Demo { cluster, keep } => demo::run(cluster, keep),
        Verb::Cluster { what } => cluster::run(what),
        Verb::Conformance { args } => cluster::conformance(args),
        Verb::Lint => lint::run(),
        Verb::Bench { args } => bench::run(&args),
        Verb::Referee { args } => referee::run(&args),
        Verb::Image(args) => image::run(&args),
        Verb::Release(args) => release::run(&args),
        Verb::Gen => generate::run(),
        Verb::Clean { keep_target, cache } => clean::run(keep_target, cache),
    };
    done.map_or_else(|error| failure(&error), |()| ExitCode::SUCCESS)
}

/// What a person reads: the chain of causes, and no backtrace.
fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

//! The benchmark: suites of rows, measured in turns within one run, in namespaces and cgroups of
//! their own. Run by `cargo xtask bench`, which builds everything before. How to read it:
//! docs/performance.md.

mod balance;
mod bar;
mod bulk;
mod chart;
mod chi;
mod client;
mod connects;
mod frame;
mod ground;
mod header;
mod ipvs;
mod liveness;
mod look;
mod memory;
mod packet;
mod peer;
mod progress;
mod report;
mod samples;
mod server;
mod services;
mod socket;
mod stats;
mod stored;
mod sync;
mod wire;
mod worker;
mod world;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};
use testbed::{program, stop};

use self::progress::{minutes, say};

/// Measures lb-agent beside no load balancer and beside the real kube-proxy, and removes everything
/// at its end.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Options {
    /// What to measure; all that there is for none
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Fewer services and rounds, and shorter blocks, to see that it works: not for publishing
    #[arg(long)]
    quick: bool,
    /// Rounds of which the medians are taken; a ratio needs as many rounds in which the control
    /// row stood still [default: 7, or 2 with --quick]
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: Option<u8>,
}

/// A set of rows that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// Sockets of this node: connect and send, to VIPs and to anything else
    Socket,
    /// Packets from outside to node ports, by XDP and by tc
    Packet,
    /// From the API server into the kernel: starts, changes, updates
    Sync,
    /// Of the process and of its maps
    Memory,
    /// How evenly every scheduler chooses
    Balance,
    /// Connections while the balancer is killed, replaced and a thousand endpoints a second change
    Liveness,
    /// Sockets beside the kernel's own IPVS, in a guest that has it: only ratios count
    Ipvs,
}

/// Fewer are no base for a median.
const ROUNDS: u8 = 7;
/// To see that it works.
const QUICK_ROUNDS: u8 = 2;

/// The first argument by which this program is something else, inside of a namespace: it measures.
const WORKER: &str = "worker";
/// It looks, among others.
const UNHURRIED: &str = "looker";
/// It answers.
const SERVER: &str = "server";

fn main() -> ExitCode {
    program::main(|| {
        match std::env::args().nth(1).as_deref() {
            Some(WORKER) => worker::run(),
            Some(UNHURRIED) => worker::answer(),
            Some(SERVER) => server::run(),
            _ => bench(&Options::parse()),
        }
        .map(|()| ExitCode::SUCCESS)
    })
}

fn bench(options: &Options) -> Result<()> {
    let Options {
        suites,
        quick,
        rounds,
    } = options;
    program::need_root("bench")?;
    stop::on_signals()?;
    let folder = folder()?;
    let (all, mut took_each) = (progress::begin(), Vec::new());
    for suite in Suite::value_variants() {
        // By itself only: it is for a guest, which has what it needs and nothing else.
        if suites.contains(suite) || suites.is_empty() && *suite != Suite::Ipvs {
            let run = match suite {
                Suite::Socket => socket::run,
                Suite::Packet => packet::run,
                Suite::Sync => sync::run,
                Suite::Memory => memory::run,
                Suite::Balance => balance::run,
                Suite::Liveness => liveness::run,
                Suite::Ipvs => ipvs::run,
            };
            let rounds = rounds.unwrap_or(if *quick { QUICK_ROUNDS } else { ROUNDS });
            let begun = Instant::now();
            let report = run(*quick, usize::from(rounds))?;
            let took = begun.elapsed();
            // The guest's clock counts instructions.
            let reported = (*suite != Suite::Ipvs).then_some(took);
            report.write(&folder, reported)?;
            took_each.push(format!("{} {}", report.suite, minutes(took)));
            say(format_args!("{} took {}", report.suite, minutes(took)));
        }
    }
    if let [_, _, ..] = took_each.as_slice() {
        say(format_args!(
            "all took {}: {}",
            minutes(all.elapsed()),
            took_each.join(", ")
        ));
    }
    Ok(())
}

/// `$LB_BENCH_DIR`, else `target/bench` of the clone.
fn folder() -> Result<PathBuf> {
    let folder = std::env::var_os("LB_BENCH_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench"),
        PathBuf::from,
    );
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    folder
        .canonicalize()
        .with_context(|| format!("find {}", folder.display()))
}

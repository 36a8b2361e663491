//! The referee of random clusters in company, as `cargo xtask referee` starts it.
#![expect(
    clippy::print_stdout,
    reason = "a command line tool speaks on standard output"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use conformance::{
    company::{self, Range},
    setup::Way,
};
use testbed::stop;

/// The first argument by which this program is the helper inside of a namespace.
const HELPER: &str = "in";

/// Plays random clusters four side by side on two nodes, with kube-proxy and with lb-agent.
#[derive(Parser)]
#[command(name = "cargo xtask referee")]
struct Options {
    /// How many clusters.
    #[arg(long, env = "LB_REFEREE_CLUSTERS", default_value_t = 200)]
    clusters: u64,
    /// The first one's seed; the same seeds make the same clusters.
    #[arg(long, env = "LB_REFEREE_SEED", default_value_t = 1)]
    seed: u64,
    /// All by tc.
    #[arg(long, conflicts_with = "xdp")]
    tc: bool,
    /// All by XDP; without either, the second half.
    #[arg(long)]
    xdp: bool,
    /// Show differences as they were found; without it, the first ones are made small.
    #[arg(long)]
    as_found: bool,
}

fn main() -> Result<ExitCode> {
    let mut args = std::env::args();
    if std::env::args().nth(1).as_deref() == Some(HELPER) {
        let program = args.next();
        args.next();
        testbed::probe::main(program.into_iter().chain(args))?;
        return Ok(ExitCode::SUCCESS);
    }
    let options = Options::parse();
    testbed::process::be_the_helper(&[HELPER])?;
    stop::on_signals()?;
    let done = referee(&options);
    // After a Ctrl-C the other thread removes everything and ends the program.
    stop::park_if_stopping();
    done
}

fn referee(options: &Options) -> Result<ExitCode> {
    let Options {
        clusters,
        seed,
        tc,
        xdp,
        as_found,
    } = *options;
    let ways = match (tc, xdp) {
        (true, _) => vec![Way::Tc],
        (_, true) => vec![Way::Xdp],
        _ => vec![Way::Tc, Way::Xdp],
    };
    let range = Range {
        first: seed,
        clusters,
        ways,
    };
    let say = |words: &str| println!("{words}");
    let outcome = company::play(&range, say)?;
    println!("{}", outcome.summary(clusters));
    if !as_found {
        company::make_small(&range, &outcome, say)?;
    }
    Ok(if outcome.different.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

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
use testbed::{program, stop};

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

fn main() -> ExitCode {
    program::main(|| {
        let options = Options::parse();
        stop::on_signals()?;
        referee(&options)
    })
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

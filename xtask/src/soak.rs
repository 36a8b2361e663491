//! `cargo xtask soak`: what shows more when there is time, with all that it can show.

use std::{process::ExitCode, time::SystemTime};

use anyhow::Result;
use clap::Subcommand;

use crate::{
    test::{self, Asked, Size},
    tiers::Tier,
};

/// Tests that ask how much they are to show.
const SIZED: &str = "flows::";
/// The one that plays random packets.
const FUZZ: &str = "fuzz::random_packets";

/// Those that play everything at once.
const EVERYTHING: &str = "flows::everything";

/// What is soaked, if not the tests of flows.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Play random packets through the programs and through a model of the same rules
    Fuzz {
        /// So many packets, in sequences
        #[arg(long, default_value_t = 1_000_000)]
        packets: u64,
        /// The first sequence's seed; without one, another each time
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Play everything at once, by tc and by XDP: clients of all kinds and a flood, while agents are
    /// upgraded, restarted and killed, endpoints move and conntrack is emptied
    All {
        /// For so long altogether
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
}

/// Runs what is asked for; else those tests of flows whose names contain one of these, all for none.
pub(crate) fn run(what: Option<&What>, filter: &[String]) -> Result<ExitCode> {
    let (filter, environment) = match what {
        Some(What::Fuzz { packets, seed }) => {
            let seed = (*seed).map_or_else(fresh, Ok)?;
            println!("{packets} random packets from seed {seed} on");
            let environment = vec![
                ("LB_FUZZ_PACKETS", packets.to_string()),
                ("LB_FUZZ_SEED", seed.to_string()),
            ];
            (vec![FUZZ.to_owned()], environment)
        }
        Some(What::All { minutes }) => {
            let environment = vec![("LB_SOAK_MINUTES", minutes.to_string())];
            (vec![EVERYTHING.to_owned()], environment)
        }
        None if filter.is_empty() => (vec![SIZED.to_owned()], vec![]),
        None => (filter.to_vec(), vec![]),
    };
    let asked = Asked {
        filter: &filter,
        size: Size::Soak,
        environment,
    };
    test::run(&[Tier::Kernel as u8], &asked)
}

fn fresh() -> Result<u64> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(now.as_secs())
}

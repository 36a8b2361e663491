//! `cargo xtask soak`: the tests that show more when there is time, with all that they can show.

use std::process::ExitCode;

use anyhow::Result;

use crate::{
    test::{self, Size},
    tiers::Tier,
};

/// Tests that ask how much they are to show.
const SIZED: &str = "flows::";

/// Runs those of them whose names contain one of these; all for none.
pub(crate) fn run(filter: &[String]) -> Result<ExitCode> {
    let all = [SIZED.to_owned()];
    let filter = if filter.is_empty() { &all } else { filter };
    test::run(&[Tier::Kernel as u8], filter, Size::Soak)
}

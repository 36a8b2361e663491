//! `cargo xtask referee`: everything before the referee of clusters in company starts.

use std::ffi::OsString;

use anyhow::Result;

use crate::{build::become_program, setup::Needs};

/// Becomes the referee, optimised like what it judges.
pub(crate) fn run(args: &[OsString]) -> Result<()> {
    become_program("referee", Needs::default(), args)
}

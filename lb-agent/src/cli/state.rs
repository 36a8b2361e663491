//! Where verbs find what the agent keeps on disk.

use std::path::PathBuf;

use crate::{
    maps::dir::BpfDir,
    settings::{flags::StateArg, values::defaults},
};

/// The state directory that was given; else the one that the agent of these pins names beside them;
/// else the default.
pub(super) fn state_dir(given: &StateArg, dir: &BpfDir) -> PathBuf {
    let given = given.state_dir.clone();
    given
        .or_else(|| dir.state_dir())
        .unwrap_or_else(|| defaults::STATE_DIR.into())
}

//! Where verbs find what the agent keeps on disk.

use std::path::{Path, PathBuf};

use crate::{
    bootstrap::StateFile,
    maps::dir::BpfDir,
    observe::{event_file::EventFile, pod_file::PodFile, problem_file::ProblemFile},
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

/// The files that an agent keeps there, but for the folder of names: shown by `dump`, taken away by
/// `cleanup`.
pub(super) fn kept_files(state_dir: &Path, dir: &BpfDir) -> Vec<PathBuf> {
    [
        StateFile::in_dir(state_dir).path(),
        ProblemFile::of(state_dir, dir.root()).path(),
        EventFile::of(state_dir, dir.root()).path(),
        PodFile::of(state_dir, dir.root()).path(),
    ]
    .map(Path::to_owned)
    .into()
}

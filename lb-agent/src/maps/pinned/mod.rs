//! Pinned maps of the kernel, each as one table. The kernel's errors are translated into words that
//! name the map and the remedy.

mod array;
mod barrier;
mod hash;
mod source_ranges;

use std::{os::fd::OwnedFd, path::Path};

pub use array::ArrayPin;
pub use barrier::BarrierPin;
pub use hash::HashPin;
use lb_common::maps::MapSpec;
use lb_sys::Error;
pub use source_ranges::SourceRangesPin;

use super::{dir::BpfDir, table::MapError};

/// How a map is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// For the agent, which holds the lock.
    Write,
    /// For verbs, which never write.
    Read,
}

/// Opens the pin of a map.
pub(crate) fn open(dir: &BpfDir, spec: &MapSpec, access: Access) -> Result<OwnedFd, MapError> {
    match access {
        Access::Write => open_for(dir, spec, access, lb_sys::open_pin),
        Access::Read => open_for(dir, spec, access, lb_sys::open_pin_read_only),
    }
}

fn open_for(
    dir: &BpfDir,
    spec: &MapSpec,
    access: Access,
    open: fn(&Path) -> Result<OwnedFd, Error>,
) -> Result<OwnedFd, MapError> {
    // A successor exists only between load and commit, and only the agent itself may use it.
    let new = dir.new_map(spec);
    let path = if access == Access::Write && new.exists() {
        new
    } else {
        dir.map(spec)
    };
    open(&path).map_err(|e| {
        let hint = if e.errno() == Some(nix::libc::ENOENT) {
            ": no agent has run with this --bpf-dir"
        } else {
            ""
        };
        MapError::Failed {
            map: spec.name,
            operation: "open the pin",
            message: format!("{}: {e}{hint}", path.display()),
        }
    })
}

/// An error of the kernel about `spec`.
pub(crate) fn failed(spec: &MapSpec, operation: &'static str, e: &Error) -> MapError {
    MapError::Failed {
        map: spec.name,
        operation,
        message: e.to_string(),
    }
}

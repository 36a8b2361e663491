//! The records of all sockets of this machine, read through the iterator, whichever network namespace they are in. Knows
//! nothing of what they are read for.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use lb_common::sock::SockRecord;

/// Reads them, again and again.
#[derive(Debug)]
pub struct Records {
    iterator: OwnedFd,
}

impl Records {
    pub(crate) fn new(iterator: OwnedFd) -> Self {
        Self { iterator }
    }

    /// Every socket that has a record now.
    pub fn read(&self) -> Result<Vec<SockRecord>> {
        lb_sys::read_iter(&self.iterator).context("cannot walk over the sockets' records")
    }
}

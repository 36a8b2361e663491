//! The records of all sockets of this machine, in whichever network namespace they are.

use std::{os::fd::OwnedFd, path::Path};

use anyhow::{Context as _, Result};
use lb_common::sock::SockRecord;

/// The attached iterator that walks over the records.
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

    /// Keeps the iterator under this name in a bpf file system.
    pub(crate) fn pin(&self, path: &Path) -> Result<()> {
        Ok(lb_sys::pin(&self.iterator, path)?)
    }

    /// A second handle of the same iterator.
    pub fn try_clone(&self) -> Result<Self> {
        let iterator = self.iterator.try_clone();
        let iterator = iterator.context("cannot duplicate a descriptor")?;
        Ok(Self { iterator })
    }
}

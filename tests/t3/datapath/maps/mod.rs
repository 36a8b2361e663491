//! Maps and tables: their pins, batches, the barrier, and what a reader may not do.

mod arrays;
mod capacity;
mod former_names;
mod recount;
mod tables;

use anyhow::Result;
use lb_agent::maps::{
    dir::BpfDir,
    pinned::{Access, ArrayPin},
};
use lb_common::maps::ACTIVE;

/// Open connections by backend id.
fn active(dir: &BpfDir) -> Result<ArrayPin<u64>> {
    Ok(ArrayPin::open(dir, ACTIVE, Access::Write)?)
}

//! The pin of the word that `trace` turns the programs' records on with. It is a global of the
//! programs, so that it costs them one load, and belongs to this agent's programs alone.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::{Ebpf, maps::Map};

use super::link_pin;
use crate::maps::dir::BpfDir;

/// The section of `TRACE_UNTIL` in `lb-ebpf/src/trace/mod.rs`.
const SECTION: &str = ".bss";

/// Pins it over that of the agent before.
pub(super) fn pin(dir: &BpfDir, ebpf: &Ebpf) -> Result<()> {
    let map = ebpf.map(SECTION).context("the programs have no switch")?;
    let Map::Array(data) = map else {
        anyhow::bail!("the switch of the programs is not an array");
    };
    link_pin::replace(&dir.trace_switch(), data.fd().as_fd())
}

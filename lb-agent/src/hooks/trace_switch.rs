//! The pin of the word that `trace` turns the programs' records on with. It is a global of the
//! programs, so that it costs them one load, and belongs to this agent's programs alone.

use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use aya::{Ebpf, maps::Map};

use super::link_pin;
use crate::maps::dir::BpfDir;

/// The section of `TRACE_UNTIL` in `lb-ebpf/src/trace/mod.rs`.
const SECTION: &str = ".bss";

/// A program that every agent attaches, under this name.
const PROGRAM: &str = "lb_connect4";

/// Has it pinned, over that of the agent before.
pub(super) fn pin(dir: &BpfDir, ebpf: &Ebpf) -> Result<()> {
    let map = ebpf.map(SECTION).context("the programs have no switch")?;
    let Map::Array(data) = map else {
        anyhow::bail!("the switch of the programs is not an array");
    };
    let ours = data.fd().as_fd();
    let pinned = lb_sys::open_pin(&dir.trace_switch()).and_then(lb_sys::map_info);
    if pinned.is_ok_and(|pinned| lb_sys::map_info(ours).is_ok_and(|ours| ours.id == pinned.id)) {
        return Ok(());
    }
    link_pin::replace(&dir.trace_switch(), ours)
}

/// Do the programs that are attached read the switch of this number? Those of an agent that does not
/// know `trace` leave the pin of the agent before in its place. What cannot be found out counts as
/// yes.
#[must_use]
pub fn is_read_by_programs(dir: &BpfDir, switch: u32) -> bool {
    let link = lb_sys::open_pin(&dir.links().join(PROGRAM)).and_then(lb_sys::link_info);
    let program = link.and_then(|link| lb_sys::open_program(link.program));
    let reads = program.and_then(|program| lb_sys::program_uses_map(program, switch));
    reads.unwrap_or(true)
}

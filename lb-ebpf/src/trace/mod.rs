//! Decisions, one by one, for `lb-agent trace`. Every program of a hook asks [`is_on`] where it
//! begins and where it ends: a load of a word that nothing writes, and a branch. What is behind
//! the branch stands in functions of the kernel's own (not inlined).
//!
//! A decision is what the program counted: the counters of this CPU that have moved meanwhile.

mod emit;
pub mod packet;
pub mod socket;

use aya_ebpf::{
    btf_maps::PerCpuArray, helpers::generated::bpf_ktime_get_coarse_ns, macros::btf_map,
};
use lb_common::{
    Addr, Reason,
    flow::{Flow, FlowKey},
    maps,
    reason::REASONS,
    trace::Decision,
};

use crate::{
    config,
    maps::{COUNTERS, TRACE_FILTER},
};

/// When it ends, in nanoseconds of `CLOCK_MONOTONIC`; 0: nobody traces. Whoever traces sets it again
/// and again, through the pin of its map.
#[unsafe(no_mangle)]
static mut TRACE_UNTIL: u64 = 0;

/// Does somebody trace? Asked twice in a run rather than remembered: the verifier would read
/// everything between twice.
#[inline(always)]
fn is_on() -> bool {
    // SAFETY: an aligned, initialised u64; volatile, for another process writes it.
    config::trace() != 0 && unsafe { core::ptr::read_volatile(&raw const TRACE_UNTIL) != 0 }
}

/// Is it so still? Turns it off where whoever traced is gone.
#[inline(always)]
fn is_on_still() -> bool {
    // SAFETY: as above, and a helper without arguments, Linux 5.11. Programs write 0 alone: what is
    // set on another CPU at this moment may be lost, and is set again.
    unsafe {
        let until = core::ptr::read_volatile(&raw const TRACE_UNTIL);
        if until > bpf_ktime_get_coarse_ns() {
            return true;
        }
        core::ptr::write_volatile(&raw mut TRACE_UNTIL, 0);
    }
    false
}

/// The number of the session that is on; 0: none has ever been.
#[inline(always)]
fn session() -> u32 {
    TRACE_FILTER.get(0).map_or(0, |filter| filter.session)
}

/// What a run began with, on this CPU.
#[repr(C)]
struct Run {
    /// The lower half: the session in which it began. Another one's does not count, since the switch
    /// may have gone off before the run ended. The upper half, of packets: the programs that run now,
    /// more than one while a packet is sent from inside of one; of sockets: the thread that runs.
    began: u64,
    /// 1: `key` and `flow` are what the first of them had decided about by then.
    is_saved: u32,
    pad: u32,
    key: FlowKey,
    vip_port: u16,
    pad2: [u16; 3],
    flow: Flow,
    /// Of a socket: the address that it named.
    vip: Addr,
    /// This CPU's counters.
    counts: [u64; REASONS as usize],
    /// Room for the record.
    decision: Decision,
}

/// Elements of `lb_tr_runs`.
const PACKETS: u32 = 0;
const SOCKETS: u32 = 1;

// Here and not in maps.rs, for no other room reads or writes it.
#[btf_map(name = "lb_tr_runs")]
static RUNS: PerCpuArray<Run, { maps::TRACE_RUNS.capacity as usize }> = PerCpuArray::new();

/// Notes this CPU's counters.
///
/// # Safety
/// `run` is an element of [`RUNS`].
#[inline(always)]
unsafe fn note(run: *mut Run) {
    let mut i = 0;
    while i < Reason::ALL.len() {
        let Some(n) = COUNTERS.get(i as u32) else {
            return;
        };
        // SAFETY: the caller's promise; there are as many places as counters.
        unsafe { (&raw mut (*run).counts).cast::<u64>().add(i).write(*n) };
        i += 1;
    }
}

/// The reasons whose counters have moved since [`note`], as bits.
///
/// # Safety
/// As for [`note`].
#[inline(always)]
unsafe fn moved(run: *const Run) -> u64 {
    let (mut reasons, mut i) = (0, 0);
    while i < Reason::ALL.len() {
        let Some(n) = COUNTERS.get(i as u32) else {
            return 0;
        };
        // SAFETY: as in `note`.
        let before = unsafe { (&raw const (*run).counts).cast::<u64>().add(i).read() };
        // Without a branch, of which the verifier would follow both sides at each counter: 1 for
        // every difference but 0, since no counter moves by 2^63.
        reasons |= (n.wrapping_sub(before).wrapping_add(!(1 << 63)) >> 63) << i;
        i += 1;
    }
    reasons
}

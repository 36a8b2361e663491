//! The entries of flows in `lb_flows` and `lb_newflows`, which nothing else writes: one for each
//! direction.

mod entry;
pub mod foreign;
mod reverse;
pub mod snat_peer;
pub mod snat_port;
mod table;
mod tally;

use aya_ebpf::helpers::bpf_ktime_get_coarse_ns;
use lb_common::flow::{Flow, FlowKey, flags};

pub use entry::{Entry, find, find_established, read};
pub use reverse::{forget, promote, unverify, verified_reverse};
pub use table::FlowTable;
pub use tally::ended;

use crate::{config, maps::FLOWS, packet::Packet, scratch::Scratch};

/// `CLOCK_MONOTONIC`, as coarse as a tick. Linux 5.11.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: a helper without arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// May the packet go by the forward entry in `s.flow` alone? Its reverse entry was verified lately,
/// and nothing that this packet says would have to be noted there.
#[inline(always)]
pub fn skip_reverse_lookup(p: &Packet, s: &Scratch, found: &Entry, now: u64) -> bool {
    found.table == FlowTable::Established
        && p.changes_nothing()
        && s.flow.ifindex == p.ifindex
        && s.flow.is_verified(now)
        && found.still(&s.key, &s.flow)
}

/// Are connections that were opened elsewhere being adopted just now? Asked only for segments that
/// belong to no entry.
#[inline(always)]
pub fn adopting() -> bool {
    FLOWS.get_ptr_mut(&FlowKey::ADOPTING).is_some()
}

/// Is this the reply entry of a backend on this node?
#[inline(always)]
pub fn is_local(flow: &Flow) -> bool {
    flow.flags & flags::LOCAL != 0
}

/// Does the client's side come over `lb0`?
#[inline(always)]
pub fn is_lb0(flow: &Flow) -> bool {
    flow.flags & flags::LB0 != 0
}

/// Is it a direct connection's, which no Service has a say in?
#[inline(always)]
pub fn is_direct(flow: &Flow) -> bool {
    flow.flags & flags::DIRECT != 0
}

/// Do its replies go up this node's stack?
#[inline(always)]
pub fn is_stack(flow: &Flow) -> bool {
    flow.flags & flags::STACK != 0
}

/// Does the stack masquerade it?
#[inline(always)]
pub fn is_masqueraded(flow: &Flow) -> bool {
    flow.flags & flags::MASQUERADED != 0
}

/// Is this reply entry nobody's by now?
#[inline(always)]
pub fn is_past(flow: &Flow, proto: u8, now: u64) -> bool {
    flow.is_past(proto, &config::timeouts(), now)
}

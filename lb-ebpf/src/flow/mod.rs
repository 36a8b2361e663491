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
use lb_common::flow::{Flow, FlowKey, State, connects, flags};

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
    flow.is_older_than(now, || Standing::of(flow, proto).keep)
}

/// What the state of a reply entry means for others who want its tuple.
#[derive(Clone, Copy)]
pub struct Standing {
    /// After how many units without a packet it is nobody's.
    pub keep: u32,
    /// The same where ports are short.
    pub keep_when_short: u32,
    /// A SYN on its tuple opens another connection.
    pub is_over: bool,
}

impl Standing {
    const OVER: u64 = 1 << 63;

    #[inline(always)]
    pub fn of(flow: &Flow, proto: u8) -> Self {
        let word = standing(flow.client.into(), flow.server.into(), proto.into());
        Self {
            keep: word as u32,
            keep_when_short: ((word & !Self::OVER) >> 32) as u32,
            is_over: word & Self::OVER != 0,
        }
    }
}

/// [`Standing`], of what both sides have done. Exported, so that the verifier tells states apart
/// once, whatever asks.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn standing(client: u32, server: u32, proto: u32) -> u64 {
    let state = State::of(client as u8, server as u8, connects(proto as u8));
    let timeouts = config::timeouts();
    let over = if state.is_over() { Standing::OVER } else { 0 };
    u64::from(state.keep(&timeouts)) | u64::from(state.keep_when_short(&timeouts)) << 32 | over
}

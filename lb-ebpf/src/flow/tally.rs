//! Flows counted by backend (`lb_flow_counts`), for schedulers that look at loads. Two packets of
//! one flow at once may count it wrongly, an entry that the kernel's LRU drops is not counted off, and
//! a flow whose backend has gone is counted on and off for the one that has its id by now, as are
//! sockets in `lb_active`: the agent's recounts begin with the flows and sockets that there are, and
//! repair what differs.

use lb_common::{
    flow::{Flow, State, connects, direction},
    load::FlowCounts,
};

use crate::{atomic, maps::FLOW_COUNTS};

/// What a reply entry counts as, read before it is removed.
#[derive(Clone, Copy)]
pub struct Counted {
    backend: u32,
    client: u8,
    server: u8,
    direction: u8,
}

impl Counted {
    #[inline(always)]
    pub fn of(reply: &Flow) -> Self {
        Self {
            backend: reply.backend,
            client: reply.client,
            server: reply.server,
            direction: reply.direction,
        }
    }
}

/// A flow was opened, with this reply entry.
#[inline(always)]
pub fn opened(reply: &Flow, proto: u8) {
    let state = State::of(reply.client, reply.server, connects(proto));
    add(reply.backend, FlowCounts::one(state).to_word());
}

/// An entry was removed; only that of a reply counts.
#[inline(always)]
pub fn closed(gone: Counted, proto: u8) {
    if gone.direction == direction::REPLY {
        let state = State::of(gone.client, gone.server, connects(proto));
        add(
            gone.backend,
            FlowCounts::one(state).to_word().wrapping_neg(),
        );
    }
}

/// The reply entry of a flow was removed, of which this is a copy.
#[inline(always)]
pub fn ended(reply: &Flow, proto: u8) {
    closed(Counted::of(reply), proto);
}

/// The sides of a flow, client and server, did this before, and this now.
#[inline(always)]
pub fn moved(backend: u32, before: (u8, u8), now: (u8, u8), connects: bool) {
    // Datagrams count alike from the first to the last.
    if connects {
        let sides = |(client, server)| u32::from(client) << 8 | u32::from(server);
        moved_by_call(backend, sides(before), sides(now));
    }
}

/// A function of the kernel's own: the states are told apart once a program, not once a caller.
#[inline(never)]
fn moved_by_call(backend: u32, before: u32, now: u32) -> u32 {
    let state = |sides: u32| State::of((sides >> 8) as u8, sides as u8, true);
    let change = FlowCounts::moved(state(before), state(now));
    if change != 0 {
        add(backend, change);
    }
    0
}

/// A flow of no Service has a backend beyond every index.
#[inline(always)]
fn add(backend: u32, word: u64) {
    if let Some(counts) = FLOW_COUNTS.get_ptr_mut(backend) {
        // SAFETY: an aligned u64 of an array map, only ever added to.
        unsafe { atomic::add(counts, word) };
    }
}

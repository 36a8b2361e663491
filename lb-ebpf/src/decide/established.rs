//! Packets of a flow that has entries.

use core::ffi::c_void;

use lb_common::{flow::direction, member};

use super::{Action, Side, send};
use crate::{
    flow::{self, Entry},
    lookup,
    packet::Packet,
    route::{self, For},
    scratch::Scratch,
};

/// A packet of the client's side whose forward entry, copied to `s.flow`, was found. `None`: it
/// opens a new flow.
#[inline(always)]
pub fn established(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    found: &Entry,
    whole: u16,
    side: Side,
) -> Option<Action> {
    if s.flow.generation == 0 {
        return None;
    }
    // UDP moves on when its backend stops serving; TCP and SCTP keep it, but open nothing there.
    let moves = !p.connects() || p.is_syn();
    let over = moves && !lookup::is_member(s.flow.pool, s.flow.backend, member::SERVING);
    let now = flow::now();
    let local = flow::is_local(&s.flow);
    if over || !flow::skip_reverse_lookup(p, s, found, now) {
        let Some(reverse) = flow::verified_reverse(p, s, found.table) else {
            flow::forget(s, found.table, None);
            return None;
        };
        if over || (p.is_syn() && reverse.is_closed()) {
            flow::forget(s, found.table, Some(&reverse));
            return None;
        }
        reverse.client_sent(flow::bits(p), now);
        found.mark_verified(&s.key, &s.flow, p.ifindex, now);
        s.flow.ifindex = p.ifindex;
        s.flow.last_seen_ns = now;
        flow::promote(p, s, found.table, &reverse);
        if local || side == Side::Lb0 {
            reverse.moved_to(p.ifindex);
        }
    }
    if local {
        return Some(Action::Deliver);
    }
    Some(forward(ctx, p, s, whole, For::Forward))
}

/// A reply of a backend on another node, to an address and port of ours.
#[inline(always)]
pub fn reply_in(
    ctx: *mut c_void,
    p: &Packet,
    s: &mut Scratch,
    found: &Entry,
    whole: u16,
) -> Action {
    let Some(found) = found.current(&s.key, &mut s.flow) else {
        return Action::Pass;
    };
    if s.flow.direction != direction::REPLY || flow::is_local(&s.flow) {
        return Action::Pass;
    }
    found.server_sent(flow::bits(p), flow::now());
    if flow::is_lb0(&s.flow) {
        return Action::DeliverVia(s.flow.ifindex);
    }
    forward(ctx, p, s, whole, For::Reply)
}

/// Looks up the way of a packet of `s.flow`.
#[inline(always)]
fn forward(ctx: *mut c_void, p: &Packet, s: &mut Scratch, whole: u16, what: For) -> Action {
    if p.ttl <= 1 {
        return Action::Expired;
    }
    let ends = (&s.flow.src, &s.flow.dst);
    send(route::find(ctx, &mut s.fib, p, ends, whole, what))
}

//! What becomes of ICMP errors: they follow the flow that they quote. Writes no byte of a packet.

use core::ffi::c_void;

use lb_common::{Reason, flow::kind};

use crate::{
    decide::{Action, send},
    flow,
    packet::Packet,
    route::{self, For},
    scratch::Scratch,
};

/// An ICMP error, by a packet `p` that would answer what it quotes: coming in, or on its way `out`.
#[inline(always)]
pub fn error(ctx: *mut c_void, p: &Packet, s: &mut Scratch, out: bool) -> Action {
    s.key = p.key();
    let found = flow::read(&s.key, &mut s.flow);
    if found.is_none() || s.flow.kind == kind::NETFILTER {
        return Action::Pass;
    }
    let (reply, local) = (s.flow.kind == kind::REPLY, flow::is_local(&s.flow));
    // Replies of local backends alone are seen on their way out.
    if (reply && local) != out {
        return Action::Pass;
    }
    if flow::is_lb0(&s.flow) {
        return if reply && !local {
            Action::Hand
        } else {
            Action::Pass
        };
    }
    if out {
        return Action::Reply;
    }
    if local {
        return Action::Deliver;
    }
    if p.ttl <= 1 {
        return Action::Drop(Reason::PktTtlExpired);
    }
    let what = if reply { For::Reply } else { For::Forward };
    send(route::find(
        ctx,
        &mut s.fib,
        p,
        (&s.flow.src, &s.flow.dst),
        0,
        what,
    ))
}

/// An ICMP error on its way out by `lb0`, or by its other end if it is about what a local backend `replied` to: by a packet
/// `p` that would answer what it quotes.
#[inline(always)]
pub fn vip_error(ctx: *mut c_void, p: &Packet, s: &mut Scratch, replied: bool) -> Action {
    s.key = p.key();
    let found = flow::read(&s.key, &mut s.flow);
    let (reply, local) = (s.flow.kind == kind::REPLY, flow::is_local(&s.flow));
    if found.is_none() || !flow::is_lb0(&s.flow) || reply != replied {
        return Action::Drop(Reason::PktNoFlow);
    }
    if local {
        return Action::Deliver;
    }
    if reply || p.ttl <= 1 {
        return Action::Drop(Reason::PktTtlExpired);
    }
    let ends = (&s.flow.src, &s.flow.dst);
    send(route::find(ctx, &mut s.fib, p, ends, 0, For::Forward))
}

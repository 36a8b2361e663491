//! What becomes of ICMP errors: they follow the flow that they quote. Writes no byte of a packet.

use core::ffi::c_void;

use lb_common::{Reason, flow::direction};

use super::{Action, Direction, send};
use crate::{
    flow,
    packet::Packet,
    route::{self, For},
    scratch::Scratch,
};

/// An ICMP error on a node device, by a packet `p` that would answer what it quotes.
#[inline(always)]
pub fn node_device(ctx: *mut c_void, p: &Packet, s: &mut Scratch, direction: Direction) -> Action {
    s.key = p.key();
    let found = flow::read(&s.key, &mut s.flow);
    if found.is_none() || s.flow.direction == direction::NETFILTER {
        return Action::Pass;
    }
    let (reply, local) = (
        s.flow.direction == direction::REPLY,
        flow::is_local(&s.flow),
    );
    if reply && flow::is_past(&s.flow, p.proto, flow::now()) {
        return Action::Pass;
    }
    let out = direction == Direction::Out;
    // Of flows, only replies of local backends are seen on their way out.
    if (reply && local) != out {
        return Action::Pass;
    }
    if flow::is_lb0(&s.flow) {
        return if reply && !local {
            Action::DeliverVia
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
        return Action::dropped(Reason::PktTtlExpired);
    }
    let what = if reply { For::Reply } else { For::Forward };
    let ends = (&s.flow.src, &s.flow.dst);
    send(route::find(ctx, &mut s.fib, p, ends, 0, what))
}

/// An ICMP error on `lb0`, by a packet `p` that would answer what it quotes: from the client's side
/// on its way out, or from a local backend on its way in.
#[inline(always)]
pub fn lb0(ctx: *mut c_void, p: &Packet, s: &mut Scratch, direction: Direction) -> Action {
    s.key = p.key();
    let found = flow::read(&s.key, &mut s.flow);
    let (reply, local) = (
        s.flow.direction == direction::REPLY,
        flow::is_local(&s.flow),
    );
    let replied = direction == Direction::In;
    if found.is_none()
        || !flow::is_lb0(&s.flow)
        || reply != replied
        || (reply && flow::is_past(&s.flow, p.proto, flow::now()))
    {
        return Action::dropped(Reason::PktNoFlow);
    }
    if local {
        return Action::Deliver;
    }
    if reply || p.ttl <= 1 {
        return Action::dropped(Reason::PktTtlExpired);
    }
    let ends = (&s.flow.src, &s.flow.dst);
    send(route::find(ctx, &mut s.fib, p, ends, 0, For::Forward))
}

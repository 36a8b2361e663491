//! Carries an action out on a socket buffer: the one place where tc's packets are rewritten,
//! answered and sent.

use aya_ebpf::{EbpfContext, programs::TcContext};
use lb_common::{Addr, Reason, flow::direction};

use crate::{
    count::{self, count},
    decide::{Action, Side},
    lookup, mark,
    packet::{self, Packet},
    reply::{
        icmp::{self, Answer},
        tcp_reset,
    },
    rewrite::{Hop, icmp_inner, redirect, skb},
    route::{self, For, Route},
    scratch::Scratch,
    verdict::Verdict,
};

impl Side {
    /// What becomes of a packet that is not ours. On `lb0` the route would bring it back.
    #[inline(always)]
    pub fn not_ours(self) -> Verdict {
        match self {
            Self::NodeDevice => Verdict::Next,
            Self::Lb0 => Verdict::Shot,
        }
    }
}

/// Carries out what was decided about a packet.
#[inline(always)]
pub fn carry(ctx: &TcContext, p: &Packet, s: &mut Scratch, action: Action, side: Side) -> Verdict {
    match action {
        Action::Pass => side.not_ours(),
        Action::Drop(reason) => Verdict::dropped(reason),
        Action::Refuse(service) => {
            count(Reason::PktNoEndpoint);
            count::reject(service);
            refuse(ctx, p, s, side)
        }
        Action::RefusePort => {
            count(Reason::PktUnknownPort);
            refuse(ctx, p, s, side)
        }
        Action::Expired => {
            count(Reason::PktTtlExpired);
            answer(ctx, p, s, Answer::TimeExceeded, side)
        }
        Action::TooBig => {
            count(Reason::PktTooBig);
            let mtu = s.fib.tot_len;
            answer(ctx, p, s, Answer::TooBig(mtu), side)
        }
        Action::Deliver | Action::Send { .. } | Action::Reply | Action::DeliverVia(_) => {
            if skb::write(ctx.skb.skb, p, &s.flow, hop(action)).is_err() {
                return Verdict::dropped(Reason::PktWriteFailed);
            }
            let reason = match action {
                Action::Deliver => Reason::PktLocal,
                Action::Send { .. } if s.flow.direction != direction::REPLY => Reason::PktForwarded,
                _ => Reason::PktReply,
            };
            count::forwarded(s.flow.pool, p.len, reason);
            go_on(ctx, p, s, action, side)
        }
    }
}

/// Carries out what was decided about an ICMP error that came from `from`; `p` would answer what it
/// quotes.
#[inline(always)]
pub fn carry_icmp_error(
    ctx: &TcContext,
    p: &Packet,
    s: &mut Scratch,
    from: &Addr,
    action: Action,
    side: Side,
) -> Verdict {
    match action {
        Action::Drop(reason) => return Verdict::dropped(reason),
        Action::Deliver | Action::Reply | Action::DeliverVia(_) | Action::Send { .. } => {}
        _ => return side.not_ours(),
    }
    // An error that goes to another node, or to the client, comes from an address that these know;
    // one that comes in on `lb0`, from one that is routed there. Any other keeps its sender.
    let source = match (action, side) {
        (Action::Send { .. }, _) => s.flow.src,
        (Action::DeliverVia(_), _) | (_, Side::Lb0) => lookup::icmp_source(&s.flow.src),
        _ if packet::same(from, &p.src) => s.flow.src,
        _ => *from,
    };
    if icmp_inner::write(ctx.skb.skb, p, from, &source, &s.flow, hop(action)).is_err() {
        return Verdict::dropped(Reason::PktWriteFailed);
    }
    count(Reason::PktIcmpError);
    go_on(ctx, p, s, action, side)
}

#[inline(always)]
fn hop(action: Action) -> Hop {
    match action {
        Action::Send { .. } => Hop::Spend,
        _ => Hop::Keep,
    }
}

/// Lets a rewritten packet go where its action says.
#[inline(always)]
fn go_on(ctx: &TcContext, p: &Packet, s: &mut Scratch, action: Action, side: Side) -> Verdict {
    match (action, side) {
        (Action::Send { neighbour }, _) => send(ctx, p, s, neighbour),
        (Action::DeliverVia(lb0), Side::NodeDevice) => {
            if skb::link_header(ctx.skb.skb, p).is_err() {
                return Verdict::dropped(Reason::PktWriteFailed);
            }
            redirect::into_lb0(ctx.skb.skb, p.ethertype(), lb0)
        }
        (Action::Reply, Side::NodeDevice) => leave(ctx, p, s),
        _ => Verdict::Next,
    }
}

/// Sends a rewritten packet by the way found. While the `neighbour` is unknown, the packet waits,
/// and goes where its route leads: one that was on its way out has a route already, to where it was
/// going, so the kernel looks for another.
#[inline(always)]
fn send(ctx: &TcContext, p: &Packet, s: &Scratch, neighbour: bool) -> Verdict {
    if skb::link_header(ctx.skb.skb, p).is_err() {
        return Verdict::dropped(Reason::PktWriteFailed);
    }
    mark::sent(ctx.skb.skb);
    if neighbour {
        redirect::by_route(&s.fib)
    } else {
        redirect::by_device(s.fib.ifindex)
    }
}

/// Lets a rewritten reply go on, by the device that the client's packets come in on if a way to the
/// client leads there.
#[inline(always)]
fn leave(ctx: &TcContext, p: &Packet, s: &mut Scratch) -> Verdict {
    let device = s.flow.ifindex;
    if device == p.ifindex {
        return Verdict::Next;
    }
    let ends = (&s.flow.src, &s.flow.dst);
    match route::find(ctx.as_ptr(), &mut s.fib, p, ends, 0, For::Device(device)) {
        Route::Found { neighbour } if s.fib.ifindex == device => send(ctx, p, s, neighbour),
        _ => Verdict::Next,
    }
}

/// Refuses as a port without a listener does: a reset, or ICMP port unreachable.
#[inline(always)]
fn refuse(ctx: &TcContext, p: &Packet, s: &mut Scratch, side: Side) -> Verdict {
    if p.is_rst() {
        return Verdict::Shot;
    }
    if !p.is_tcp() {
        return answer(ctx, p, s, Answer::PortUnreachable, side);
    }
    match tcp_reset::turn(ctx.skb.skb, p, s) {
        Ok(()) => send_back(ctx, p, side),
        Err(()) => Verdict::Shot,
    }
}

/// Answers a packet with an ICMP error. If none can be made, the packet is dropped; it was counted
/// already.
#[inline(always)]
fn answer(ctx: &TcContext, p: &Packet, s: &mut Scratch, what: Answer, side: Side) -> Verdict {
    let mut made = icmp::turn(ctx.skb.skb, p, s, what);
    if side == Side::Lb0 && made.is_ok() {
        made = icmp::set_lb0_source(ctx.skb.skb, p);
    }
    match made {
        Ok(()) => send_back(ctx, p, side),
        Err(()) => Verdict::Shot,
    }
}

/// Sends an answer back to where its packet came from.
#[inline(always)]
fn send_back(ctx: &TcContext, p: &Packet, side: Side) -> Verdict {
    match side {
        Side::NodeDevice => redirect::by_device(p.ifindex),
        Side::Lb0 => redirect::into_lb0(ctx.skb.skb, p.ethertype(), p.ifindex),
    }
}

//! Carries an action out on a socket buffer: the one place where tc's packets are rewritten,
//! answered and sent.

use aya_ebpf::{EbpfContext, bindings::__sk_buff, programs::TcContext};
use lb_common::{Reason, flow::direction};

use crate::{
    count::{self, count},
    decide::{Action, Side},
    flow, lookup, mark, oversized,
    packet::{self, Packet},
    reply::{
        icmp::{self, Answer},
        limit, tcp_reset,
    },
    rewrite::{Hop, icmp_inner, redirect, skb},
    route::{self, For, Route},
    scratch::{self, Scratch},
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

/// Carries out what was decided about the packet in this CPU's room. A function of the kernel's own
/// (not inlined), with a stack of its own.
#[inline(never)]
pub fn carry_held(skb: *mut __sk_buff, action: u64, side: Side) -> Verdict {
    let Some((p, s)) = scratch::held() else {
        return side.not_ours();
    };
    let action = if is_narrow(action, s) {
        Action::TooBig.pack()
    } else {
        action
    };
    carry(&TcContext::new(skb), p, s, Action::unpack(action), side)
}

#[inline(always)]
fn carry(ctx: &TcContext, p: &Packet, s: &mut Scratch, action: Action, side: Side) -> Verdict {
    match action {
        Action::Pass | Action::Open(_) | Action::Reset(_) => side.not_ours(),
        Action::Drop => Verdict::Shot,
        Action::Martian => Verdict::dropped(Reason::PktMartian),
        Action::Refuse(pool) | Action::RefuseFull(pool) => {
            count(if matches!(action, Action::Refuse(_)) {
                Reason::PktNoEndpoint
            } else {
                Reason::PktBackendsFull
            });
            count::reject(pool);
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
        Action::Deliver | Action::Send { .. } | Action::Reply | Action::DeliverVia => {
            if skb::write(ctx.skb.skb, p, &s.flow, hop(action)).is_err() {
                return Verdict::dropped(Reason::PktWriteFailed);
            }
            let Ok(way) = way(ctx, p, s, action, side) else {
                return Verdict::dropped(Reason::PktWriteFailed);
            };
            if matches!(action, Action::Deliver) && flow::is_masqueraded(&s.flow) {
                mark::masqueraded(ctx.skb.skb);
            }
            let reason = match action {
                Action::Deliver => Reason::PktLocal,
                Action::Send { .. } if s.flow.direction != direction::REPLY => Reason::PktForwarded,
                _ => Reason::PktReply,
            };
            count::forwarded(s.flow.pool, p.len, reason);
            go(ctx, p, s, way)
        }
    }
}

/// Carries out what was decided about an ICMP error; `p` would answer what it quotes.
#[inline(always)]
pub fn carry_icmp_error(
    ctx: &TcContext,
    p: &Packet,
    s: &mut Scratch,
    action: Action,
    side: Side,
) -> Verdict {
    match action {
        Action::Drop => return Verdict::Shot,
        Action::Deliver | Action::Reply | Action::DeliverVia | Action::Send { .. } => {}
        _ => return side.not_ours(),
    }
    // An error that goes to another node, or to the client, comes from an address that these know;
    // one that comes in on `lb0`, from one that is routed there. Any other keeps its sender.
    let source = match (action, side) {
        (Action::Send { .. }, _) => s.flow.src,
        (Action::DeliverVia, _) | (_, Side::Lb0) => lookup::icmp_source(&s.flow.src),
        _ if packet::same(&s.quote.from, &p.src) => s.flow.src,
        _ => s.quote.from,
    };
    if icmp_inner::write(ctx.skb.skb, p, &s.quote, &source, &s.flow, hop(action)).is_err() {
        return Verdict::dropped(Reason::PktWriteFailed);
    }
    let Ok(way) = way(ctx, p, s, action, side) else {
        return Verdict::dropped(Reason::PktWriteFailed);
    };
    count(Reason::PktIcmpError);
    go(ctx, p, s, way)
}

/// Is the packet of this action larger than the way found carries, and may routers fragment it?
#[inline(always)]
fn is_narrow(action: u64, s: &Scratch) -> bool {
    action == Action::Send { neighbour: false }.pack() && Route::is_narrow(&s.fib)
}

/// Is it so, and may the stack do it? A program of ours must stand where the packet leaves.
#[inline(always)]
pub fn is_for_stack(action: u64, s: &Scratch) -> bool {
    is_narrow(action, s) && route::is_node_device(s.fib.ifindex)
}

/// Leaves the packet in this CPU's room to the stack, which fragments it. Not inlined, since it is
/// rare.
#[inline(never)]
pub fn divert(skb: *mut __sk_buff) -> Verdict {
    let Some((p, s)) = scratch::held() else {
        return Verdict::Shot;
    };
    if !oversized::divert(skb, p, &mut s.flow) || skb::write(skb, p, &s.flow, Hop::Keep).is_err() {
        return Verdict::dropped(Reason::PktWriteFailed);
    }
    let reason = if s.flow.direction == direction::REPLY {
        Reason::PktReply
    } else {
        Reason::PktForwarded
    };
    count::forwarded(s.flow.pool, p.len, reason);
    Verdict::Next
}

#[inline(always)]
fn hop(action: Action) -> Hop {
    match action {
        Action::Send { .. } => Hop::Spend,
        _ => Hop::Keep,
    }
}

/// Where a rewritten packet goes.
#[derive(Clone, Copy)]
enum Way {
    /// To the next program or the stack.
    Next,
    /// Out by the way found; whether its neighbour is known.
    Found { neighbour: bool },
    /// Into the stack as if it came in on `lb0`, the device in [`Scratch::flow`]; or on the loopback
    /// ([`redirect::home`]).
    IntoLb0,
}

/// Finds where a rewritten packet goes, and makes the link header that it needs there. This is the
/// last thing that can fail: only then is the packet counted, under one reason.
#[inline(always)]
fn way(
    ctx: &TcContext,
    p: &Packet,
    s: &mut Scratch,
    action: Action,
    side: Side,
) -> Result<Way, i64> {
    let way = match (action, side) {
        (Action::Send { neighbour }, _) => Way::Found { neighbour },
        (Action::DeliverVia, Side::NodeDevice) => Way::IntoLb0,
        // It would enter the stack on `lb0`. What is delivered there is an ICMP error.
        (Action::Reply | Action::Deliver, Side::Lb0) if redirect::is_loopback(&s.flow.dst) => {
            Way::IntoLb0
        }
        (Action::Reply, Side::NodeDevice) => to_client(ctx, p, s),
        _ => Way::Next,
    };
    if !matches!(way, Way::Next) {
        skb::link_header(ctx.skb.skb, p)?;
    }
    Ok(way)
}

/// A rewritten reply goes by the device that the client's packets come in on if a way to the client
/// leads there.
#[inline(always)]
fn to_client(ctx: &TcContext, p: &Packet, s: &mut Scratch) -> Way {
    let device = s.flow.ifindex;
    if device == p.ifindex {
        return Way::Next;
    }
    let ends = (&s.flow.src, &s.flow.dst);
    match route::find(ctx.as_ptr(), &mut s.fib, p, ends, 0, For::Device(device)) {
        Route::Found { neighbour } if s.fib.ifindex == device => Way::Found { neighbour },
        _ => Way::Next,
    }
}

/// Lets a packet go. While its neighbour is unknown, a packet that is sent waits, and goes where
/// its route leads: one that was on its way out has a route already, to where it was going, so the
/// kernel looks for another.
#[inline(always)]
fn go(ctx: &TcContext, p: &Packet, s: &Scratch, way: Way) -> Verdict {
    match way {
        Way::Next => Verdict::Next,
        Way::IntoLb0 => {
            let home = redirect::home(&s.flow.dst, s.flow.ifindex);
            redirect::into_lb0(ctx.skb.skb, p.ethertype(), home)
        }
        Way::Found { neighbour } => {
            mark::sent(ctx.skb.skb);
            if neighbour {
                redirect::by_route(&s.fib)
            } else {
                redirect::by_device(s.fib.ifindex)
            }
        }
    }
}

/// Refuses as a port without a listener does: a reset, or ICMP port unreachable.
#[inline(always)]
fn refuse(ctx: &TcContext, p: &Packet, s: &mut Scratch, side: Side) -> Verdict {
    if p.is_rst() || p.is_later() {
        return Verdict::Shot;
    }
    if !p.is_tcp() {
        return answer(ctx, p, s, Answer::PortUnreachable, side);
    }
    if !limit::allows() {
        return Verdict::Shot;
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
    // No error is sent about a later fragment (RFC 1122, 3.2.2).
    if p.is_later() || !limit::allows() {
        return Verdict::Shot;
    }
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
        Side::Lb0 => {
            let home = redirect::home(&p.src, p.ifindex);
            redirect::into_lb0(ctx.skb.skb, p.ethertype(), home)
        }
    }
}

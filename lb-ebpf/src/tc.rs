//! tc carries an action out, and lets the stack do what it can do itself. Owns the verdicts of the tc programs.

use aya_ebpf::{
    EbpfContext, bindings::TC_ACT_SHOT, helpers::bpf_skb_pull_data, macros::classifier,
    programs::TcContext,
};
use lb_common::{Reason, flow::kind};

use crate::{
    count::{self, count},
    decide::{self, Action},
    icmp::{self, Answer},
    packet::{self, ETH, ETH_P_IP, ETH_P_IPV6, Packet, Unread},
    quote::{self, Quote},
    route,
    scratch::{self, Scratch},
    skb,
};

/// The next program, or the stack: TCX_NEXT and TC_ACT_UNSPEC are the same number.
const NEXT: i32 = -1;
/// `skb->pkt_type` of a frame that a promiscuous device took in for somebody else.
const PACKET_OTHERHOST: u32 = 3;
/// Packets that come in on a node device.
#[classifier]
pub fn lb_tc_ingress(ctx: TcContext) -> i32 {
    ingress(&ctx)
}

/// Packets that leave by a node device.
#[classifier]
pub fn lb_tc_egress(ctx: TcContext) -> i32 {
    egress(&ctx)
}

/// What a socket buffer holds.
enum Read {
    /// A TCP segment or UDP datagram.
    Packet(Packet),
    /// An ICMP error about one.
    Quote(Quote),
    /// Nothing that is ours to touch.
    Other,
}

#[inline(always)]
fn ingress(ctx: &TcContext) -> i32 {
    match read(ctx) {
        Read::Packet(p) => packet_in(ctx, &p),
        Read::Quote(q) => error(ctx, &q, false),
        Read::Other => NEXT,
    }
}

#[inline(always)]
fn egress(ctx: &TcContext) -> i32 {
    match read(ctx) {
        Read::Packet(p) => packet_out(ctx, &p),
        Read::Quote(q) => error(ctx, &q, true),
        Read::Other => NEXT,
    }
}

#[inline(always)]
fn packet_in(ctx: &TcContext, p: &Packet) -> i32 {
    let Some(s) = scratch::get() else { return NEXT };
    match decide::ingress(ctx.as_ptr(), p, s, 0) {
        Action::Pass | Action::Reply => NEXT,
        Action::Drop(reason) => drop(reason),
        Action::Refuse(service) => {
            count(Reason::PktNoEndpoint);
            count::reject(service);
            answer(ctx, p, s, Answer::PortUnreachable)
        }
        Action::Expired => {
            count(Reason::PktTtlExpired);
            answer(ctx, p, s, Answer::TimeExceeded)
        }
        Action::TooBig => {
            count(Reason::PktTooBig);
            let mtu = s.fib.tot_len;
            answer(ctx, p, s, Answer::TooBig(mtu))
        }
        Action::Deliver => {
            if skb::write(ctx.skb.skb, p, &s.flow, false).is_err() {
                return drop(Reason::PktWriteFailed);
            }
            decide::carried(p, s, Reason::PktLocal);
            NEXT
        }
        Action::Send { .. } => {
            if skb::write(ctx.skb.skb, p, &s.flow, true).is_err() {
                return drop(Reason::PktWriteFailed);
            }
            let reason = if s.flow.kind == kind::REPLY {
                Reason::PktReply
            } else {
                Reason::PktForwarded
            };
            decide::carried(p, s, reason);
            send(ctx, p, s)
        }
    }
}

#[inline(always)]
fn packet_out(ctx: &TcContext, p: &Packet) -> i32 {
    let Some(s) = scratch::get() else { return NEXT };
    let Action::Reply = decide::egress(p, s) else {
        return NEXT;
    };
    if skb::write(ctx.skb.skb, p, &s.flow, false).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    decide::carried(p, s, Reason::PktReply);
    leave(ctx, p, s)
}

/// An ICMP error, in or out: whose flow it is about, it follows.
#[inline(always)]
fn error(ctx: &TcContext, q: &Quote, out: bool) -> i32 {
    let Some(s) = scratch::get() else { return NEXT };
    let p = &q.answer;
    let action = decide::error(ctx.as_ptr(), p, s, out);
    let hop = match action {
        Action::Drop(reason) => return drop(reason),
        Action::Deliver | Action::Reply => false,
        Action::Send { .. } => true,
        _ => return NEXT,
    };
    // What goes to another node, or to the client, comes from an address that it can know; what stays keeps its sender.
    let from = if hop || packet::same(&q.from, &p.src) {
        s.flow.src
    } else {
        q.from
    };
    if quote::write(ctx.skb.skb, q, &from, &s.flow, hop).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    count(Reason::PktIcmpError);
    match action {
        Action::Send { .. } => send(ctx, p, s),
        Action::Reply => leave(ctx, p, s),
        _ => NEXT,
    }
}

/// Sends a rewritten packet by the way found.
#[inline(always)]
fn send(ctx: &TcContext, p: &Packet, s: &Scratch) -> i32 {
    if skb::link_header(ctx.skb.skb, p).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    route::send(&s.fib)
}

/// Lets a rewritten reply go on, by the device that the client's packets come in on.
#[inline(always)]
fn leave(ctx: &TcContext, p: &Packet, s: &Scratch) -> i32 {
    if s.flow.ifindex == p.ifindex {
        return NEXT;
    }
    if skb::link_header(ctx.skb.skb, p).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    route::send_by(s.flow.ifindex)
}

#[inline(always)]
fn drop(reason: Reason) -> i32 {
    count(reason);
    TC_ACT_SHOT
}

/// Sends an ICMP error about the packet, back by the device that it came in on. If none can be made, the packet is dropped;
/// it was counted already.
#[inline(always)]
fn answer(ctx: &TcContext, p: &Packet, s: &mut Scratch, what: Answer) -> i32 {
    match icmp::turn(ctx.skb.skb, p, s, what) {
        Ok(()) => route::send_by(p.ifindex),
        Err(()) => TC_ACT_SHOT,
    }
}

/// Reads the headers; what is passed though it might have been ours is counted.
#[inline(always)]
fn read(ctx: &TcContext) -> Read {
    let skb = ctx.skb.skb;
    // SAFETY: fields of the program's own context, read one by one.
    let (protocol, tagged, kind, ifindex, len) = unsafe {
        (
            (*skb).protocol as u16,
            (*skb).vlan_present,
            (*skb).pkt_type,
            (*skb).ifindex,
            (*skb).len,
        )
    };
    let is_v4 = match protocol {
        ETH_P_IP => true,
        ETH_P_IPV6 => false,
        _ => return Read::Other,
    };
    // A tagged frame belongs to the VLAN device above, where it is seen again.
    if tagged != 0 || kind == PACKET_OTHERHOST {
        return Read::Other;
    }
    let net = match route::device(ifindex) {
        Some(dev) if dev.header_len == 0 => 0,
        _ => ETH,
    };
    let linear = (ctx.data_end() as u32).wrapping_sub(ctx.data() as u32);
    if linear < len {
        let want = net + packet::needed(ctx.data(), ctx.data_end(), net, is_v4);
        let want = if len < want { len } else { want };
        // SAFETY: the program's own context; pointers into the packet are read anew below.
        if linear < want && unsafe { bpf_skb_pull_data(skb, want) } != 0 {
            count(Reason::PktMalformed);
            return Read::Other;
        }
    }
    match packet::parse(ctx.data(), ctx.data_end(), net, is_v4, ifindex) {
        Ok(p) => return Read::Packet(p),
        Err(Unread::Malformed) => count(Reason::PktMalformed),
        Err(Unread::Fragment) => count(Reason::PktFragment),
        Err(Unread::Other) => {}
        Err(Unread::Icmp) => {
            if let Some(q) = quote::parse(ctx.data(), ctx.data_end(), net, is_v4, ifindex) {
                return Read::Quote(q);
            }
        }
    }
    Read::Other
}

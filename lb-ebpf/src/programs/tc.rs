//! tc carries an action out, and lets the stack do what it can do itself. Owns the verdicts of the tc programs.

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, TC_ACT_SHOT},
    helpers::bpf_skb_pull_data,
    macros::classifier,
    programs::TcContext,
};
use lb_common::{Reason, flow::kind};

use crate::{
    count::{self, count},
    decide::icmp_error,
    decide::{self, Action},
    lookup, mark,
    packet::{self, ETH, ETH_P_IP, ETH_P_IPV6, Packet, Unread},
    reply::icmp::{self, Answer},
    reply::tcp_reset,
    rewrite::icmp_inner,
    rewrite::skb,
    route::{self, For, Route},
    scratch::{self, Scratch},
};

/// The next program, or the stack: TCX_NEXT and TC_ACT_UNSPEC are the same number.
pub const NEXT: i32 = -1;
/// `skb->pkt_type` of a frame that a promiscuous device took in for somebody else.
const PACKET_OTHERHOST: u32 = 3;
/// `gso_size` of packets of SCTP, whose pieces differ in length.
const GSO_BY_FRAGS: u32 = 0xffff;
/// Packets that come in on a node device.
#[classifier]
pub fn lb_tc_ingress(ctx: TcContext) -> i32 {
    // Marked in another namespace, by whoever it was.
    mark::take_sent(ctx.skb.skb);
    if mark::is_rewritten_by_xdp(ctx.skb.skb) {
        return NEXT;
    }
    match find(&ctx) {
        Found::Packet(net, is_v4) => packet_in(ctx.skb.skb, net, is_v4),
        Found::Icmp(net, is_v4) => error(ctx.skb.skb, net, is_v4, false),
        Found::Other => NEXT,
    }
}

/// Packets that leave by a node device.
#[classifier]
pub fn lb_tc_egress(ctx: TcContext) -> i32 {
    if mark::take_sent(ctx.skb.skb) {
        return NEXT;
    }
    match find(&ctx) {
        Found::Packet(net, is_v4) => packet_out(ctx.skb.skb, net, is_v4),
        Found::Icmp(net, is_v4) => error(ctx.skb.skb, net, is_v4, true),
        Found::Other => NEXT,
    }
}

/// What a socket buffer holds: where its network header stands, and whether it is IPv4's.
pub enum Found {
    Packet(u32, bool),
    Icmp(u32, bool),
    Other,
}

/// What packets and ICMP errors become is decided in functions of the kernel's own (not inlined), each with a stack of its
/// own: neither has to leave room for the other.
#[inline(never)]
fn packet_in(skb: *mut __sk_buff, net: u32, is_v4: bool) -> i32 {
    let ctx = &TcContext::new(skb);
    let Some(p) = read(ctx, net, is_v4) else {
        return NEXT;
    };
    let Some((p, s)) = scratch::hold(p) else {
        return NEXT;
    };
    match decide::ingress(ctx.as_ptr(), p, s, length(ctx, p)) {
        Action::Pass | Action::Reply => NEXT,
        Action::Drop(reason) => drop(reason),
        Action::Refuse(service) => {
            count(Reason::PktNoEndpoint);
            count::reject(service);
            refuse(ctx, p, s)
        }
        Action::RefusePort => {
            count(Reason::PktUnknownPort);
            refuse(ctx, p, s)
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
            count::carried(p, s, Reason::PktLocal);
            NEXT
        }
        Action::Hand => {
            if skb::write(ctx.skb.skb, p, &s.flow, false).is_err()
                || skb::link_header(ctx.skb.skb, p).is_err()
            {
                return drop(Reason::PktWriteFailed);
            }
            count::carried(p, s, Reason::PktReply);
            route::hand(ctx.skb.skb, p.v4, s.flow.ifindex)
        }
        Action::Send { neighbour } => {
            if skb::write(ctx.skb.skb, p, &s.flow, true).is_err() {
                return drop(Reason::PktWriteFailed);
            }
            let reason = if s.flow.kind == kind::REPLY {
                Reason::PktReply
            } else {
                Reason::PktForwarded
            };
            count::carried(p, s, reason);
            send(ctx, p, s, neighbour)
        }
    }
}

#[inline(never)]
fn packet_out(skb: *mut __sk_buff, net: u32, is_v4: bool) -> i32 {
    let ctx = &TcContext::new(skb);
    let Some(p) = read(ctx, net, is_v4) else {
        return NEXT;
    };
    let Some((p, s)) = scratch::hold(p) else {
        return NEXT;
    };
    let Action::Reply = decide::egress(p, s) else {
        return NEXT;
    };
    if skb::write(ctx.skb.skb, p, &s.flow, false).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    count::carried(p, s, Reason::PktReply);
    leave(ctx, p, s)
}

/// An ICMP error, in or out: whose flow it is about, it follows.
#[inline(never)]
fn error(skb: *mut __sk_buff, net: u32, is_v4: bool, out: bool) -> i32 {
    let ctx = &TcContext::new(skb);
    // SAFETY: a field of the program's own context.
    let ifindex = unsafe { (*skb).ifindex };
    let Some(q) = icmp_inner::parse(ctx.data(), ctx.data_end(), net, is_v4, ifindex) else {
        return NEXT;
    };
    let Some((p, s)) = scratch::hold(q.answer) else {
        return NEXT;
    };
    let action = icmp_error::error(ctx.as_ptr(), p, s, out);
    let hop = match action {
        Action::Drop(reason) => return drop(reason),
        Action::Deliver | Action::Reply | Action::Hand => false,
        Action::Send { .. } => true,
        _ => return NEXT,
    };
    // What goes to another node, or to the client, comes from an address that it can know; what stays keeps its sender.
    let from = if matches!(action, Action::Hand) {
        lookup::icmp_source(&s.flow.src)
    } else if hop || packet::same(&q.from, &p.src) {
        s.flow.src
    } else {
        q.from
    };
    if icmp_inner::write(ctx.skb.skb, p, &q.from, &from, &s.flow, hop).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    count(Reason::PktIcmpError);
    match action {
        Action::Send { neighbour } => send(ctx, p, s, neighbour),
        Action::Reply => leave(ctx, p, s),
        Action::Hand => {
            if skb::link_header(ctx.skb.skb, p).is_err() {
                return drop(Reason::PktWriteFailed);
            }
            route::hand(ctx.skb.skb, p.v4, s.flow.ifindex)
        }
        _ => NEXT,
    }
}

/// Sends a rewritten packet by the way found. While the `neighbour` has to be asked for, the packet waits, and goes where its
/// route leads: one that was on its way out has a route already, to where it was going, so the kernel looks for another.
#[inline(always)]
pub fn send(ctx: &TcContext, p: &Packet, s: &Scratch, neighbour: bool) -> i32 {
    if skb::link_header(ctx.skb.skb, p).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    mark::sent(ctx.skb.skb);
    if neighbour {
        route::send(&s.fib)
    } else {
        route::send_by(s.fib.ifindex)
    }
}

/// Lets a rewritten reply go on, by the device that the client's packets come in on if a way to the client leads there.
#[inline(always)]
fn leave(ctx: &TcContext, p: &Packet, s: &mut Scratch) -> i32 {
    let device = s.flow.ifindex;
    if device == p.ifindex {
        return NEXT;
    }
    let ends = (&s.flow.src, &s.flow.dst);
    match route::find(ctx.as_ptr(), &mut s.fib, p, ends, 0, For::Device(device)) {
        Route::Found { neighbour } if s.fib.ifindex == device => send(ctx, p, s, neighbour),
        _ => NEXT,
    }
}

#[inline(always)]
pub fn drop(reason: Reason) -> i32 {
    count(reason);
    TC_ACT_SHOT
}

/// Refuses as a port without a listener does: a reset, or ICMP port unreachable.
#[inline(always)]
fn refuse(ctx: &TcContext, p: &Packet, s: &mut Scratch) -> i32 {
    if p.is_rst() {
        return TC_ACT_SHOT;
    }
    if !p.is_tcp() {
        return answer(ctx, p, s, Answer::PortUnreachable);
    }
    match tcp_reset::turn(ctx.skb.skb, p, s) {
        Ok(()) => route::send_by(p.ifindex),
        Err(()) => TC_ACT_SHOT,
    }
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

/// Looks for a network header, and sees to it that all that will be read lies in one piece.
#[inline(always)]
pub fn find(ctx: &TcContext) -> Found {
    let skb = ctx.skb.skb;
    // SAFETY: fields of the program's own context, read one by one.
    let (protocol, tagged, kind, ifindex, cut) = unsafe {
        (
            (*skb).protocol as u16,
            (*skb).vlan_present,
            (*skb).pkt_type,
            (*skb).ifindex,
            (*skb).gso_size != 0,
        )
    };
    let is_v4 = match protocol {
        ETH_P_IP => true,
        ETH_P_IPV6 => false,
        _ => return Found::Other,
    };
    // A tagged frame belongs to the VLAN device above, where it is seen again.
    if tagged != 0 || kind == PACKET_OTHERHOST {
        return Found::Other;
    }
    let net = match route::device(ifindex) {
        Some(dev) if dev.header_len == 0 => 0,
        _ => ETH,
    };
    let shortest = if is_v4 { 20 } else { 40 };
    if !pull(ctx, net + shortest) {
        count(Reason::PktMalformed);
        return Found::Other;
    }
    let Some((needed, icmp)) = packet::needed(ctx.data(), ctx.data_end(), net, is_v4, cut) else {
        count(Reason::PktMalformed);
        return Found::Other;
    };
    if !pull(ctx, net + needed) {
        count(Reason::PktMalformed);
        return Found::Other;
    }
    if icmp {
        Found::Icmp(net, is_v4)
    } else {
        Found::Packet(net, is_v4)
    }
}

/// Makes the first `want` bytes, or as many as there are, lie in one piece. Pointers into the packet are to be read anew.
#[inline(always)]
fn pull(ctx: &TcContext, want: u32) -> bool {
    let linear = (ctx.data_end() as u32).wrapping_sub(ctx.data() as u32);
    let len = ctx.len();
    let want = if len < want { len } else { want };
    // SAFETY: the program's own context.
    linear >= want || unsafe { bpf_skb_pull_data(ctx.skb.skb, want) } == 0
}

/// Bytes of the packet from the network header on, or of each that a device will cut it into.
#[inline(always)]
pub fn length(ctx: &TcContext, p: &Packet) -> u16 {
    // SAFETY: a field of the program's own context (Linux 5.7).
    let cut = unsafe { (*ctx.skb.skb).gso_size };
    if cut == 0 {
        p.len
    } else if cut == GSO_BY_FRAGS {
        // Each piece is as long as its sender made it.
        0
    } else {
        (p.l4 - p.net + u32::from(p.l4_len) + cut) as u16
    }
}

/// Reads the headers; what is passed though it might have been ours is counted.
#[inline(always)]
fn read(ctx: &TcContext, net: u32, is_v4: bool) -> Option<Packet> {
    // SAFETY: a field of the program's own context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    match packet::parse(ctx.data(), ctx.data_end(), net, is_v4, ifindex) {
        Ok(p) => return Some(p),
        Err(Unread::Malformed) => count(Reason::PktMalformed),
        Err(Unread::Fragment) => count(Reason::PktFragment),
        Err(Unread::Other) => {}
    }
    None
}

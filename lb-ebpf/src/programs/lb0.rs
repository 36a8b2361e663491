//! The programs of `lb0`: what no socket hook translated goes out here, and what answers it comes in here. Owns that nothing
//! goes through untranslated, since the route would bring it back.

use aya_ebpf::{
    EbpfContext,
    bindings::{__sk_buff, TC_ACT_SHOT},
    helpers::bpf_l3_csum_replace,
    macros::classifier,
    programs::TcContext,
};
use lb_common::Reason;

use crate::{
    count::{self, count},
    decide::icmp_error,
    decide::{self, Action},
    lookup,
    packet::{self, ETH, Packet},
    programs::tc::{self, Found, NEXT, drop},
    reply::echo::{self, Echo},
    reply::icmp::{self, Answer},
    reply::tcp_reset,
    rewrite::icmp_inner,
    rewrite::skb,
    route,
    scratch::{self, Scratch},
};

/// No verdict of tc: the message is no echo request.
const OTHER: i32 = i32::MIN;

/// Packets for VIPs, from pods and processes of this node. What goes to a backend on this node goes on to the other end of
/// `lb0`, and through the stack from there.
#[classifier]
pub fn lb_vip_out(ctx: TcContext) -> i32 {
    match tc::find(&ctx) {
        Found::Packet(net, is_v4) => request(ctx.skb.skb, net, is_v4),
        Found::Icmp(net, is_v4) => match ping(ctx.skb.skb, net, is_v4) {
            OTHER => error(ctx.skb.skb, net, is_v4, false),
            verdict => verdict,
        },
        Found::Other => TC_ACT_SHOT,
    }
}

/// Replies of backends on this node, on their way out by the other end of `lb0`: they come in on `lb0`.
#[classifier]
pub fn lb_vip_back(ctx: TcContext) -> i32 {
    match tc::find(&ctx) {
        Found::Packet(net, is_v4) => reply(ctx.skb.skb, net, is_v4),
        Found::Icmp(net, is_v4) => error(ctx.skb.skb, net, is_v4, true),
        Found::Other => TC_ACT_SHOT,
    }
}

/// Each with a stack of its own, as in `tc.rs`.
#[inline(never)]
fn request(skb: *mut __sk_buff, net: u32, is_v4: bool) -> i32 {
    let ctx = &TcContext::new(skb);
    let Some((p, s)) = hold(ctx, net, is_v4) else {
        return drop(Reason::PktVipUnread);
    };
    match decide::vip(ctx.as_ptr(), p, s, tc::length(ctx, p)) {
        Action::Drop(reason) => drop(reason),
        Action::Refuse(service) => {
            count(Reason::PktNoEndpoint);
            count::reject(service);
            refuse(skb, p, s)
        }
        Action::RefusePort => {
            count(Reason::PktUnknownPort);
            refuse(skb, p, s)
        }
        Action::Expired => {
            count(Reason::PktTtlExpired);
            answer(skb, p, s, Answer::TimeExceeded)
        }
        Action::TooBig => {
            count(Reason::PktTooBig);
            let mtu = s.fib.tot_len;
            answer(skb, p, s, Answer::TooBig(mtu))
        }
        Action::Deliver => {
            if skb::write(skb, p, &s.flow, false).is_err() {
                return drop(Reason::PktWriteFailed);
            }
            count::carried(p, s, Reason::PktLocal);
            NEXT
        }
        Action::Send { neighbour } => {
            if skb::write(skb, p, &s.flow, true).is_err() {
                return drop(Reason::PktWriteFailed);
            }
            count::carried(p, s, Reason::PktForwarded);
            tc::send(ctx, p, s, neighbour)
        }
        Action::Pass | Action::Reply | Action::Hand => TC_ACT_SHOT,
    }
}

#[inline(never)]
fn reply(skb: *mut __sk_buff, net: u32, is_v4: bool) -> i32 {
    let ctx = &TcContext::new(skb);
    let Some((p, s)) = hold(ctx, net, is_v4) else {
        return drop(Reason::PktVipUnread);
    };
    if let Action::Drop(reason) = decide::vip_reply(p, s) {
        return drop(reason);
    }
    if skb::write(skb, p, &s.flow, false).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    count::carried(p, s, Reason::PktReply);
    NEXT
}

/// The verdict on an echo request, or [`OTHER`].
#[inline(never)]
fn ping(skb: *mut __sk_buff, net: u32, is_v4: bool) -> i32 {
    let ctx = &TcContext::new(skb);
    let (from, to) = match echo::read(ctx.data(), ctx.data_end(), net, is_v4) {
        Echo::Request(from, to) => (from, to),
        // What the kernel itself says on each device of IPv6.
        Echo::Multicast => return TC_ACT_SHOT,
        Echo::Other => return OTHER,
    };
    if let Some(reason) = echo::verdict(&to) {
        return drop(reason);
    }
    if echo::turn(skb, net, is_v4, &from, &to).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    count(Reason::PktEcho);
    // SAFETY: a field of the program's own context.
    route::hand(skb, is_v4, unsafe { (*skb).ifindex })
}

/// An ICMP error about a packet of a flow over `lb0`: from the client's side, or about what a local backend `replied` to.
#[inline(never)]
fn error(skb: *mut __sk_buff, net: u32, is_v4: bool, replied: bool) -> i32 {
    let ctx = &TcContext::new(skb);
    // SAFETY: a field of the program's own context.
    let ifindex = unsafe { (*skb).ifindex };
    let Some(q) = icmp_inner::parse(ctx.data(), ctx.data_end(), net, is_v4, ifindex) else {
        return drop(Reason::PktVipUnread);
    };
    let Some((p, s)) = scratch::hold(q.answer) else {
        return drop(Reason::PktVipUnread);
    };
    let action = icmp_error::vip_error(ctx.as_ptr(), p, s, replied);
    let hop = match action {
        Action::Drop(reason) => return drop(reason),
        Action::Send { .. } => true,
        _ => false,
    };
    // To another node from this one's address; else from an address that is routed to where it comes in.
    let from = if hop {
        s.flow.src
    } else {
        lookup::icmp_source(&s.flow.src)
    };
    if icmp_inner::write(skb, p, &q.from, &from, &s.flow, hop).is_err() {
        return drop(Reason::PktWriteFailed);
    }
    count(Reason::PktIcmpError);
    match action {
        Action::Send { neighbour } => tc::send(ctx, p, s, neighbour),
        _ => NEXT,
    }
}

/// Reads the headers.
#[inline(always)]
fn hold(ctx: &TcContext, net: u32, is_v4: bool) -> Option<(&'static Packet, &'static mut Scratch)> {
    // SAFETY: a field of the program's own context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let p = packet::parse(ctx.data(), ctx.data_end(), net, is_v4, ifindex).ok()?;
    scratch::hold(p)
}

/// Nobody listens there.
#[inline(always)]
fn refuse(skb: *mut __sk_buff, p: &Packet, s: &mut Scratch) -> i32 {
    if p.is_rst() {
        return TC_ACT_SHOT;
    }
    if !p.is_tcp() {
        return answer(skb, p, s, Answer::PortUnreachable);
    }
    match tcp_reset::turn(skb, p, s) {
        Ok(()) => route::hand(skb, p.v4, p.ifindex),
        Err(()) => TC_ACT_SHOT,
    }
}

/// Says so to the client; what was counted already is dropped if nothing can be said.
#[inline(always)]
fn answer(skb: *mut __sk_buff, p: &Packet, s: &mut Scratch, what: Answer) -> i32 {
    match icmp::turn(skb, p, s, what).and_then(|()| speak(skb, p)) {
        Ok(()) => route::hand(skb, p.v4, p.ifindex),
        Err(()) => TC_ACT_SHOT,
    }
}

/// Lets an answer behind an Ethernet header come from who may give it.
#[inline(always)]
fn speak(skb: *mut __sk_buff, p: &Packet) -> Result<(), ()> {
    if !p.v4 {
        return Ok(());
    }
    let (vip, from) = (p.dst.words()[3], lookup::icmp_source(&p.dst).words()[3]);
    if from == vip {
        return Ok(());
    }
    // SAFETY: the helpers check offsets and lengths against the buffer.
    unsafe {
        let rc = bpf_l3_csum_replace(skb, ETH + 10, u64::from(vip), u64::from(from), 4);
        skb::ok(rc)
            .and_then(|()| skb::store(skb, ETH + 12, &from, 0))
            .map_err(|_| ())
    }
}

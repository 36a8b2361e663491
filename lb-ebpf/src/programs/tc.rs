//! The tc programs of node devices.

use aya_ebpf::{EbpfContext, bindings::__sk_buff, macros::classifier, programs::TcContext};
use lb_common::Reason;

use super::headers::{self, Headers};
use crate::{
    carry::{carry, carry_icmp_error},
    count::count,
    decide::{self, Direction, Side, icmp_error},
    mark,
    packet::{Net, Packet, Unread},
    scratch,
    verdict::Verdict,
};

/// Packets that come in on a node device.
#[classifier]
pub fn lb_tc_ingress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    // Another network namespace may have marked it.
    mark::take_sent(skb);
    if mark::is_rewritten_by_xdp(skb) {
        return Verdict::Next as i32;
    }
    match headers::find(&ctx) {
        Headers::Packet(net) => packet_in(skb, net) as i32,
        Headers::Icmp(net) => icmp_error(skb, net, Direction::In) as i32,
        Headers::Other => Verdict::Next as i32,
    }
}

/// Packets that leave by a node device.
#[classifier]
pub fn lb_tc_egress(ctx: TcContext) -> i32 {
    let skb = ctx.skb.skb;
    if mark::take_sent(skb) {
        return Verdict::Next as i32;
    }
    match headers::find(&ctx) {
        Headers::Packet(net) => packet_out(skb, net) as i32,
        Headers::Icmp(net) => icmp_error(skb, net, Direction::Out) as i32,
        Headers::Other => Verdict::Next as i32,
    }
}

/// What packets and ICMP errors become is decided in functions of the kernel's own (not inlined),
/// each with a stack of its own: neither has to leave room for the other.
#[inline(never)]
fn packet_in(skb: *mut __sk_buff, net: Net) -> Verdict {
    let ctx = &TcContext::new(skb);
    let Some((p, s)) = parse(ctx, net).and_then(scratch::hold) else {
        return Verdict::Next;
    };
    let action = decide::ingress(ctx.as_ptr(), p, s, headers::length(ctx, p));
    carry(ctx, p, s, action, Side::NodeDevice)
}

#[inline(never)]
fn packet_out(skb: *mut __sk_buff, net: Net) -> Verdict {
    let ctx = &TcContext::new(skb);
    let Some((p, s)) = parse(ctx, net).and_then(scratch::hold) else {
        return Verdict::Next;
    };
    let action = decide::egress(p, s);
    carry(ctx, p, s, action, Side::NodeDevice)
}

/// An ICMP error follows the flow that it is about.
#[inline(always)]
fn icmp_error(skb: *mut __sk_buff, net: Net, direction: Direction) -> Verdict {
    if headers::hold_icmp_error(skb, net) {
        icmp_error_held(skb, direction)
    } else {
        Verdict::Next
    }
}

#[inline(never)]
fn icmp_error_held(skb: *mut __sk_buff, direction: Direction) -> Verdict {
    let ctx = &TcContext::new(skb);
    let Some((p, s)) = scratch::held() else {
        return Verdict::Next;
    };
    let action = icmp_error::node_device(ctx.as_ptr(), p, s, direction);
    carry_icmp_error(ctx, p, s, action, Side::NodeDevice)
}

/// Reads the headers; counts what passes though it might have been ours.
#[inline(always)]
fn parse(ctx: &TcContext, net: Net) -> Option<Packet> {
    match headers::parse(ctx, net) {
        Ok(p) => return Some(p),
        Err(Unread::Malformed) => count(Reason::PktMalformed),
        Err(Unread::Fragment) => count(Reason::PktFragment),
        Err(Unread::Other) => {}
    }
    None
}

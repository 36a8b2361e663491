//! The tc programs of node devices.

use aya_ebpf::{EbpfContext, bindings::__sk_buff, macros::classifier, programs::TcContext};
use lb_common::{Reason, trace::Hook};

use super::headers::{self, Headers, Place};
use crate::{
    carry::{self, carry_held, carry_icmp_error},
    count::count,
    decide::{self, Direction, Side, icmp_error},
    mark, oversized,
    packet::{Net, Unread},
    reset,
    rewrite::{Hop, skb},
    scratch,
    trace::packet as trace,
    verdict::Verdict,
};

/// Packets that come in on a node device.
#[classifier]
pub fn lb_tc_ingress(ctx: TcContext) -> i32 {
    trace::around(Hook::TcIngress, || ingress(&ctx) as i32)
}

#[inline(always)]
fn ingress(ctx: &TcContext) -> Verdict {
    let skb = ctx.skb.skb;
    // Another network namespace may have marked it.
    let _ = mark::take(skb);
    if mark::is_rewritten_by_xdp(skb) {
        return Verdict::Next;
    }
    match headers::find(ctx) {
        Headers::Packet(net, place) => packet_in(skb, net, place),
        Headers::Icmp(net) => icmp_error(skb, net, Direction::In),
        Headers::LostFragment => Verdict::dropped(Reason::PktFragmentLost),
        Headers::Fragment => pass_fragment(),
        Headers::Other => Verdict::Next,
    }
}

/// Packets that leave by a node device.
#[classifier]
pub fn lb_tc_egress(ctx: TcContext) -> i32 {
    trace::around(Hook::TcEgress, || egress(&ctx) as i32)
}

#[inline(always)]
fn egress(ctx: &TcContext) -> Verdict {
    let skb = ctx.skb.skb;
    let mark = mark::take(skb);
    if mark.is_sent() {
        return Verdict::Next;
    }
    if mark.is_oversized() {
        // With the client's address, if it left.
        if !headers::hold_v4(ctx) {
            return Verdict::dropped(Reason::PktNoFlow);
        }
        return oversized_out(skb, mark.slot());
    }
    match headers::find(ctx) {
        Headers::Packet(net, place) => packet_out(skb, net, place),
        Headers::Icmp(net) => icmp_error(skb, net, Direction::Out),
        Headers::Fragment | Headers::LostFragment => pass_fragment(),
        Headers::Other => Verdict::Next,
    }
}

/// What packets and ICMP errors become is decided in functions of the kernel's own (not inlined),
/// each with a stack of its own: neither has to leave room for the other.
#[inline(never)]
fn packet_in(skb: *mut __sk_buff, net: Net, place: Place) -> Verdict {
    let ctx = &TcContext::new(skb);
    let (p, s, whole) = match headers::read(ctx, net, place) {
        Ok(read) => read,
        Err(unread) => return pass(unread),
    };
    let action = decide::ingress(ctx.as_ptr(), p, s, whole).pack();
    if carry::is_for_stack(action, s) {
        return carry::divert(skb);
    }
    if reset::is_asked(action) {
        return reset::both(skb, action, Side::NodeDevice);
    }
    carry_held(skb, action, Side::NodeDevice)
}

#[inline(never)]
fn packet_out(skb: *mut __sk_buff, net: Net, place: Place) -> Verdict {
    let ctx = &TcContext::new(skb);
    let (p, s, _) = match headers::read(ctx, net, place) {
        Ok(read) => read,
        Err(unread) => return pass(unread),
    };
    let action = decide::egress(p, s);
    carry_held(skb, action.pack(), Side::NodeDevice)
}

/// What the stack has fragmented, or found no need to: the last of its translation.
#[inline(never)]
fn oversized_out(buffer: *mut __sk_buff, slot: u32) -> Verdict {
    let Some((p, s)) = scratch::held() else {
        return Verdict::Shot;
    };
    if !oversized::finish(p, slot, &mut s.flow) {
        return Verdict::dropped(Reason::PktNoFlow);
    }
    match skb::write(buffer, p, &s.flow, Hop::Keep) {
        Ok(()) => Verdict::Next,
        Err(_) => Verdict::dropped(Reason::PktWriteFailed),
    }
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

/// Passes what cannot be read; counts it if it might have been ours.
#[inline(always)]
fn pass(unread: Unread) -> Verdict {
    if unread == Unread::Malformed {
        count(Reason::PktMalformed);
    }
    Verdict::Next
}

#[inline(always)]
fn pass_fragment() -> Verdict {
    count(Reason::PktFragment);
    Verdict::Next
}

//! The tc programs of `lb0`: packets that no socket hook translated leave by it, and their answers
//! come in on it. Nothing passes untranslated, since the route would bring it back.

use aya_ebpf::{EbpfContext, bindings::__sk_buff, macros::classifier, programs::TcContext};
use lb_common::{Reason, trace::Hook};

use super::headers::{self, Headers, Place};
use crate::{
    carry::{carry_held, carry_icmp_error},
    count::count,
    decide::{self, Direction, Side, icmp_error},
    packet::Net,
    reply::echo::{self, Echo},
    reset,
    rewrite::redirect,
    scratch,
    trace::packet as trace,
    verdict::Verdict,
};

/// Packets for VIPs, from pods and processes of this node. What goes to a backend on this node goes
/// on to the other end of `lb0`, and through the stack from there.
#[classifier]
pub fn lb_vip_out(ctx: TcContext) -> i32 {
    trace::around(Hook::Lb0Out, || out(&ctx) as i32)
}

#[inline(always)]
fn out(ctx: &TcContext) -> Verdict {
    let skb = ctx.skb.skb;
    match headers::find(ctx) {
        Headers::Packet(net, place) => request(skb, net, place),
        Headers::Icmp(net) => match ping(skb, net) {
            Some(verdict) => verdict,
            None => icmp_error(skb, net, Direction::Out),
        },
        Headers::LostFragment => Verdict::dropped(Reason::PktFragmentLost),
        Headers::Fragment => Verdict::dropped(Reason::PktVipUnread),
        Headers::Other => Verdict::Shot,
    }
}

/// Replies of backends on this node, on their way out by the other end of `lb0`: they come in on
/// `lb0`.
#[classifier]
pub fn lb_vip_back(ctx: TcContext) -> i32 {
    trace::around(Hook::Lb0Back, || back(&ctx) as i32)
}

#[inline(always)]
fn back(ctx: &TcContext) -> Verdict {
    let skb = ctx.skb.skb;
    match headers::find(ctx) {
        Headers::Packet(net, place) => reply(skb, net, place),
        Headers::Icmp(net) => icmp_error(skb, net, Direction::In),
        Headers::LostFragment => Verdict::dropped(Reason::PktFragmentLost),
        Headers::Fragment => Verdict::dropped(Reason::PktVipUnread),
        Headers::Other => Verdict::Shot,
    }
}

/// Each with a stack of its own, as in `tc.rs`.
#[inline(never)]
fn request(skb: *mut __sk_buff, net: Net, place: Place) -> Verdict {
    if is_chosen_by_socket(skb) {
        return Verdict::dropped(Reason::PktDeviceChosen);
    }
    let ctx = &TcContext::new(skb);
    let Ok((p, s, whole)) = headers::read(ctx, net, place) else {
        return Verdict::dropped(Reason::PktVipUnread);
    };
    let action = decide::lb0_out(ctx.as_ptr(), p, s, whole).pack();
    if reset::is_asked(action) {
        return reset::both(skb, action, Side::Lb0);
    }
    carry_held(skb, action, Side::Lb0)
}

#[inline(never)]
fn reply(skb: *mut __sk_buff, net: Net, place: Place) -> Verdict {
    let ctx = &TcContext::new(skb);
    let Ok((p, s, _)) = headers::read(ctx, net, place) else {
        return Verdict::dropped(Reason::PktVipUnread);
    };
    let action = decide::lb0_in(p, s);
    carry_held(skb, action.pack(), Side::Lb0)
}

/// Did the sending socket choose this device (`SO_BINDTODEVICE`)? The route alone should: the socket
/// hook leaves such a socket alone, and backends would see an address of the node's in the place of
/// the sender's. A packet that was forwarded has no socket any more.
#[inline(always)]
fn is_chosen_by_socket(skb: *mut __sk_buff) -> bool {
    // SAFETY: the program's own context, and a readable u32 of the socket that it points to, which
    // may be null.
    unsafe {
        let sk = core::ptr::read_volatile(&raw const (*skb).__bindgen_anon_2.sk);
        !sk.is_null() && core::ptr::read_volatile(&raw const (*sk).bound_dev_if) == (*skb).ifindex
    }
}

/// The verdict on an echo request; `None` for any other ICMP.
#[inline(never)]
fn ping(skb: *mut __sk_buff, net: Net) -> Option<Verdict> {
    let ctx = &TcContext::new(skb);
    let (from, to) = match echo::read(ctx.data(), ctx.data_end(), net) {
        Echo::Request(from, to) => (from, to),
        // What the kernel itself says on each device of IPv6.
        Echo::Multicast => return Some(Verdict::Shot),
        Echo::Other => return None,
    };
    if let Some(reason) = echo::refusal(&to) {
        return Some(Verdict::dropped(reason));
    }
    if echo::turn(skb, net, &from, &to).is_err() {
        return Some(Verdict::dropped(Reason::PktWriteFailed));
    }
    count(Reason::PktEcho);
    Some(redirect::into_lb0(
        skb,
        net.ethertype(),
        headers::ifindex(ctx),
    ))
}

/// An ICMP error about a packet of a flow over `lb0`.
#[inline(always)]
fn icmp_error(skb: *mut __sk_buff, net: Net, direction: Direction) -> Verdict {
    if headers::hold_icmp_error(skb, net) {
        icmp_error_held(skb, direction)
    } else {
        Verdict::dropped(Reason::PktVipUnread)
    }
}

#[inline(never)]
fn icmp_error_held(skb: *mut __sk_buff, direction: Direction) -> Verdict {
    let ctx = &TcContext::new(skb);
    let Some((p, s)) = scratch::held() else {
        return Verdict::dropped(Reason::PktVipUnread);
    };
    let action = icmp_error::lb0(ctx.as_ptr(), p, s, direction);
    carry_icmp_error(ctx, p, s, action, Side::Lb0)
}

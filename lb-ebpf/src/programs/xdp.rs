//! XDP carries an action out where it can do so whole: the way known to the last address, by a
//! device that XDP reaches. Everything else it leaves as it came to tc, which finds the flow that
//! was decided here.

use aya_ebpf::{
    EbpfContext,
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS, XDP_REDIRECT, XDP_TX},
        xdp_md,
    },
    helpers::{bpf_redirect, generated::bpf_xdp_get_buff_len},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::{
    Reason,
    flow::direction,
    trace::Hook,
    xdp_dev::{self, XdpDev, flags},
};

use crate::{
    count::{self, count},
    decide::{self, Action},
    flow,
    maps::XDP_DEVS,
    mark,
    packet::{self, ETH, ETH_P_IP, ETH_P_IPV6, Extent, Net, Offload, Packet, load},
    rewrite::frame,
    scratch::{self, Scratch},
    trace::packet as trace,
};

/// What the program returns.
#[derive(Clone, Copy)]
#[repr(u32)]
#[must_use]
enum Verdict {
    Pass = XDP_PASS,
    Drop = XDP_DROP,
    /// Out by the device that it came in on.
    Tx = XDP_TX,
    Redirect = XDP_REDIRECT,
}

/// Frames that come in on a device named by `--attach-xdp`.
#[xdp(frags)]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    trace::around(Hook::Xdp, || ingress(&ctx) as i32) as u32
}

#[inline(always)]
fn ingress(ctx: &XdpContext) -> Verdict {
    // What cannot be read is counted by tc, which sees it too.
    if !hold(ctx.ctx) {
        return Verdict::Pass;
    }
    let Some((p, s)) = scratch::held() else {
        return Verdict::Pass;
    };
    // A frame's length is at most 16 bits.
    let action = decide::ingress(ctx.as_ptr(), p, s, p.len as u16);
    carry(ctx.ctx, action.pack())
}

/// Carries out what was decided about the packet in this CPU's room. A function of the kernel's own
/// (not inlined), with a stack of its own.
#[inline(never)]
fn carry(ctx: *mut xdp_md, action: u64) -> Verdict {
    let ctx = &XdpContext::new(ctx);
    let Some((p, s)) = scratch::held() else {
        return Verdict::Pass;
    };
    match Action::unpack(action) {
        Action::Drop => Verdict::Drop,
        // tc answers these, or lets the stack do so.
        Action::Pass
        | Action::Open(_)
        | Action::Reply
        | Action::DeliverVia
        | Action::Refuse(_)
        | Action::RefuseFull(_)
        | Action::RefusePort
        | Action::Martian
        | Action::Expired
        | Action::TooBig
        | Action::Reset(_)
        | Action::Send { neighbour: false } => Verdict::Pass,
        Action::Deliver => {
            // A frame carries no mark of the stack's.
            if p.sum_is_unfinished()
                || flow::is_masqueraded(&s.flow)
                || !frame::write(ctx, p, &s.flow, None)
            {
                count(Reason::XdpToTc);
                return Verdict::Pass;
            }
            count::forwarded(s.flow.pool, p.len, Reason::PktLocal);
            mark::rewritten_by_xdp(ctx);
            Verdict::Pass
        }
        Action::Send { neighbour: true } => send(ctx, p, s),
    }
}

/// Rewrites the frame and sends it by the way found, or leaves it to tc.
#[inline(always)]
fn send(ctx: &XdpContext, p: &Packet, s: &Scratch) -> Verdict {
    let out = s.fib.ifindex;
    if !reaches(ctx, p, out)
        || p.sum_is_unfinished()
        || !frame::write(ctx, p, &s.flow, Some(&s.fib))
    {
        count(Reason::XdpToTc);
        return Verdict::Pass;
    }
    let reason = if s.flow.direction == direction::REPLY {
        Reason::PktReply
    } else {
        Reason::PktForwarded
    };
    count::forwarded(s.flow.pool, p.len, reason);
    if out == p.ifindex {
        return Verdict::Tx;
    }
    // SAFETY: a helper with plain numbers.
    if unsafe { bpf_redirect(out, 0) } as u32 == XDP_REDIRECT {
        Verdict::Redirect
    } else {
        Verdict::Drop
    }
}

/// May XDP send the frame out of the device? Back where it came from also one that does not lie in
/// one piece: a driver that takes such frames sends them, too.
#[inline(always)]
fn reaches(ctx: &XdpContext, p: &Packet, out: u32) -> bool {
    let Some(device) = device(out) else {
        return false;
    };
    let needed = if out == p.ifindex || p.len <= linear(ctx) {
        flags::SEND
    } else {
        flags::SEND_FRAGMENTED
    };
    device.flags & needed != 0
}

/// What the agent wrote of a device.
#[inline(always)]
fn device(ifindex: u32) -> Option<&'static XdpDev> {
    let device = XDP_DEVS.get(xdp_dev::index(ifindex))?;
    (device.ifindex == ifindex).then_some(device)
}

/// Is the frame that begins at `data` for another host? A promiscuous device takes such in.
#[inline(always)]
fn is_for_other_host(data: usize, ifindex: u32) -> bool {
    let Some(device) = device(ifindex) else {
        return false;
    };
    let mac = (&raw const device.mac) as usize;
    // SAFETY: the frame's first fourteen bytes were checked; six bytes of a map element.
    unsafe {
        (load::<u32>(data) ^ load::<u32>(mac))
            | u32::from(load::<u16>(data + 4) ^ load::<u16>(mac + 4))
            != 0
    }
}

/// Bytes of the frame from the network header on that lie in one piece.
#[inline(always)]
fn linear(ctx: &XdpContext) -> u32 {
    (ctx.data_end() - ctx.data()) as u32 - ETH
}

/// Reads the headers into this CPU's room. A function of the kernel's own (not inlined), with a
/// stack of its own.
#[inline(never)]
fn hold(ctx: *mut xdp_md) -> bool {
    read(&XdpContext::new(ctx))
        .and_then(scratch::hold)
        .is_some()
}

/// Reads the headers; `None` for what is not ours to touch.
#[inline(always)]
fn read(ctx: &XdpContext) -> Option<Packet> {
    let (data, end) = (ctx.data(), ctx.data_end());
    if data + ETH as usize > end {
        return None;
    }
    // SAFETY: the fourteen bytes were checked.
    let (first, protocol): (u8, u16) = unsafe { (load(data), load(data + 12)) };
    let ifindex = ctx.ingress_ifindex() as u32;
    // Broadcast and multicast frames, too.
    if first & 1 != 0 || is_for_other_host(data, ifindex) {
        return None;
    }
    let v4 = match protocol {
        ETH_P_IP => true,
        ETH_P_IPV6 => false,
        _ => return None,
    };
    let extent = Extent {
        net: Net { at: ETH, v4 },
        // Compared below.
        whole: u32::MAX,
        offload: Offload::None,
        ifindex,
    };
    let p = packet::parse(data, end, extent, ctx.ctx).ok()?;
    // tc reads fragments.
    if p.is_fragment() {
        return None;
    }
    (p.len <= linear(ctx) || p.len + ETH <= length(ctx)).then_some(p)
}

/// Bytes of the whole frame, of which a part may lie elsewhere.
#[inline(always)]
fn length(ctx: &XdpContext) -> u32 {
    // SAFETY: the program's own context. Linux 5.18.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) as u32 }
}

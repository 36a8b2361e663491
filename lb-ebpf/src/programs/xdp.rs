//! XDP carries an action out where it can do so whole: the way known to the last address, by a device that XDP reaches.
//! Everything else it leaves as it came to tc, which finds the flow that was decided here. Owns every write to a frame.

use aya_ebpf::{
    EbpfContext,
    bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX},
    helpers::bpf_redirect,
    macros::xdp,
    programs::XdpContext,
};
use lb_common::{
    Reason, csum, dev,
    flow::{Flow, kind},
};

use crate::{
    count::{self, count},
    decide::{self, Action},
    mark,
    packet::sctp,
    packet::{self, ETH, ETH_P_IP, ETH_P_IPV6, Packet, load, store},
    route::{self, Fib},
    scratch,
};

/// Frames that come in on a device named by `--attach-xdp`.
#[xdp]
pub fn lb_xdp(ctx: XdpContext) -> u32 {
    ingress(&ctx)
}

#[inline(always)]
fn ingress(ctx: &XdpContext) -> u32 {
    // What cannot be read is counted by tc, which sees it too.
    let Some(p) = read(ctx) else { return XDP_PASS };
    let Some((p, s)) = scratch::hold(p) else {
        return XDP_PASS;
    };
    match decide::ingress(ctx.as_ptr(), p, s, p.len) {
        Action::Drop(reason) => {
            count(reason);
            XDP_DROP
        }
        // tc answers these, or lets the stack do so.
        Action::Pass
        | Action::Reply
        | Action::Hand
        | Action::Refuse(_)
        | Action::RefusePort
        | Action::Expired
        | Action::TooBig
        | Action::Send { neighbour: false } => XDP_PASS,
        Action::Deliver => {
            if p.sum_is_unfinished() || !write(ctx, p, &s.flow, None) {
                count(Reason::XdpToTc);
                return XDP_PASS;
            }
            count::carried(p, s, Reason::PktLocal);
            mark::rewritten_by_xdp(ctx);
            XDP_PASS
        }
        Action::Send { neighbour: true } => {
            let out = s.fib.ifindex;
            let reachable = match route::device(out) {
                Some(d) => d.flags & dev::flags::XDP != 0,
                None => false,
            };
            if !reachable || p.sum_is_unfinished() || !write(ctx, p, &s.flow, Some(&s.fib)) {
                count(Reason::XdpToTc);
                return XDP_PASS;
            }
            let reason = if s.flow.kind == kind::REPLY {
                Reason::PktReply
            } else {
                Reason::PktForwarded
            };
            count::carried(p, s, reason);
            if out == p.ifindex {
                XDP_TX
            } else {
                // SAFETY: a helper with plain numbers.
                unsafe { bpf_redirect(out, 0) as u32 }
            }
        }
    }
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
    // Broadcast and multicast frames.
    if first & 1 != 0 {
        return None;
    }
    let is_v4 = match protocol {
        ETH_P_IP => true,
        ETH_P_IPV6 => false,
        _ => return None,
    };
    packet::parse(data, end, ETH, is_v4, ctx.ingress_ifindex() as u32).ok()
}

/// Rewrites addresses and ports to what `flow` says; with a way out, the link-layer header too, and a hop less to live.
/// False, with nothing written, if the frame is not as long as it was.
#[inline(always)]
fn write(ctx: &XdpContext, p: &Packet, flow: &Flow, fib: Option<&Fib>) -> bool {
    let crc = if p.is_sctp() {
        sctp::sum(p, flow.sport, flow.dport)
    } else {
        0
    };
    let (data, end) = (ctx.data(), ctx.data_end());
    let ip = data + ETH as usize;
    // At most 14 + 60; the mask repeats that for the verifier.
    let l4 = data + (p.l4 & 0x7f) as usize;
    let header = if p.v4 { 20 } else { 40 };
    if ip + header > end {
        return false;
    }

    let (old_src, old_dst) = (p.src.words(), p.dst.words());
    let (src, dst) = (flow.src.words(), flow.dst.words());
    let addrs = csum::replace(csum::replace(0, old_src, src), old_dst, dst);
    let (old_ports, new_ports) = (
        packet::ports(p.sport, p.dport),
        packet::ports(flow.sport, flow.dport),
    );
    let change = csum::replace(addrs, [old_ports], [new_ports]);

    let sum = csum::update(p.sum as u16, change);
    if p.is_sctp() {
        if l4 + sctp::HEADER as usize > end {
            return false;
        }
        // SAFETY: the twelve bytes were checked; XDP may write its frames.
        unsafe { store(l4 + sctp::SUM as usize, crc) };
    } else if p.is_tcp() {
        if l4 + 20 > end {
            return false;
        }
        // SAFETY: the twenty bytes were checked; XDP may write its frames.
        unsafe { store(l4 + 16, sum) };
    } else {
        if l4 + 8 > end {
            return false;
        }
        if p.sum != 0 || !p.v4 {
            // 0 would say that there is no sum (RFC 768).
            // SAFETY: the eight bytes were checked; XDP may write its frames.
            unsafe { store(l4 + 6, if sum == 0 { 0xffff } else { sum }) };
        }
    }

    // SAFETY: the headers were checked above; XDP may write its frames.
    unsafe {
        store(l4, new_ports);
        if p.v4 {
            let mut change = addrs;
            if fib.is_some() {
                change = p.hop(change);
                store(ip + 8, p.ttl - 1);
            }
            store(ip + 10, csum::update(p.header_sum, change));
            store(ip + 12, src[3]);
            store(ip + 16, dst[3]);
        } else {
            // Known from above. Linux 6.1 does not see that this is the same choice as there: a spilled 32-bit value has lost it.
            if ip + 40 > end_again(ctx) {
                return false;
            }
            if fib.is_some() {
                store(ip + 7, p.ttl - 1);
            }
            let mut i = 0;
            while i < 4 {
                store(ip + 8 + i * 4, src[i]);
                store(ip + 24 + i * 4, dst[i]);
                i += 1;
            }
        }
        if let Some(fib) = fib {
            store(data, half(&fib.dmac, 0));
            store(data + 2, half(&fib.dmac, 2));
            store(data + 4, half(&fib.dmac, 4));
            store(data + 6, half(&fib.smac, 0));
            store(data + 8, half(&fib.smac, 2));
            store(data + 10, half(&fib.smac, 4));
        }
    }
    true
}

/// `data_end`, in a read that the compiler cannot leave out: for a bound that the verifier must see once more.
#[inline(always)]
fn end_again(ctx: &XdpContext) -> usize {
    // SAFETY: the kernel's own context, as valid as for `data_end`.
    unsafe { core::ptr::addr_of!((*ctx.ctx).data_end).read_volatile() as usize }
}

/// Two bytes of a link-layer address, as they stand.
#[inline(always)]
fn half(mac: &[u8; 6], at: usize) -> u16 {
    u16::from_ne_bytes([mac[at], mac[at + 1]])
}

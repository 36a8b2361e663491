//! tc carries an action out: by the helpers that keep checksums right whether a sender, we, or a card is to fill them.
//! Owns every write to a socket buffer.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::{
        __sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM, TC_ACT_SHOT,
    },
    helpers::{
        bpf_csum_update, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_change_head,
        bpf_skb_pull_data, bpf_skb_store_bytes,
    },
    macros::classifier,
    programs::TcContext,
};
use lb_common::{Reason, csum, flow::Flow};

use crate::{
    count::{self, count},
    decide::{self, Action},
    icmp::{self, Answer},
    packet::{self, ETH, ETH_P_IP, ETH_P_IPV6, Packet, Unread},
    route,
    scratch::{self, Scratch},
};

/// The next program, or the stack: TCX_NEXT and TC_ACT_UNSPEC are the same number.
const NEXT: i32 = -1;
/// `skb->pkt_type` of a frame that a promiscuous device took in for somebody else.
const PACKET_OTHERHOST: u32 = 3;
/// Headers that are pulled into the linear part: IPv4 with options and TCP.
const HEADERS: u32 = 80;

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

#[inline(always)]
fn ingress(ctx: &TcContext) -> i32 {
    let Some(p) = read(ctx) else { return NEXT };
    let Some(s) = scratch::get() else { return NEXT };
    let action = decide::ingress(ctx.as_ptr(), &p, s, 0);
    match action {
        Action::Pass | Action::Reply => NEXT,
        Action::Drop(reason) => {
            count(reason);
            TC_ACT_SHOT
        }
        Action::Refuse(service) => {
            count(Reason::PktNoEndpoint);
            count::reject(service);
            answer(ctx, &p, s, Answer::PortUnreachable)
        }
        Action::Expired => {
            count(Reason::PktTtlExpired);
            answer(ctx, &p, s, Answer::TimeExceeded)
        }
        Action::TooBig => {
            count(Reason::PktTooBig);
            let mtu = s.fib.tot_len;
            answer(ctx, &p, s, Answer::TooBig(mtu))
        }
        Action::Deliver => {
            if write(ctx, &p, &s.flow, false).is_err() {
                count(Reason::PktWriteFailed);
                return TC_ACT_SHOT;
            }
            decide::carried(&p, s, Reason::PktLocal);
            NEXT
        }
        Action::Send { .. } => {
            if write(ctx, &p, &s.flow, true).is_err() || link_header(ctx, &p).is_err() {
                count(Reason::PktWriteFailed);
                return TC_ACT_SHOT;
            }
            let reason = if s.flow.kind == lb_common::flow::kind::REPLY {
                Reason::PktReply
            } else {
                Reason::PktForwarded
            };
            decide::carried(&p, s, reason);
            route::send(&s.fib)
        }
    }
}

#[inline(always)]
fn egress(ctx: &TcContext) -> i32 {
    let Some(p) = read(ctx) else { return NEXT };
    let Some(s) = scratch::get() else { return NEXT };
    let Action::Reply = decide::egress(&p, s) else {
        return NEXT;
    };
    if write(ctx, &p, &s.flow, false).is_err() {
        count(Reason::PktWriteFailed);
        return TC_ACT_SHOT;
    }
    decide::carried(&p, s, Reason::PktReply);
    if s.flow.ifindex == p.ifindex {
        return NEXT;
    }
    if link_header(ctx, &p).is_err() {
        count(Reason::PktWriteFailed);
        return TC_ACT_SHOT;
    }
    route::send_by(s.flow.ifindex)
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

/// Reads the headers; `None` for what is not ours to touch (counted where it might have been).
#[inline(always)]
fn read(ctx: &TcContext) -> Option<Packet> {
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
        _ => return None,
    };
    // A tagged frame belongs to the VLAN device above, where it is seen again.
    if tagged != 0 || kind == PACKET_OTHERHOST {
        return None;
    }
    let net = match route::device(ifindex) {
        Some(dev) if dev.header_len == 0 => 0,
        _ => ETH,
    };
    let linear = (ctx.data_end() as u32).wrapping_sub(ctx.data() as u32);
    if linear < net + HEADERS && linear < len {
        let want = if len < net + HEADERS {
            len
        } else {
            net + HEADERS
        };
        // SAFETY: the program's own context; pointers into the packet are read anew below.
        if unsafe { bpf_skb_pull_data(skb, want) } != 0 {
            count(Reason::PktMalformed);
            return None;
        }
    }
    match packet::parse(ctx.data(), ctx.data_end(), net, is_v4, ifindex) {
        Ok(p) => Some(p),
        Err(Unread::Malformed) => {
            count(Reason::PktMalformed);
            None
        }
        Err(Unread::Fragment) => {
            count(Reason::PktFragment);
            None
        }
        Err(Unread::Other | Unread::Icmp) => None,
    }
}

/// Rewrites addresses and ports to what `flow` says; with `hop`, takes one from the time to live.
#[inline(always)]
fn write(ctx: &TcContext, p: &Packet, flow: &Flow, hop: bool) -> Result<(), i64> {
    let skb = ctx.skb.skb;
    let (old_src, old_dst) = (p.src.words(), p.dst.words());
    let (src, dst) = (flow.src.words(), flow.dst.words());
    let mut addrs = 0;
    let mut i = 0;
    while i < 4 {
        addrs = csum::add(csum::remove(addrs, old_src[i]), src[i]);
        addrs = csum::add(csum::remove(addrs, old_dst[i]), dst[i]);
        i += 1;
    }
    let addrs = u64::from(csum::fold(addrs));
    let old_ports = packet::ports(p.sport, p.dport);
    let new_ports = packet::ports(flow.sport, flow.dport);
    let port_change = u64::from(csum::fold(csum::add(csum::remove(0, old_ports), new_ports)));

    let sum_at = p.l4 + p.sum_offset();
    // A UDP sum of 0 is left 0, and none becomes 0.
    let udp = if p.is_tcp() {
        0
    } else {
        u64::from(BPF_F_MARK_MANGLED_0)
    };
    // SAFETY: the helpers check offsets and lengths against the buffer.
    unsafe {
        ok(bpf_l4_csum_replace(
            skb,
            sum_at,
            0,
            addrs,
            u64::from(BPF_F_PSEUDO_HDR) | udp,
        ))?;
        ok(bpf_l4_csum_replace(skb, sum_at, 0, port_change, udp))?;
        store(skb, p.l4, &new_ports, 0)?;
        if p.v4 {
            let mut header = addrs;
            if hop {
                let ttl = (p.ttl - 1, p.ttl);
                // Time to live and protocol are one word of the header's sum.
                let word = |ttl| u32::from(u16::from_ne_bytes([ttl, p.proto]));
                header = u64::from(csum::fold(csum::add(
                    csum::remove(header, word(ttl.1)),
                    word(ttl.0),
                )));
                store(skb, p.net + 8, &ttl.0, 0)?;
            }
            ok(bpf_l3_csum_replace(skb, p.net + 10, 0, header, 0))?;
            store(skb, p.net + 12, &[src[3], dst[3]], 0)?;
        } else {
            // The sum over the whole packet, if a card made one, was changed by the helper as if a header sum made up for
            // the addresses, as in IPv4.
            let _ = bpf_csum_update(skb, addrs as u32);
            if hop {
                store(
                    skb,
                    p.net + 7,
                    &(p.ttl - 1),
                    u64::from(BPF_F_RECOMPUTE_CSUM),
                )?;
            }
            store(
                skb,
                p.net + 8,
                &[
                    src[0], src[1], src[2], src[3], dst[0], dst[1], dst[2], dst[3],
                ],
                0,
            )?;
        }
    }
    Ok(())
}

#[inline(always)]
fn ok(rc: impl Into<i64>) -> Result<(), i64> {
    match rc.into() {
        0 => Ok(()),
        rc => Err(rc),
    }
}

/// # Safety
/// `skb` is the program's context.
#[inline(always)]
unsafe fn store<T>(skb: *mut __sk_buff, at: u32, value: &T, flags: u64) -> Result<(), i64> {
    // SAFETY: the caller's promise; the helper checks the offset.
    ok(unsafe {
        bpf_skb_store_bytes(
            skb,
            at,
            core::ptr::from_ref(value).cast::<c_void>(),
            size_of::<T>() as u32,
            flags,
        )
    })
}

/// Before a packet without an Ethernet header is sent on, it gets an empty one: `bpf_redirect_neigh` takes one off.
#[inline(always)]
fn link_header(ctx: &TcContext, p: &Packet) -> Result<(), i64> {
    if p.net != 0 {
        return Ok(());
    }
    // SAFETY: the program's own context.
    ok(unsafe { bpf_skb_change_head(ctx.skb.skb, ETH, 0) })
}

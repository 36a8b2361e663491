//! Writes to socket buffers, by the helpers that keep checksums right whether a sender, we, or a
//! card is to fill them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_skb_change_head, bpf_skb_store_bytes,
        bpf_skb_vlan_pop,
    },
};
use lb_common::{csum, flow::Flow};

use super::Hop;
use crate::packet::{self, ETH, Packet, UDP, sctp};

/// An IPv4 header from the time to live on: all of it that a rewrite changes.
#[repr(C)]
struct V4Tail {
    ttl: u8,
    proto: u8,
    sum: u16,
    src: u32,
    dst: u32,
}

const _: () = assert!(size_of::<V4Tail>() == 12);

/// How much a changed port changes the CRC of SCTP depends on the length of all fragments together.
const CRC_OF_A_PART: i64 = -22;

/// Rewrites addresses and ports to what `flow` says.
#[inline(always)]
pub fn write(skb: *mut __sk_buff, p: &Packet, flow: &Flow, hop: Hop) -> Result<(), i64> {
    let (old_src, old_dst) = (p.src.words(), p.dst.words());
    let (src, dst) = (flow.src.words(), flow.dst.words());
    let addrs = csum::replace(csum::replace(0, old_src, src), old_dst, dst);
    let addrs = csum::fold(addrs);
    let old_ports = packet::ports(p.sport, p.dport);
    let new_ports = packet::ports(flow.sport, flow.dport);
    let port_change = u64::from(csum::fold(csum::replace(0, [old_ports], [new_ports])));

    // A datagram without a sum of its own, or a later fragment, which has no ports either: the sum
    // of its packet is in the first one.
    let bare = p.is_later() || p.sum == 0 && p.proto == UDP;

    // SAFETY: the helpers check offsets and lengths against the buffer.
    unsafe {
        if bare {
            let recompute = u64::from(BPF_F_RECOMPUTE_CSUM);
            if !p.is_later() {
                store(skb, p.l4, &new_ports, recompute)?;
            }
        } else if p.is_sctp() {
            if p.is_fragment() && new_ports != old_ports {
                return Err(CRC_OF_A_PART);
            }
            let sum = sctp::sum(p, flow.sport, flow.dport);
            let at = p.l4 + sctp::SUM;
            store(skb, at, &sum, u64::from(BPF_F_RECOMPUTE_CSUM))?;
            store(skb, p.l4, &new_ports, u64::from(BPF_F_RECOMPUTE_CSUM))?;
        } else {
            let sum_at = p.l4 + p.sum_offset();
            // No UDP sum becomes 0, which would say that there is none.
            let udp = if p.is_tcp() {
                0
            } else {
                u64::from(BPF_F_MARK_MANGLED_0)
            };
            ok(bpf_l4_csum_replace(
                skb,
                sum_at,
                0,
                u64::from(addrs),
                u64::from(BPF_F_PSEUDO_HDR) | udp,
            ))?;
            ok(bpf_l4_csum_replace(skb, sum_at, 0, port_change, udp))?;
            store(skb, p.l4, &new_ports, 0)?;
        }
        if p.v4 {
            let mut header = u64::from(addrs);
            let mut ttl = p.ttl;
            if hop == Hop::Spend {
                ttl -= 1;
                header = p.hop(header);
            }
            // The header's own sum makes up for what changes in it, also in a sum over the whole
            // packet that a card made.
            let tail = V4Tail {
                ttl,
                proto: p.proto,
                sum: csum::update(p.header_sum, header),
                src: src[3],
                dst: dst[3],
            };
            store(skb, p.net + 8, &tail, 0)?;
        } else {
            // The sum over the whole packet, if a card made one: the helper changed it as if a
            // header sum made up for the addresses, as in IPv4; SCTP's sum does not know of them,
            // nor does one that is not there.
            let whole = if bare || p.is_sctp() {
                u64::from(BPF_F_RECOMPUTE_CSUM)
            } else {
                let _ = bpf_csum_update(skb, u32::from(addrs));
                0
            };
            if hop == Hop::Spend {
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
                whole,
            )?;
        }
    }
    Ok(())
}

/// What a helper returned, as a result.
#[inline(always)]
pub fn ok(rc: impl Into<i64>) -> Result<(), i64> {
    match rc.into() {
        0 => Ok(()),
        rc => Err(rc),
    }
}

/// Stores a value at an offset of the buffer.
///
/// # Safety
/// `skb` is the program's context.
#[inline(always)]
pub unsafe fn store<T>(skb: *mut __sk_buff, at: u32, value: &T, flags: u64) -> Result<(), i64> {
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

/// Before a packet is sent on, it loses its priority tag, and without an Ethernet header it gets an
/// empty one: `bpf_redirect_neigh` takes one off.
#[inline(always)]
pub fn link_header(skb: *mut __sk_buff, p: &Packet) -> Result<(), i64> {
    untag(skb)?;
    if p.net != 0 {
        return Ok(());
    }
    // SAFETY: the program's own context.
    ok(unsafe { bpf_skb_change_head(skb, ETH, 0) })
}

/// Takes off the tag of VLAN id 0, the only one that packets of ours may have: its priority was for
/// the segment that they came from.
#[inline(always)]
pub fn untag(skb: *mut __sk_buff) -> Result<(), i64> {
    // SAFETY: the program's own context.
    unsafe {
        if (*skb).vlan_present == 0 {
            return Ok(());
        }
        ok(bpf_skb_vlan_pop(skb))
    }
}

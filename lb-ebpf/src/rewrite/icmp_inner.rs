//! Translates ICMP errors that others send about packets of our flows: their own headers, and those
//! that they quote.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::{bpf_csum_update, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes},
};
use lb_common::{Addr, csum, flow::Flow};

use super::{
    Hop,
    skb::{ok, store},
};
use crate::packet::{self, ICMP, Packet, UDP};

/// Translates both headers to what `flow`, the entry of a packet that would answer the quoted one,
/// says; the error then comes from `from` rather than from `sent_by`.
#[inline(always)]
pub fn write(
    skb: *mut __sk_buff,
    p: &Packet,
    sent_by: &Addr,
    from: &Addr,
    flow: &Flow,
    hop: Hop,
) -> Result<(), i64> {
    let (old_from, old_to, old_dst) = (sent_by.words(), p.dst.words(), p.src.words());
    let (from, to, dst) = (from.words(), flow.dst.words(), flow.src.words());
    let moved = csum::replace(0, old_to, to);
    let outer = csum::replace(moved, old_from, from);
    let inner = csum::replace(moved, old_dst, dst);
    // In the quote the client of this direction is the source.
    let ports = packet::ports(flow.dport, flow.sport);
    let mut change = csum::replace(0, [packet::ports(p.dport, p.sport)], [ports]);
    if p.proto == UDP {
        change = quoted_sum(skb, p, inner, change)?;
    }
    let net = p.net;
    // SAFETY: the helpers check offsets and lengths against the buffer.
    unsafe {
        store(skb, p.l4, &ports, 0)?;
        if p.v4 {
            let mut header = outer;
            if hop == Hop::Spend {
                // `p` is what the error quotes; the error itself is ICMP.
                let word = |ttl| packet::ttl_and_proto(ttl, ICMP);
                header = csum::replace(header, [word(p.ttl)], [word(p.ttl - 1)]);
                store(skb, net + 8, &(p.ttl - 1), 0)?;
            }
            ok(bpf_l3_csum_replace(skb, net + 10, 0, short(header), 0))?;
            store(skb, net + 12, &[from[3], to[3]], 0)?;
            // The quoted header's own sum makes up for its addresses: the ports alone change the
            // error's.
            ok(bpf_l3_csum_replace(skb, net + 38, 0, short(inner), 0))?;
            store(skb, net + 40, &[to[3], dst[3]], 0)?;
            ok(bpf_l4_csum_replace(skb, net + 22, 0, short(change), 0))
        } else {
            if hop == Hop::Spend {
                store(skb, net + 7, &(p.ttl - 1), u64::from(BPF_F_RECOMPUTE_CSUM))?;
            }
            ok(bpf_l4_csum_replace(
                skb,
                net + 42,
                0,
                short(outer),
                u64::from(BPF_F_PSEUDO_HDR),
            ))?;
            // As for every packet of IPv6: see `skb::write`.
            let _ = bpf_csum_update(skb, short(outer) as u32);
            store(skb, net + 8, &[from, to], 0)?;
            store(skb, net + 56, &[to, dst], 0)?;
            let change = short(inner) + short(change);
            ok(bpf_l4_csum_replace(skb, net + 42, 0, short(change), 0))
        }
    }
}

/// Changes the checksum of a quoted UDP datagram (those of TCP and SCTP are mostly cut off), if it
/// has one; returns the whole change of its header.
#[inline(always)]
fn quoted_sum(skb: *mut __sk_buff, p: &Packet, addrs: u64, ports: u64) -> Result<u64, i64> {
    let mut sum: u16 = 0;
    // SAFETY: two bytes on the stack; the helpers check the buffer.
    unsafe {
        ok(bpf_skb_load_bytes(
            skb.cast(),
            p.l4 + 6,
            (&raw mut sum).cast(),
            2,
        ))?;
        if sum == 0 {
            return Ok(ports);
        }
        let new = match csum::update(sum, addrs + ports) {
            0 => 0xffff,
            new => new,
        };
        store(skb, p.l4 + 6, &new, 0)?;
        Ok(csum::replace(ports, [u32::from(sum)], [u32::from(new)]))
    }
}

/// A sum as the helpers take it.
#[inline(always)]
fn short(sum: u64) -> u64 {
    u64::from(csum::fold(sum))
}

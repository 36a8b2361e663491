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
use crate::packet::{
    self, ICMP, Packet,
    inner::{self, Quote},
    sctp,
};

/// Translates both headers to what `flow`, the entry of a packet that would answer the quoted one,
/// says; the error then comes from `from`.
#[inline(always)]
pub fn write(
    skb: *mut __sk_buff,
    p: &Packet,
    quote: &Quote,
    from: &Addr,
    flow: &Flow,
    hop: Hop,
) -> Result<(), i64> {
    let (old_from, old_to, old_dst) = (quote.from.words(), p.dst.words(), p.src.words());
    let (from, to, dst) = (from.words(), flow.dst.words(), flow.src.words());
    let moved = csum::replace(0, old_to, to);
    let outer = csum::replace(moved, old_from, from);
    let inner = csum::replace(moved, old_dst, dst);
    // In the quote the client of this direction is the source.
    let ports = Ports {
        old: packet::ports(p.dport, p.sport),
        new: packet::ports(flow.dport, flow.sport),
    };
    let change = quoted_sum(skb, p, quote, inner, ports)?;
    let (net, quoted) = (p.net, quote.at);
    let icmp_sum = quoted - inner::HEADER + 2;
    // SAFETY: the helpers check offsets and lengths against the buffer.
    unsafe {
        store(skb, p.l4, &ports.new, 0)?;
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
            // The quoted header's own sum makes up for its addresses: what is behind it alone
            // changes the error's.
            ok(bpf_l3_csum_replace(skb, quoted + 10, 0, short(inner), 0))?;
            store(skb, quoted + 12, &[to[3], dst[3]], 0)?;
            ok(bpf_l4_csum_replace(skb, icmp_sum, 0, short(change), 0))
        } else {
            if hop == Hop::Spend {
                store(skb, net + 7, &(p.ttl - 1), u64::from(BPF_F_RECOMPUTE_CSUM))?;
            }
            ok(bpf_l4_csum_replace(
                skb,
                icmp_sum,
                0,
                short(outer),
                u64::from(BPF_F_PSEUDO_HDR),
            ))?;
            // As for every packet of IPv6: see `skb::write`.
            let _ = bpf_csum_update(skb, short(outer) as u32);
            store(skb, net + 8, &[from, to], 0)?;
            store(skb, quoted + 8, &[to, dst], 0)?;
            let change = short(inner) + short(change);
            ok(bpf_l4_csum_replace(skb, icmp_sum, 0, short(change), 0))
        }
    }
}

/// Both quoted ports as they stand, before and after.
#[derive(Clone, Copy)]
struct Ports {
    old: u32,
    new: u32,
}

/// Changes the quoted checksum, if the packet has one that is not cut off, by its addresses'
/// change and its ports; returns the whole change behind the quoted network header.
#[inline(always)]
fn quoted_sum(
    skb: *mut __sk_buff,
    p: &Packet,
    quote: &Quote,
    addrs: u64,
    ports: Ports,
) -> Result<u64, i64> {
    let change = csum::replace(0, [ports.old], [ports.new]);
    if p.is_sctp() {
        let at = p.l4 + sctp::SUM;
        if at + 4 > quote.end {
            return Ok(change);
        }
        let sum: u32 = load(skb, at)?;
        let new = sctp::after(sum, ports.old ^ ports.new, quote.l4_len);
        // SAFETY: the helper checks the buffer.
        unsafe { store(skb, at, &new, 0)? };
        return Ok(csum::replace(change, [sum], [new]));
    }
    let at = p.l4 + p.sum_offset();
    if at + 2 > quote.end {
        return Ok(change);
    }
    let sum: u16 = load(skb, at)?;
    if !p.is_tcp() && sum == 0 {
        return Ok(change);
    }
    let new = match csum::update(sum, addrs + change) {
        0 if !p.is_tcp() => 0xffff,
        new => new,
    };
    // SAFETY: the helper checks the buffer.
    unsafe { store(skb, at, &new, 0)? };
    Ok(csum::replace(change, [u32::from(sum)], [u32::from(new)]))
}

/// A number at an offset.
#[inline(always)]
fn load<T: Copy + Default>(skb: *mut __sk_buff, at: u32) -> Result<T, i64> {
    let mut value = T::default();
    let to = (&raw mut value).cast();
    // SAFETY: the helper writes no more than the number; it checks the buffer.
    ok(unsafe { bpf_skb_load_bytes(skb.cast(), at, to, size_of::<T>() as u32) })?;
    Ok(value)
}

/// A sum as the helpers take it.
#[inline(always)]
fn short(sum: u64) -> u64 {
    u64::from(csum::fold(sum))
}

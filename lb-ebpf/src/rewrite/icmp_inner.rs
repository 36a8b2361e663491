//! ICMP errors that others send about packets of our flows: read by the packet that they quote, both headers translated.
//! Owns their layout; knows nothing of services.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM},
    helpers::{bpf_csum_update, bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes},
};
use lb_common::{Addr, csum, flow::Flow};

use crate::{
    packet::{self, ICMP, Packet, SCTP, TCP, UDP, load, load_v6},
    rewrite::skb::{ok, store},
};

/// Bytes from the network header to the end of the quoted ports, without options or extension headers.
pub const V4: u32 = 20 + 8 + 20 + 8;
/// The same for IPv6.
pub const V6: u32 = 40 + 8 + 40 + 8;

/// An ICMP error about a TCP segment, a UDP datagram or an SCTP packet.
#[derive(Clone, Copy)]
pub struct Quote {
    /// A packet that would answer the quoted one: its tuple is the quoted one turned round. `ttl`, `len` and `net` are
    /// those of the error itself, `l4` is where the quoted ports stand.
    pub answer: Packet,
    /// Who sent the error.
    pub from: Addr,
}

/// Reads an ICMP error; `None` for any other ICMP, for options and extension headers, and for quotes too short.
#[inline(always)]
pub fn parse(data: usize, end: usize, net: u32, is_v4: bool, ifindex: u32) -> Option<Quote> {
    let ip = data + net as usize;
    let (from, to, src, dst, proto, ttl, len, l4);
    // SAFETY: all bytes up to the quoted ports are checked first in each branch.
    unsafe {
        if is_v4 {
            if ip + V4 as usize > end || load::<u8>(ip) != 0x45 || load::<u8>(ip + 28) != 0x45 {
                return None;
            }
            // Unreachable, time exceeded, parameter problem; of whole packets and first fragments.
            let kind: u8 = load(ip + 20);
            let fragment: u16 = u16::from_be(load(ip + 34));
            if !(kind == 3 || kind == 11 || kind == 12) || fragment & 0x1fff != 0 {
                return None;
            }
            from = packet::v4(load(ip + 12));
            to = packet::v4(load(ip + 16));
            src = packet::v4(load(ip + 40));
            dst = packet::v4(load(ip + 44));
            proto = load::<u8>(ip + 37);
            ttl = load(ip + 8);
            len = u16::from_be(load(ip + 2));
            l4 = 48;
        } else {
            if ip + V6 as usize > end || load::<u8>(ip + 48) >> 4 != 6 {
                return None;
            }
            // Unreachable, too big, time exceeded, parameter problem.
            let kind: u8 = load(ip + 40);
            if kind == 0 || kind > 4 {
                return None;
            }
            from = load_v6(ip + 8);
            to = load_v6(ip + 24);
            src = load_v6(ip + 56);
            dst = load_v6(ip + 72);
            proto = load::<u8>(ip + 54);
            ttl = load(ip + 7);
            len = u16::from_be(load(ip + 4)).wrapping_add(40);
            l4 = 88;
        }
        // An error goes to whoever sent what it quotes.
        if (proto != TCP && proto != UDP && proto != SCTP) || !packet::same(&to, &src) {
            return None;
        }
        Some(Quote {
            answer: Packet {
                src: dst,
                dst: src,
                sport: u16::from_be(load(ip + l4 + 2)),
                dport: u16::from_be(load(ip + l4)),
                proto,
                flags: 0,
                l4_len: 8,
                ttl,
                v4: is_v4,
                header_sum: 0,
                sum: 0,
                len,
                net,
                l4: net + l4 as u32,
                ifindex,
            },
            from,
        })
    }
}

/// Translates both headers to what `flow`, the record of a packet that would answer the quoted one, says; the error then
/// comes from `from` rather than from `sent_by`. With `hop`, takes one from its time to live.
#[inline(always)]
pub fn write(
    skb: *mut __sk_buff,
    p: &Packet,
    sent_by: &Addr,
    from: &Addr,
    flow: &Flow,
    hop: bool,
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
            if hop {
                // `p` is what the error quotes; the error itself is ICMP.
                let word = |ttl| packet::life(ttl, ICMP);
                header = csum::replace(header, [word(p.ttl)], [word(p.ttl - 1)]);
                store(skb, net + 8, &(p.ttl - 1), 0)?;
            }
            ok(bpf_l3_csum_replace(skb, net + 10, 0, short(header), 0))?;
            store(skb, net + 12, &[from[3], to[3]], 0)?;
            // The quoted header's own sum makes up for its addresses: the ports alone change the error's.
            ok(bpf_l3_csum_replace(skb, net + 38, 0, short(inner), 0))?;
            store(skb, net + 40, &[to[3], dst[3]], 0)?;
            ok(bpf_l4_csum_replace(skb, net + 22, 0, short(change), 0))
        } else {
            if hop {
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

/// Changes the checksum of a quoted UDP datagram (those of TCP and SCTP are mostly cut off), if it has one; returns the whole
/// change of its header.
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

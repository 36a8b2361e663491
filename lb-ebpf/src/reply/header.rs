//! Headers of packets that we make ourselves, from the packet in hand and in the opposite direction. Owns their layout.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM},
    helpers::bpf_skb_store_bytes,
};
use lb_common::csum;

use crate::{
    packet::{ETH, Packet},
    reply::icmp::QUOTE,
};

const HOPS: u8 = 64;
/// Words of the longest: an IPv6 header and a TCP header.
pub const WORDS: usize = 15;

/// Room for what is quoted and for what is put before it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Draft {
    pub quote: [u32; QUOTE / 4],
    /// Network header and transport header.
    pub head: [u32; WORDS],
}

/// Writes a network header from the packet's destination to its source, before `length` bytes of `proto`.
#[inline(always)]
pub fn network(h: &mut [u32; WORDS], p: &Packet, proto: u8, length: u16) {
    let (src, dst) = (p.dst.words(), p.src.words());
    if p.v4 {
        h[0] = u32::from_ne_bytes([0x45, 0, 0, 0]) | word(0, (length + 20).to_be());
        h[1] = 0;
        h[2] = u32::from_ne_bytes([HOPS, proto, 0, 0]);
        h[3] = src[3];
        h[4] = dst[3];
        let mut sum = 0;
        let mut i = 0;
        while i < 5 {
            sum = csum::add(sum, h[i]);
            i += 1;
        }
        h[2] |= word(0, !csum::fold(sum));
    } else {
        h[0] = u32::from_ne_bytes([0x60, 0, 0, 0]);
        h[1] = word(length.to_be(), u16::from_ne_bytes([proto, HOPS]));
        let mut i = 0;
        while i < 4 {
            h[2 + i] = src[i];
            h[6 + i] = dst[i];
            i += 1;
        }
    }
}

/// The sum of the pseudo header of `length` bytes of `proto` between the packet's ends, in either direction.
#[inline(always)]
pub fn pseudo(p: &Packet, proto: u8, length: u16) -> u64 {
    let (src, dst) = (p.src.words(), p.dst.words());
    let mut sum = csum::add(0, u32::from(length.to_be()));
    sum = csum::add(sum, u32::from(u16::from(proto).to_be()));
    let mut i = 0;
    while i < 4 {
        // The prefix of a mapped IPv4 address adds 0xffff, which is nothing in this sum.
        sum = csum::add(csum::add(sum, src[i]), dst[i]);
        i += 1;
    }
    sum
}

/// Stores the first `len` bytes of what was drafted behind an Ethernet header.
#[inline(always)]
pub fn store(skb: *mut __sk_buff, head: &[u32; WORDS], len: u32) -> Result<(), ()> {
    let len = if len > WORDS as u32 * 4 {
        WORDS as u32 * 4
    } else {
        len
    };
    // SAFETY: no more than `head` holds; the helper checks the buffer.
    let rc = unsafe {
        bpf_skb_store_bytes(
            skb,
            ETH,
            head.as_ptr().cast(),
            len,
            u64::from(BPF_F_RECOMPUTE_CSUM),
        )
    };
    if rc == 0 { Ok(()) } else { Err(()) }
}

/// A word of two halves in the order in which they stand.
#[inline(always)]
pub fn word(first: u16, second: u16) -> u32 {
    u32::from(first) | u32::from(second) << 16
}

//! Headers of packets that are made of the one in hand.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM},
    helpers::bpf_skb_store_bytes,
};
use lb_common::{Addr, csum};

use crate::{
    packet::{ETH, Packet, word},
    scratch::HEADERS,
};

/// Time to live of packets that are made here.
pub const HOPS: u8 = 64;

/// Writes a network header from the packet's destination to its source, before `length` bytes of
/// `proto`.
#[inline(always)]
pub fn network(h: &mut [u32; HEADERS], p: &Packet, proto: u8, length: u16) {
    between(h, p.v4, (&p.dst, &p.src), proto, length);
}

/// Writes a network header from the first address to the second.
#[inline(always)]
pub fn between(
    h: &mut [u32; HEADERS],
    v4: bool,
    (src, dst): (&Addr, &Addr),
    proto: u8,
    length: u16,
) {
    let (src, dst) = (src.words(), dst.words());
    if v4 {
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

/// Stores the first `len` bytes of the drafted headers behind an Ethernet header.
#[inline(always)]
pub fn store(skb: *mut __sk_buff, head: &[u32; HEADERS], len: u32) -> Result<(), ()> {
    let len = if len > HEADERS as u32 * 4 {
        HEADERS as u32 * 4
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

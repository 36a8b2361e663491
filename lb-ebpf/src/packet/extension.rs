//! The extension headers of IPv6 that may stand before a transport header: a walk to what is behind
//! them, by helpers, since they may lie outside of the piece that programs look into.

use aya_ebpf::{
    bindings::{__sk_buff, xdp_md},
    helpers::{bpf_skb_load_bytes, generated::bpf_xdp_load_bytes},
};

use super::{Net, Unread};

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const DESTINATION: u8 = 60;
/// Nothing follows.
const NO_NEXT: u8 = 59;

/// Longer chains are not read.
const MOST: u32 = 4;
/// More than [`MOST`] headers can have, as a mask: what a packet says of its length, repeated for
/// the verifier.
pub const REACH: u32 = 0x3fff;
/// No chain that can be read.
const UNREADABLE: u32 = u32::MAX;

/// What is behind a chain.
#[derive(Clone, Copy)]
pub struct Behind {
    pub proto: u8,
    /// Bytes from the network header to it.
    pub header: u32,
}

/// Is it one of the headers that are passed over? A fragment header is not: it says that the packet
/// is none.
#[inline(always)]
pub const fn is_passed_over(next: u8) -> bool {
    matches!(next, HOP_BY_HOP | ROUTING | DESTINATION)
}

/// Where a chain is read from.
pub trait Chain {
    /// What is behind the chain of the IPv6 header at `net`, which says that `first` follows it.
    fn behind(&self, net: Net, first: u8) -> Result<Behind, Unread>;
}

impl Chain for *mut __sk_buff {
    #[inline(always)]
    fn behind(&self, net: Net, first: u8) -> Result<Behind, Unread> {
        unpack(skb_chain(*self, net.at, first))
    }
}

impl Chain for *mut xdp_md {
    #[inline(always)]
    fn behind(&self, net: Net, first: u8) -> Result<Behind, Unread> {
        unpack(xdp_chain(*self, net.at, first))
    }
}

/// Not inlined: rare, and it would be read by the verifier once more in each of its callers.
#[inline(never)]
fn skb_chain(skb: *mut __sk_buff, net: u32, first: u8) -> u32 {
    walk(first, |at, head| {
        // SAFETY: four bytes of ours; the helper checks the buffer.
        unsafe { bpf_skb_load_bytes(skb.cast(), net + at, head.cast(), 4) }
    })
}

#[inline(never)]
fn xdp_chain(ctx: *mut xdp_md, net: u32, first: u8) -> u32 {
    walk(first, |at, head| {
        // SAFETY: four bytes of ours; the helper checks the buffer. Linux 5.18.
        unsafe { bpf_xdp_load_bytes(ctx, net + at, head.cast(), 4) }
    })
}

/// Protocol and length of the header, in one register.
#[inline(always)]
fn walk(first: u8, load: impl Fn(u32, *mut [u8; 4]) -> i64) -> u32 {
    let (mut next, mut at) = (first, 40);
    let mut passed = 0;
    while is_passed_over(next) {
        let mut head = [0; 4];
        if passed == MOST || load(at, &raw mut head) != 0 {
            return UNREADABLE;
        }
        // With segments left, the packet's destination is not the one that its sums count.
        if next == ROUTING && head[3] != 0 {
            return u32::from(NO_NEXT) << 16 | at;
        }
        at += (u32::from(head[1]) + 1) << 3;
        next = head[0];
        passed += 1;
    }
    u32::from(next) << 16 | at
}

#[inline(always)]
fn unpack(walked: u32) -> Result<Behind, Unread> {
    if walked == UNREADABLE {
        return Err(Unread::Malformed);
    }
    Ok(Behind {
        proto: (walked >> 16) as u8,
        header: walked & REACH,
    })
}

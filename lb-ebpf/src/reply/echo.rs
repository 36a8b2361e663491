//! Ping: an echo request to a VIP becomes its own answer while a Service has backends there.

use aya_ebpf::{
    bindings::{__sk_buff, BPF_F_RECOMPUTE_CSUM},
    helpers::{bpf_l3_csum_replace, bpf_l4_csum_replace, bpf_skb_load_bytes},
};
use lb_common::{Addr, Reason};

use super::header::HOPS;
use crate::{
    lookup,
    packet::{self, ICMP, ICMPV6, Net, load, load_v6},
    rewrite::skb::{ok, store},
};

/// What an ICMP message is.
pub enum Echo {
    /// A request from the first address to the second one.
    Request(Addr, Addr),
    /// Sent to no host in particular.
    Multicast,
    /// Anything else.
    Other,
}

/// Reads a message; one with options or in pieces is no request.
#[inline(always)]
pub fn read(data: usize, end: usize, net: Net) -> Echo {
    let ip = data + net.at as usize;
    // SAFETY: the bytes up to the end of the ICMP header's type are checked first in each branch.
    unsafe {
        if net.v4 {
            if ip + 28 > end {
                return Echo::Other;
            }
            let whole = u16::from_be(load(ip + 6)) & 0x3fff == 0;
            let (first, proto, kind): (u8, u8, u8) = (load(ip), load(ip + 9), load(ip + 20));
            if whole && first == 0x45 && proto == ICMP && kind == kind_of(true).0 {
                return Echo::Request(packet::v4(load(ip + 12)), packet::v4(load(ip + 16)));
            }
        } else {
            if ip + 48 > end {
                return Echo::Other;
            }
            let (proto, kind, to): (u8, u8, u8) = (load(ip + 6), load(ip + 40), load(ip + 24));
            if to == 0xff {
                return Echo::Multicast;
            }
            if proto == ICMPV6 && kind == kind_of(false).0 {
                return Echo::Request(load_v6(ip + 8), load_v6(ip + 24));
            }
        }
    }
    Echo::Other
}

/// Type numbers of request and reply.
#[inline(always)]
const fn kind_of(is_v4: bool) -> (u8, u8) {
    if is_v4 { (8, 0) } else { (128, 129) }
}

/// Why a request to this address is not answered; `None` if it is.
#[inline(always)]
pub fn refusal(to: &Addr) -> Option<Reason> {
    match lookup::vip(to) {
        None => Some(Reason::PktUnallocated),
        Some(mark) if lookup::choose::has_backends(mark.pool) => None,
        Some(_) => Some(Reason::PktNoEndpoint),
    }
}

/// Makes `skb` the answer to itself.
#[inline(always)]
pub fn turn(skb: *mut __sk_buff, net: Net, from: &Addr, to: &Addr) -> Result<(), i64> {
    let (src, dst) = (to.words(), from.words());
    let (request, reply) = kind_of(net.v4);
    let word = |kind| u64::from(u16::from_ne_bytes([kind, 0]));
    let icmp = net.at + net.shortest();
    // SAFETY: the helpers check offsets and lengths against the buffer. Addresses that change
    // places change no sum.
    unsafe {
        ok(bpf_l4_csum_replace(
            skb,
            icmp + 2,
            word(request),
            word(reply),
            2,
        ))?;
        store(skb, icmp, &reply, 0)?;
        if net.v4 {
            // What is left of its time to live is read from where it stands.
            let old = ttl(skb, net.at + 8)?;
            let word = |ttl| u64::from(packet::ttl_and_proto(ttl, ICMP));
            ok(bpf_l3_csum_replace(
                skb,
                net.at + 10,
                word(old),
                word(HOPS),
                2,
            ))?;
            store(skb, net.at + 8, &HOPS, 0)?;
            store(skb, net.at + 12, &[src[3], dst[3]], 0)
        } else {
            store(skb, net.at + 7, &HOPS, u64::from(BPF_F_RECOMPUTE_CSUM))?;
            store(skb, net.at + 8, &[src, dst], 0)
        }
    }
}

/// The byte at an offset.
#[inline(always)]
fn ttl(skb: *mut __sk_buff, at: u32) -> Result<u8, i64> {
    let mut byte = 0u8;
    // SAFETY: one byte of ours; the helper checks the buffer.
    ok(unsafe { bpf_skb_load_bytes(skb.cast(), at, (&raw mut byte).cast(), 1) })?;
    Ok(byte)
}
